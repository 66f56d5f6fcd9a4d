"""From a kind of tissue and a patient to a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from histoseek.errors import InputError
from histoseek.phantom.canvas import Canvas, Grid
from histoseek.phantom.kinds import KINDS, TABLE
from histoseek.phantom.noise import cloud
from histoseek.phantom.patient import Patient, scan


def draw(kind: str, width: int, height: int, mpp: float, patient: Patient, seed: int) -> NDArray[np.uint8]:
    """Draw one kind of tissue as this patient's slide would show it: uint8 `[height, width, 3]`.

    `mpp` is in µm per pixel. The same seed draws the same tissue for the same area in µm, at any scale.
    A picture takes about 110 bytes of memory a pixel while it is drawn.

    Raises:
        InputError: no such kind, or a picture without pixels or scale.
    """
    canvas = lay(kind, Grid(width, height, mpp), patient, seed)
    rng = np.random.default_rng([seed, 7])
    return scan(canvas.haematoxylin, canvas.eosin, mpp, patient, rng)


def lay(kind: str, grid: Grid, patient: Patient, seed: int) -> Canvas:
    """Lay out the stain of one kind of tissue on a grid.

    Raises:
        InputError: no such kind.
    """
    if kind not in KINDS:
        raise InputError(f"unknown kind of phantom tissue {kind!r}: choose one of {', '.join(KINDS)}")
    number = KINDS.index(kind)
    canvas = Canvas(grid, np.random.default_rng([seed, number, 3]), patient.nuclear_scale)
    TABLE[number].fill(canvas)
    # Sections are never quite even in thickness.
    thickness = 1.0 + 0.05 * cloud(grid, 180.0, 2, canvas.rng)
    canvas.haematoxylin *= thickness
    canvas.eosin *= thickness
    return canvas
