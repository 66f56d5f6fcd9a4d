"""Drawn tissue for demonstrations, tests and benchmarks; all of it is synthetic and says so."""

from histoseek.phantom.field import Field, Region, draw_field
from histoseek.phantom.files import SYNTHETIC, write_picture
from histoseek.phantom.kinds import DESCRIPTIONS, KINDS
from histoseek.phantom.patient import SCANNERS, Patient, Scanner, make_patient, patients
from histoseek.phantom.picture import draw
from histoseek.phantom.sample import write_sample
from histoseek.phantom.slide import write_slide, write_slides
from histoseek.phantom.traps import plant_traps

__all__ = [
    "DESCRIPTIONS",
    "KINDS",
    "SCANNERS",
    "SYNTHETIC",
    "Field",
    "Patient",
    "Region",
    "Scanner",
    "draw",
    "draw_field",
    "make_patient",
    "patients",
    "plant_traps",
    "write_picture",
    "write_sample",
    "write_slide",
    "write_slides",
]
