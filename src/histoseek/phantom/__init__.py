from histoseek.phantom.kinds import DESCRIPTIONS, KINDS
from histoseek.phantom.patient import Patient, Scanner, make_patient, patients
from histoseek.phantom.picture import draw
