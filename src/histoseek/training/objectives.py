"""What training minimises: each objective turns one batch into a scalar loss, and several combine with weights.

An objective that finds nothing to learn from in a batch gives a zero that still hangs on the graph; one that can never
work raises an `InputError`. A batch may come gathered from several processes: nothing here knows of them. Losses are
computed in float32, under autocast too.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from histoseek.errors import InputError


@dataclass(frozen=True)
class Batch:
    """Embedded views and what is known of them.

    Rows of `images` [N, D], `texts` [M, D] and `targets` [N, T] (a teacher's embeddings) are unit vectors. `text_of`
    [N] is the row of `texts` that belongs to each view, -1 where there is none; the same words must be one row, also
    after gathering. `labels` [N] are class codes, -1 where unlabelled; `groups` [N] are codes of patients; `items` [N]
    are codes of items, shared by the views of one.
    """

    images: Tensor
    labels: Tensor
    groups: Tensor
    items: Tensor
    texts: Tensor | None = None
    text_of: Tensor | None = None
    targets: Tensor | None = None

    def float(self) -> Batch:
        """The same batch with all embeddings in float32."""
        texts = None if self.texts is None else self.texts.float()
        targets = None if self.targets is None else self.targets.float()
        return replace(self, images=self.images.float(), texts=texts, targets=targets)


class Objective(Protocol):
    """A batch → its loss, a scalar in float32."""

    def __call__(self, batch: Batch) -> Tensor:
        """The loss of `batch`."""


def in_float32(forward: Callable[[Any, Batch], Tensor]) -> Callable[[Any, Batch], Tensor]:
    """Let `forward` see float32 embeddings and compute in float32, whatever autocast says outside."""

    @functools.wraps(forward)
    def run(self: Any, batch: Batch) -> Tensor:
        with torch.autocast(batch.images.device.type, enabled=False):
            return forward(self, batch.float())

    return run


def nothing(batch: Batch, module: nn.Module) -> Tensor:
    """A zero that hangs on the embeddings and on the objective's own weights, so that all of them get a gradient."""
    used = [batch.images, *module.parameters()] + ([] if batch.texts is None else [batch.texts])
    return torch.stack([part.float().sum() for part in used]).sum() * 0


def soft_contrast(logits: Tensor, positives: Tensor, candidates: Tensor) -> Tensor | None:
    """Cross-entropy between a uniform share over the positives and the softmax over the candidates, mean over anchors.

    All are [N, K]; `positives` lie within `candidates`. An anchor needs a positive and a negative (a candidate that is
    none), others are left out; None where no anchor is left.
    """
    usable = positives.any(1) & (candidates & ~positives).any(1)
    if not usable.any():
        return None
    shares, kept = positives[usable], candidates[usable]
    log_p = logits[usable].masked_fill(~kept, -math.inf).log_softmax(1)
    return -(log_p.where(shares, 0.0).sum(1) / shares.sum(1)).mean()


def limited_scale(log_scale: nn.Parameter, largest: float) -> Tensor:
    """The factor on cosines, between 1 and `largest`.

    The weight itself is moved back into its limits: `clamp` in the graph alone would leave a weight that a step threw
    beyond them without a gradient, and so there for good.
    """
    with torch.no_grad():
        log_scale.clamp_(0.0, math.log(largest))
    return log_scale.float().exp()


def with_texts(batch: Batch, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """The views that have a text, the text of each, both [V, D], and which pairs belong together, [V, V].

    View i and the text of view j do where i and j have the same text, the same label, or are of the same item.
    """
    if batch.texts is None or batch.text_of is None:
        raise InputError(
            f"the objective {name!r} learns from texts and the batch has none; give items captions or labels to make "
            "texts from and a base with a text tower, or choose another objective, such as supcon"
        )
    has_text = batch.text_of >= 0
    rows, labels = batch.text_of[has_text], batch.labels[has_text]
    together = _same(rows) | _same(batch.items[has_text]) | (_same(labels) & (labels >= 0))
    return batch.images[has_text], batch.texts[rows], together


def _same(codes: Tensor) -> Tensor:
    """Which rows have the same code, [N] → [N, N]."""
    return codes[:, None] == codes[None, :]


class Clip(nn.Module):  # type: ignore[misc]
    """Symmetric contrast between views and texts, with every text of the same words or label as a positive.

    InfoNCE in both directions (Radford 2021, arXiv:2103.00020) with a target that is uniform over an anchor's positives
    (UniCL, Yang 2022, arXiv:2204.03610), so that two patients with one diagnosis are no false negatives. A text stands
    among the candidates once for each view that has it, so common words are not preferred to rare ones. Views without
    text are left out, and so are anchors to which everything belongs. `scale` is where the learnt factor on cosines
    starts; beyond its limits, 1 and `max_scale`, it is brought into them.
    """

    def __init__(self, scale: float = 1 / 0.07, max_scale: float = 100.0) -> None:
        super().__init__()
        self.max_scale = _at_least("max_scale", max_scale, 1.0)
        self.log_scale = nn.Parameter(torch.tensor(math.log(_positive("scale", scale))))

    @in_float32
    def forward(self, batch: Batch) -> Tensor:
        """The loss of `batch`."""
        images, texts, together = with_texts(batch, "clip")
        logits = limited_scale(self.log_scale, self.max_scale) * images @ texts.T
        everything = torch.ones_like(together)
        of_images = soft_contrast(logits, together, everything)
        of_texts = soft_contrast(logits.T, together.T, everything)
        return nothing(batch, self) if of_images is None or of_texts is None else (of_images + of_texts) / 2


class Siglip(nn.Module):  # type: ignore[misc]
    """A yes or no for each pair of view and text (Zhai 2023, arXiv:2303.15343), with several yes in a row.

    -1/V Σ_ij log σ(z_ij (t cos_ij + b)), z = 1 where view and text belong together, as in `Clip`, and -1 elsewhere.
    `scale` (t) and `bias` (b) are where the learnt ones start, by default as in the paper.
    """

    def __init__(self, scale: float = 10.0, bias: float = -10.0, max_scale: float = 100.0) -> None:
        super().__init__()
        self.max_scale = _at_least("max_scale", max_scale, 1.0)
        self.log_scale = nn.Parameter(torch.tensor(math.log(_positive("scale", scale))))
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    @in_float32
    def forward(self, batch: Batch) -> Tensor:
        """The loss of `batch`."""
        images, texts, together = with_texts(batch, "siglip")
        if not len(images):
            return nothing(batch, self)
        logits = limited_scale(self.log_scale, self.max_scale) * images @ texts.T + self.bias.float()
        return -functional.logsigmoid(logits.where(together, -logits)).sum() / len(images)


class SupCon(nn.Module):  # type: ignore[misc]
    """Supervised contrast between views (Khosla 2020, arXiv:2004.11362, L_out) with positives of other patients.

    For a labelled anchor:

    - positives are the views of its label from other groups; where there are none, those of its label from other items;
    - negatives are the views of other labels, those of its own group too;
    - every other view of its label is neither: those of its own item always, those of its own group as soon as another
      group has the label, for likeness within a patient is not what is to be learnt.

    An unlabelled view may be of any class, so it is left out everywhere. An anchor without a positive or without a
    negative has no loss of its own, and still is a negative of others.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = _positive("temperature", temperature)

    @in_float32
    def forward(self, batch: Batch) -> Tensor:
        """The loss of `batch`."""
        labelled = batch.labels >= 0
        images, same_label = batch.images[labelled], _same(batch.labels[labelled])
        elsewhere = same_label & ~_same(batch.groups[labelled])
        other_items = same_label & ~_same(batch.items[labelled])
        positives = elsewhere.where(elsewhere.any(1, keepdim=True), other_items)
        loss = soft_contrast(images @ images.T / self.temperature, positives, positives | ~same_label)
        return nothing(batch, self) if loss is None else loss


class Views(nn.Module):  # type: ignore[misc]
    """Contrast between the views of one item and all other items, labelled or not.

    NT-Xent of SimCLR (Chen 2020, arXiv:2002.05709). With more than two views of an item the loss is the mean over its
    positives, as in L_out of Khosla 2020.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = _positive("temperature", temperature)

    @in_float32
    def forward(self, batch: Batch) -> Tensor:
        """The loss of `batch`."""
        others = ~torch.eye(len(batch.images), dtype=torch.bool, device=batch.images.device)
        logits = batch.images @ batch.images.T / self.temperature
        loss = soft_contrast(logits, _same(batch.items) & others, others)
        return nothing(batch, self) if loss is None else loss


class Distill(nn.Module):  # type: ignore[misc]
    """Have the neighbours that a teacher has, in a space of any dimension.

    For each view the softmax of cosines / `temperature` over all other views is drawn to the teacher's, by
    Kullback-Leibler divergence (Passalis and Tefas 2018, arXiv:1803.10837; with a softmax as in CompRess, Koohpayegani
    2020, arXiv:2010.14713). A shift of all cosines changes nothing, so a teacher's narrow cone is not copied.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = _positive("temperature", temperature)

    @in_float32
    def forward(self, batch: Batch) -> Tensor:
        """The loss of `batch`."""
        if batch.targets is None:
            raise InputError(
                "the objective 'distill' follows a teacher and the batch has no embeddings of one; name an encoder "
                "with the option teacher, or leave the objective out"
            )
        if len(batch.images) < 3:  # a single neighbour always has the share 1
            return nothing(batch, self)
        student, teacher = self._log_shares(batch.images), self._log_shares(batch.targets.detach())
        return functional.kl_div(student, teacher, log_target=True, reduction="batchmean")

    def _log_shares(self, rows: Tensor) -> Tensor:
        """Log of the share of each other row as a neighbour, [N, D] → [N, N - 1]."""
        others = ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
        return (rows @ rows.T / self.temperature)[others].view(len(rows), -1).log_softmax(1)


def multi_similarity(alpha: float = 2.0, beta: float = 50.0, base: float = 0.5, epsilon: float = 0.1) -> nn.Module:
    """Hard pairs of labelled views, weighted by three similarities (Wang 2019, arXiv:1904.06627)."""
    from histoseek.training import metric_objectives

    return metric_objectives.multi_similarity(
        _positive("alpha", alpha), _positive("beta", beta), base, _at_least("epsilon", epsilon, 0.0)
    )


def triplet(margin: float = 0.2) -> nn.Module:
    """Each labelled view with its farthest positive and nearest negative (Hermans 2017, arXiv:1703.07737)."""
    from histoseek.training import metric_objectives

    return metric_objectives.triplet(_positive("margin", margin))


def proxy_anchor(dim: int, n_classes: int, margin: float = 0.1, alpha: float = 32.0) -> nn.Module:
    """Labelled views against a learnt proxy of each class (Kim 2020, arXiv:2003.13911).

    The paper gives the proxies 100 times the learning rate of the network, and so should an optimiser here.
    """
    from histoseek.training import metric_objectives

    return metric_objectives.ProxyAnchor(dim, n_classes, margin, _positive("alpha", alpha))


OBJECTIVES: Mapping[str, Callable[..., nn.Module]] = {
    "clip": Clip,
    "siglip": Siglip,
    "supcon": SupCon,
    "views": Views,
    "multi-similarity": multi_similarity,
    "triplet": triplet,
    "proxy-anchor": proxy_anchor,
    "distill": Distill,
}
"""Makers of objectives; their parameters, but for `dim` and `n_classes`, are the settings of each."""

NEED_CLASSES = frozenset({"supcon", "multi-similarity", "triplet", "proxy-anchor"})


def build_objective(name: str, *, dim: int, n_classes: int, **settings: float) -> nn.Module:
    """Make the objective `name` for embeddings of `dim` numbers and labels 0 … `n_classes` - 1.

    Raises:
        InputError: no such objective or setting, a setting makes no sense, or it cannot learn from so few classes.
    """
    if name not in OBJECTIVES:
        raise InputError(f"there is no objective {name!r}; choose from {', '.join(OBJECTIVES)}")
    if name in NEED_CLASSES and n_classes < 2:
        raise InputError(
            f"the objective {name!r} tells classes apart and the training data has {n_classes}; give labels of two "
            "classes or more, or choose an objective that needs none, such as views"
        )
    maker = OBJECTIVES[name]
    accepted = set(inspect.signature(maker).parameters)
    unknown = sorted(set(settings) - (accepted - {"dim", "n_classes"}))
    if unknown:
        known = ", ".join(sorted(accepted - {"dim", "n_classes"}))
        raise InputError(f"the objective {name!r} has no setting {unknown[0]!r}; it has {known}")
    shape = {key: value for key, value in (("dim", dim), ("n_classes", n_classes)) if key in accepted}
    return maker(**shape, **settings)


class Combined(nn.Module):  # type: ignore[misc]
    """A weighted sum of objectives, for `weights` by name and `settings` by name.

    Raises:
        InputError: there is no objective, a weight is not above 0, or an objective cannot be made.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        *,
        dim: int,
        n_classes: int,
        settings: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        super().__init__()
        if not weights:
            raise InputError(f"there is no objective to learn from; choose from {', '.join(OBJECTIVES)}")
        for name, weight in weights.items():
            if not (weight > 0 and math.isfinite(weight)):
                raise InputError(
                    f"the weight of objective {name!r} is {weight:g}; give a number above 0, or leave it out"
                )
        given = settings or {}
        stray = sorted(set(given) - set(weights))
        if stray:
            raise InputError(
                f"there are settings for {stray[0]!r}, which is not among the objectives; give it a weight"
            )
        self.weights = dict(weights)
        self.objectives = nn.ModuleDict(
            {name: build_objective(name, dim=dim, n_classes=n_classes, **given.get(name, {})) for name in weights}
        )

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum, and what each objective gave before weighting, off the graph."""
        losses = {name: objective(batch) for name, objective in self.objectives.items()}
        total = torch.stack([self.weights[name] * loss for name, loss in losses.items()]).sum()
        return total, {name: loss.detach() for name, loss in losses.items()}


def _positive(name: str, value: float) -> float:
    """The value, if it is above 0 and finite."""
    if not (value > 0 and math.isfinite(value)):
        raise InputError(f"the setting {name} is {value:g}; give a number above 0")
    return float(value)


def _at_least(name: str, value: float, least: float) -> float:
    """The value, if it is `least` or more and finite."""
    if not (value >= least and math.isfinite(value)):
        raise InputError(f"the setting {name} is {value:g}; give a number of at least {least:g}")
    return float(value)
