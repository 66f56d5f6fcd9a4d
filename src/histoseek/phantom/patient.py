"""Patients: each with stains and a scanner of their own, so that colour betrays the patient as it does in life."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from histoseek.imaging.stain import combine_stains
from histoseek.phantom.canvas import Floats

Colour = tuple[float, float, float]

# Absorption of red, green and blue as scanners see it; the published vectors of `imaging.stain` are purer than these.
_HAEMATOXYLIN = np.array([0.60, 0.71, 0.38])
_EOSIN = np.array([0.20, 0.82, 0.54])


@dataclass(frozen=True)
class Scanner:
    """How light becomes a picture: native scale, colour of empty glass, contrast, blur in µm and noise in levels."""

    name: str
    mpp: float
    white: Colour
    gamma: float
    blur_um: float
    noise: float


SCANNERS: tuple[Scanner, ...] = (
    Scanner("scanner A", 0.50, (244.0, 243.0, 245.0), 1.00, 0.22, 2.0),
    Scanner("scanner B", 0.46, (238.0, 236.0, 240.0), 1.10, 0.30, 1.5),
    Scanner("scanner C", 0.50, (247.0, 243.0, 238.0), 0.92, 0.42, 3.0),
    Scanner("scanner D", 0.55, (240.0, 244.0, 243.0), 1.04, 0.35, 2.5),
)


@dataclass(frozen=True)
class Patient:
    """One synthetic patient: absorption vectors and strengths of both stains, size of nuclei (1 is usual), scanner."""

    id: str
    haematoxylin: Colour
    eosin: Colour
    haematoxylin_strength: float
    eosin_strength: float
    nuclear_scale: float
    scanner: Scanner


def make_patient(seed: int, name: str | None = None) -> Patient:
    """Draw a patient by lot, the same for the same seed."""
    rng = np.random.default_rng([seed, 0x9A71E47])
    return Patient(
        id=f"P{seed:02d}" if name is None else name,
        haematoxylin=_vary(_HAEMATOXYLIN, 0.045, rng),
        eosin=_vary(_EOSIN, 0.06, rng),
        haematoxylin_strength=float(0.84 * np.exp(rng.normal(0, 0.17))),
        eosin_strength=float(0.82 * np.exp(rng.normal(0, 0.24))),
        nuclear_scale=float(np.exp(rng.normal(0, 0.04))),
        scanner=SCANNERS[int(rng.integers(len(SCANNERS)))],
    )


def patients(count: int, seed: int = 0) -> tuple[Patient, ...]:
    """Draw `count` patients, P01 onwards."""
    return tuple(make_patient(seed * 10_007 + number, f"P{number:02d}") for number in range(1, count + 1))


def _vary(stain: NDArray[np.float64], amount: float, rng: np.random.Generator) -> Colour:
    """Turn an absorption vector a little."""
    turned = np.maximum(stain + rng.normal(0, amount, 3), 0.02)
    red, green, blue = turned / np.linalg.norm(turned)
    return float(red), float(green), float(blue)


# Rows of pixels that are coloured at once: large pictures never need a floating-point copy in colour.
_BAND = 512


def scan(
    haematoxylin: Floats, eosin: Floats, mpp: float, patient: Patient, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Show amounts of stain `[H, W]` as this patient's scanner would: uint8 `[H, W, 3]`."""
    height, width = haematoxylin.shape
    picture = np.empty((height, width, 3), dtype=np.uint8)
    scanner = patient.scanner
    stains = np.array([patient.haematoxylin, patient.eosin])
    strength = np.array([patient.haematoxylin_strength, patient.eosin_strength], dtype=np.float32)
    for top in range(0, height, _BAND):
        band = slice(top, min(top + _BAND, height))
        amounts = np.stack([haematoxylin[band], eosin[band]], axis=-1) * strength
        picture[band] = combine_stains(amounts, stains)
    blurred = Image.fromarray(picture).filter(ImageFilter.GaussianBlur(scanner.blur_um / mpp))
    picture = np.array(blurred)
    for top in range(0, height, _BAND):
        band = slice(top, min(top + _BAND, height))
        picture[band] = _expose(picture[band], scanner, rng)
    return picture


def _expose(rgb: NDArray[np.uint8], scanner: Scanner, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Give colours the white, the contrast and the noise of a scanner."""
    levels = np.arange(256, dtype=np.float32) / 255.0
    curve = levels[:, None] ** np.float32(scanner.gamma) * np.array(scanner.white, dtype=np.float32)
    exposed = np.stack([curve[rgb[..., channel], channel] for channel in range(3)], axis=-1)
    exposed += rng.standard_normal((*rgb.shape[:2], 1), dtype=np.float32) * np.float32(scanner.noise)
    return np.asarray(np.clip(np.rint(exposed), 0, 255), dtype=np.uint8)
