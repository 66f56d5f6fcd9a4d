from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from histoseek.errors import InputError
from histoseek.imaging.stain import separate_stains
from histoseek.phantom import DESCRIPTIONS, KINDS, SCANNERS, draw, make_patient, patients
from histoseek.phantom.canvas import Canvas, Grid
from histoseek.phantom.noise import scatter
from histoseek.phantom.nuclei import cover, make_bodies

PATIENT = make_patient(2)


def _grey(picture):
    return picture.mean(axis=2).ravel()


def _likeness(first, second):
    return float(np.corrcoef(_grey(first), _grey(second))[0, 1])


def test_eight_kinds_each_with_a_description():
    assert len(KINDS) >= 8
    assert len(set(KINDS)) == len(KINDS)
    assert set(DESCRIPTIONS) == set(KINDS)
    assert len(set(DESCRIPTIONS.values())) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_pixels_whatever_else_was_drawn(kind):
    first = draw(kind, 96, 80, 0.5, PATIENT, 7)
    draw("fat", 50, 50, 0.5, PATIENT, 1)
    np.random.seed(3)
    assert first.shape == (80, 96, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, draw(kind, 96, 80, 0.5, PATIENT, 7))
    assert not np.array_equal(first, draw(kind, 96, 80, 0.5, PATIENT, 8))


def test_same_pixels_in_another_process():
    code = (
        "import hashlib; from histoseek.phantom import draw, make_patient;"
        "print(hashlib.sha256(draw('mucin', 64, 64, 0.5, make_patient(2), 5).tobytes()).hexdigest())"
    )
    digests = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(digests) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_tissue_is_the_same_at_two_scales(kind):
    fine = draw(kind, 256, 256, 0.25, PATIENT, 3)
    coarse = draw(kind, 128, 128, 0.5, PATIENT, 3)
    halved = np.asarray(Image.fromarray(fine).resize((128, 128), Image.Resampling.BOX))
    assert _likeness(halved, coarse) > 0.9
    assert _likeness(halved, draw(kind, 128, 128, 0.5, PATIENT, 4)) < 0.6
    nuclear = [(separate_stains(picture)[..., 0] > 0.35).mean() for picture in (halved, coarse)]
    assert nuclear[0] == pytest.approx(nuclear[1], abs=0.02)


@pytest.mark.parametrize("mpp", [0.25, 0.5, 1.0])
def test_a_body_covers_the_area_its_axes_say(mpp):
    canvas = Canvas(Grid(round(60 / mpp), round(60 / mpp), mpp), np.random.default_rng(0))
    one = make_bodies(np.array([30.0]), np.array([30.0]), (8.0, 4.0), 0.6, canvas.rng, spread=0.0)
    covered = cover(canvas, one, ragged=0.0).sum() * mpp**2
    assert covered == pytest.approx(np.pi * 8 * 4, rel=0.06)


def test_scattered_places_keep_their_distance_and_leave_no_large_gap():
    points = scatter(Grid(200, 150, 0.5), 9.0, np.random.default_rng(1))
    distance = np.hypot(points.x[:, None] - points.x, points.y[:, None] - points.y)
    np.fill_diagonal(distance, np.inf)
    assert distance.min() >= 9.0 * 0.999
    x, y = np.meshgrid(np.arange(0, 100, 3.0), np.arange(0, 75, 3.0))
    gap = np.hypot(x.ravel()[:, None] - points.x, y.ravel()[:, None] - points.y).min(axis=1)
    assert gap.max() < 2 * 9.0


def _texture(picture):
    """Figures that do not know the hue: contrasts at four scales, share of nuclei and of glass."""
    grey = picture.mean(axis=2, dtype=np.float32)
    nuclei = separate_stains(picture)[..., 0] > 0.45
    steps = [np.log(np.abs(grey[:, s:] - grey[:, :-s]).mean() + 1e-3) for s in (1, 2, 4, 8)]
    dark, middle = np.percentile(grey, [5, 50])
    return np.array([*steps, grey.std(), nuclei.mean(), (grey > 225).mean(), middle - dark])


def _accuracy(features, labels, groups):
    """Nearest class mean, with the patient left out."""
    right = []
    for group in np.unique(groups):
        own = groups == group
        scaled = (features - features[~own].mean(axis=0)) / features[~own].std(axis=0)
        means = np.stack([scaled[~own & (labels == label)].mean(axis=0) for label in range(len(KINDS))])
        nearest = np.square(scaled[own][:, None] - means[None]).sum(axis=2).argmin(axis=1)
        right.extend(nearest == labels[own])
    return float(np.mean(right))


def test_kinds_are_told_by_structure_and_only_partly_by_colour():
    colour, texture, labels, groups = [], [], [], []
    for number, patient in enumerate(patients(5)):
        for label, kind in enumerate(KINDS):
            picture = draw(kind, 120, 120, 1.0, patient, 100 * number + label)
            colour.append(picture.reshape(-1, 3).mean(axis=0))
            texture.append(_texture(picture))
            labels.append(label)
            groups.append(number)
    labels, groups = np.array(labels), np.array(groups)
    by_colour = _accuracy(np.array(colour), labels, groups)
    by_texture = _accuracy(np.array(texture), labels, groups)
    assert by_texture > 0.7
    assert 0.25 < by_colour < 0.8
    assert by_texture > by_colour


def test_patients_are_themselves_and_differ_in_stain():
    group = patients(12)
    assert group == patients(12)
    assert [patient.id for patient in group[:2]] == ["P01", "P02"]
    assert len({patient.haematoxylin for patient in group}) == 12
    assert {patient.scanner for patient in group} <= set(SCANNERS)
    assert len({patient.scanner for patient in group}) > 1
    assert patients(2, seed=1) != patients(2, seed=2)
    means = np.array([draw("stroma", 64, 64, 1.0, patient, 5).reshape(-1, 3).mean(axis=0) for patient in group])
    assert means.std(axis=0).max() > 8


def test_scanner_white_is_what_empty_glass_shows():
    pale = replace(PATIENT, haematoxylin_strength=0.0, eosin_strength=0.0)
    for scanner in SCANNERS:
        glass = draw("stroma", 40, 40, 0.5, replace(pale, scanner=scanner), 1).reshape(-1, 3).mean(axis=0)
        assert glass == pytest.approx(scanner.white, abs=1.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("width", "height", "mpp"), [(1, 1, 0.5), (17, 3, 0.25), (40, 30, 20.0), (33, 20, 0.05)])
def test_odd_sizes_and_scales_are_drawn(kind, width, height, mpp):
    assert draw(kind, width, height, mpp, PATIENT, 1).shape == (height, width, 3)


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(InputError, match="unknown kind"):
        draw("cheese", 8, 8, 0.5, PATIENT, 1)
    with pytest.raises(InputError, match="0 × 8"):
        draw("fat", 0, 8, 0.5, PATIENT, 1)
    with pytest.raises(InputError, match="µm"):
        draw("fat", 8, 8, 0.0, PATIENT, 1)


def test_import_stays_light():
    heavy = "torch openvino lancedb pandas"
    code = f"import sys, histoseek.phantom; sys.exit(any(name in sys.modules for name in '{heavy}'.split()))"
    subprocess.run([sys.executable, "-c", code], check=True)
