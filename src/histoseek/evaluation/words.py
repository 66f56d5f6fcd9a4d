"""Words against pictures: zero-shot classes, class prompts → images, captions → images."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from histoseek import metrics
from histoseek.encoders.encoder import Encoder, unit_rows
from histoseek.evaluation.ranking import Queries, Ranking
from histoseek.evaluation.settings import Settings
from histoseek.index import Index

TOP = 10


def evaluate_words(index: Index, asked: Queries, ranking: Ranking, settings: Settings) -> dict[str, Any]:
    """Zero-shot accuracy over the queries, P@10 of class prompts in the gallery, and captions → own image.

    The prompt of a class is the mean of its names in all templates, back at length one (Radford et al. 2021).
    Nothing is excluded: words have no patient.
    """
    labels = sorted({ranking.names[label] for label in ranking.labels})
    datasets = {name for name in pc.unique(index.rows.items["dataset"]).to_pylist() if name}
    source, prompts = class_prompts(labels, datasets)
    vectors = np.stack([_ensemble(index.encoder, prompts[label]) for label in labels])
    codes = np.array([ranking.names.index(label) for label in labels])
    guessed = codes[(asked.vectors @ vectors.T).argmax(axis=1)]
    right = guessed == ranking.labels
    per_class = [float(right[ranking.labels == code].mean()) for code in codes]
    return {
        "prompts": source,
        "zero-shot accuracy": float(right.mean()),
        "zero-shot accuracy, macro": float(np.mean(per_class)),
        "classes": _prompts_to_images(index, labels, vectors, settings),
        **_captions_to_images(index, asked),
    }


def class_prompts(labels: list[str], datasets: set[str]) -> tuple[str, dict[str, list[str]]]:
    """Prompts for every label, and the name of the set they come from.

    A data file holds sets for known datasets; other labels stand in the general templates as they are.
    """
    data = _prompt_sets()
    name = next(iter(datasets)) if len(datasets) == 1 else ""
    chosen = data["sets"].get(name, {})
    templates = data["templates"]
    words = {label: chosen.get(label, [label.replace("_", " ").lower()]) for label in labels}
    known = all(label in chosen for label in labels)
    source = f"{name} ({len(templates)} templates)" if known and chosen else f"labels in {len(templates)} templates"
    return source, {
        label: [template.format(name) for template in templates for name in words[label]] for label in labels
    }


@cache
def _prompt_sets() -> dict[str, Any]:
    return tomllib.loads((files("histoseek.evaluation") / "prompts.toml").read_text(encoding="utf-8"))


def _ensemble(encoder: Encoder, prompts: list[str]) -> NDArray[np.float32]:
    vector: NDArray[np.float32] = unit_rows(encoder.embed_texts(prompts).mean(axis=0)[None])[0]
    return vector


def _prompts_to_images(
    index: Index, labels: list[str], vectors: NDArray[np.float32], settings: Settings
) -> dict[str, dict[str, float]]:
    allowed = index.allowed(settings.gallery)
    inside = np.ones(len(index), dtype=bool) if allowed is None else allowed
    held = np.array(index.rows.items[settings.label].cast(pa.string()).to_pylist(), dtype=object)
    found = index.rows.nearest(vectors, TOP, inside)
    shown = {}
    for label, rows in zip(labels, found.rows, strict=True):
        relevant = (held[rows] == label)[None] & (rows >= 0)
        share = float((held[inside] == label).mean())
        shown[label] = {f"P@{TOP}": float(metrics.precision_at_k(relevant, TOP)[0]), "chance": share}
    return shown


def _captions_to_images(index: Index, asked: Queries) -> dict[str, float]:
    """Recall of a query's own image by its caption, among the queries; equal captions count as equally right."""
    captions = asked.items["caption"].to_pylist()
    rows = [at for at, caption in enumerate(captions) if caption]
    distinct = sorted({captions[at] for at in rows})
    if len(distinct) < 2:
        return {}
    words = index.encoder.embed_texts(distinct)
    order = np.argsort(-(words @ asked.vectors[rows].T), axis=1, kind="stable")
    own = np.array([captions[at] for at in rows], dtype=object)
    relevant = own[order] == np.array(distinct, dtype=object)[:, None]
    return {f"caption → image Acc@{k}": float(metrics.acc_at_k(relevant, k).mean()) for k in (1, 5, 10)}
