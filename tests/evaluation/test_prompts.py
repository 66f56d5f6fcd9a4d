"""The words for known datasets' classes."""

from __future__ import annotations

import pytest

from histoseek.datasets import bach, bracs, breakhis, crc, nct_crc
from histoseek.evaluation.words import class_prompts

LABELS = {
    "bach": set(bach.LABELS.values()),
    "crc": set(crc.LABELS.values()),
    "breakhis": {"A", "F", "PT", "TA", "DC", "LC", "MC", "PC"} | set(breakhis.COARSE.values()),
    "bracs": {"N", "PB", "UDH", "FEA", "ADH", "DCIS", "IC"},
    "nct-crc": {"ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM"},
}


@pytest.mark.parametrize("dataset", LABELS)
def test_a_known_dataset_has_words_for_exactly_its_labels(dataset: str) -> None:
    labels = sorted(LABELS[dataset])
    source, prompts = class_prompts(labels, {dataset})
    assert source.startswith(dataset)
    assert all(label.lower() not in prompts[label] for label in labels if label.isupper())


@pytest.mark.parametrize("dataset", [bach.DATASET, bracs.DATASET, breakhis.DATASET, crc.DATASET, nct_crc.DATASET])
def test_the_prompt_sets_go_by_the_datasets_names(dataset: object) -> None:
    assert getattr(dataset, "name", None) in LABELS


def test_unknown_labels_stand_in_the_templates_as_they_are() -> None:
    source, prompts = class_prompts(["signet_ring"], {"mine"})
    assert "labels" in source
    assert "a histology image of signet ring" in prompts["signet_ring"]
