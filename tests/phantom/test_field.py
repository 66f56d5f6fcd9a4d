from __future__ import annotations

import numpy as np
import pytest

from histoseek.errors import InputError
from histoseek.phantom import KINDS, draw_field, make_patient

PATIENT = make_patient(4)


@pytest.fixture(scope="module")
def field():
    return draw_field(360, 280, 2.0, PATIENT, 6)


def test_regions_lie_inside_and_apart(field):
    height, width = field.picture.shape[:2]
    taken = np.zeros((height, width), dtype=int)
    assert len(field.regions) >= 4
    for kind, box in field.regions:
        assert kind in KINDS
        assert box.width > 20
        assert box.height > 20
        assert box.x >= 0
        assert box.y >= 0
        assert box.x + box.width <= width
        assert box.y + box.height <= height
        taken[box.y : box.y + box.height, box.x : box.x + box.width] += 1
    assert taken.max() == 1


def test_glass_lies_around_the_tissue(field):
    rim = np.concatenate([field.picture[:4].reshape(-1, 3), field.picture[:, :4].reshape(-1, 3)])
    assert rim.mean(axis=0) == pytest.approx(PATIENT.scanner.white, abs=1.5)
    assert np.ptp(rim, axis=0).max() < 40


def test_a_region_is_pure():
    two = draw_field(320, 320, 2.0, PATIENT, 3, kinds=("fat", "lymphoid"))
    shares = {"fat": [], "lymphoid": []}
    for kind, box in two.regions:
        part = two.picture[box.y : box.y + box.height, box.x : box.x + box.width].mean(axis=2)
        shares[kind].append(float((part < 170).mean()))
    assert max(shares["fat"]) < 0.12
    assert min(shares["lymphoid"]) > 0.3


def test_boxes_never_reach_glass():
    for seed in range(2):
        solid = draw_field(140, 120, 4.0, PATIENT, seed, kinds=("solid tumour",))
        for _, box in solid.regions:
            part = solid.picture[box.y : box.y + box.height, box.x : box.x + box.width].mean(axis=2)
            blocks = part[: box.height // 8 * 8, : box.width // 8 * 8].reshape(box.height // 8, 8, -1, 8)
            assert blocks.mean(axis=(1, 3)).max() < np.mean(PATIENT.scanner.white) - 15


def test_same_seed_same_field(field):
    again = draw_field(360, 280, 2.0, PATIENT, 6)
    assert np.array_equal(field.picture, again.picture)
    assert field.regions == again.regions


def test_kinds_are_wanted():
    with pytest.raises(InputError, match="at least one kind"):
        draw_field(64, 64, 2.0, PATIENT, 1, kinds=())
    with pytest.raises(InputError, match="unknown kind"):
        draw_field(64, 64, 2.0, PATIENT, 1, kinds=("cheese",))
