"""Towers and objective as one module: pixels and words in, loss out, over the views of all processes together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from histoseek.training.objectives import Batch, Combined

NO_TEXT = -1


@dataclass(frozen=True)
class Views:
    """One process's share of a batch: N views.

    `pixels` `[N, 3, P, P]`; `tokens` of M texts, of which view n has number `text_of[n]` (−1: none), and `codes[n]` is
    that text's number in all processes; `labels`, `groups`, `items` and `readable` `[N]`; `targets` `[N, T]` of a
    teacher.
    """

    pixels: torch.Tensor
    tokens: Mapping[str, torch.Tensor] | None
    text_of: torch.Tensor
    codes: torch.Tensor
    labels: torch.Tensor
    groups: torch.Tensor
    items: torch.Tensor
    readable: torch.Tensor
    targets: torch.Tensor | None


class Learner(nn.Module):  # type: ignore[misc]
    """Embeds views and texts, gathers them from all processes, and asks the objective."""

    def __init__(self, root: nn.ModuleDict, objective: Combined) -> None:
        super().__init__()
        self.root, self.objective = root, objective

    def forward(self, views: Views) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss, and its parts by name."""
        images = nn.functional.normalize(self.root["image"](pixel_values=views.pixels).float(), dim=-1)
        texts = self._texts(views, images)
        local = Batch(images, views.labels, views.groups, views.items, texts, views.codes, views.targets)
        everywhere, readable = _gathered(local, views.readable)
        loss, parts = self.objective(_with_distinct_texts(_kept(everywhere, readable)))
        return loss, parts

    def _texts(self, views: Views, images: torch.Tensor) -> torch.Tensor | None:
        """The vector of each view's text `[N, D]`, zero for none."""
        if views.tokens is None:
            return None
        if not len(views.tokens["input_ids"]):
            return images * 0  # on the graph: every process must take part in the gathering's way back
        vectors = nn.functional.normalize(self.root["text"](**views.tokens).float(), dim=-1)
        has_text = (views.text_of != NO_TEXT)[:, None]
        return torch.where(has_text, vectors[views.text_of.clamp(min=0)], torch.zeros_like(images))


class _Gather(torch.autograd.Function):  # type: ignore[misc]
    """All processes' parts, one after the other, with the gradient that each part has in all processes' losses."""

    @staticmethod
    def forward(ctx: Any, part: torch.Tensor) -> torch.Tensor:
        """Join parts `[N, …]` to `[world × N, …]`."""
        parts = [torch.empty_like(part) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, part)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        """Sum over processes, and take this one's part."""
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


def _gathered(batch: Batch, readable: torch.Tensor) -> tuple[Batch, torch.Tensor]:
    """The batch over all processes, gradients included.

    Each process computes the loss of the whole batch; DistributedDataParallel's mean over processes then gives just the
    gradient that one process with the whole batch would have.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return batch, readable
    joined = {
        field.name: None if (part := getattr(batch, field.name)) is None else _Gather.apply(part.contiguous())
        for field in fields(batch)
    }
    return Batch(**joined), _Gather.apply(readable.to(torch.uint8)).bool()


def _kept(batch: Batch, readable: torch.Tensor) -> Batch:
    if bool(readable.all()):
        return batch
    parts = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return Batch(**{name: None if part is None else part[readable] for name, part in parts.items()})


def _with_distinct_texts(batch: Batch) -> Batch:
    """Each distinct text once: `texts` `[M, D]`, and `text_of` `[N]` its rows."""
    if batch.texts is None or batch.text_of is None:
        return replace(batch, texts=None, text_of=None)
    codes = batch.text_of
    distinct, row_of = torch.unique(codes, return_inverse=True)
    first = torch.full((len(distinct),), len(codes), device=codes.device)
    first = first.scatter_reduce(0, row_of, torch.arange(len(codes), device=codes.device), "amin")
    has_none = int((distinct == NO_TEXT).any())  # codes are not negative, so "no text" is the first of them
    rows = batch.texts[first[has_none:]]
    return replace(batch, texts=rows, text_of=row_of - has_none)
