"""Captions of atlas tiles, made of what the case's title says: organ, diagnosis, nature, stain and scale.

Labels are those of the slide, so no caption claims to describe what one tile shows.
"""

from __future__ import annotations

from collections.abc import Mapping

ORGANS: Mapping[str, tuple[str, ...]] = {
    "colon": ("colon", "large bowel", "large intestine", "colonic mucosa"),
    "small intestine": ("small intestine", "small bowel", "duodenum or ileum"),
    "stomach": ("stomach", "gastric mucosa"),
    "esophagus": ("esophagus", "oesophagus"),
    "gallbladder": ("gallbladder", "gall bladder"),
    "adrenal gland": ("adrenal gland", "adrenal cortex and medulla", "suprarenal gland"),
    "soft tissue": ("soft tissue", "connective tissue"),
    "lymph node": ("lymph node", "nodal lymphoid tissue"),
    "brain": ("brain", "cerebral tissue", "central nervous system"),
    "liver": ("liver", "hepatic tissue"),
    "pancreas": ("pancreas", "pancreatic tissue"),
    "kidney": ("kidney", "renal tissue"),
    "lung": ("lung", "pulmonary tissue"),
    "skin": ("skin", "cutaneous tissue"),
    "spleen": ("spleen", "splenic tissue"),
    "uterus": ("uterus", "endometrium"),
    "breast": ("breast", "mammary tissue"),
    "bone": ("bone", "osseous tissue"),
}
"""Other names of an organ; one that is not here goes by its own name."""

NATURES = {
    "malignant": "malignant tumour",
    "benign": "benign lesion",
    "inflammatory": "inflammation",
    "normal": "normal",
}
FRAMES = (
    "a histology image of {}",
    "a hematoxylin and eosin stained section showing {}",
    "H&E photomicrograph of {}",
    "microscopy of tissue with {}",
)
"""What people and `histoseek evaluate` put around a name."""

SCALES = {"20x": "high magnification", "5x": "low magnification"}
STAINS = {"H&E": ("H&E", "hematoxylin and eosin")}


def captions(tile: Mapping[str, object]) -> list[str]:
    """All that may be said of a tile, by a row of the atlas's table; nothing of a case without a title."""
    organ, diagnosis, nature = (str(tile.get(name) or "") for name in ("organ", "diagnosis", "nature"))
    stain, scale = str(tile.get("stain") or ""), SCALES.get(str(tile.get("scale")), "")
    names = ORGANS.get(organ, (organ,) if organ else ())
    said = [*names, *(f"{name} tissue" for name in names[:1]), *(f"histology of {name}" for name in names)]
    if diagnosis:
        said += [diagnosis, f"a slide of {diagnosis}"]
        said += [f"{name}: {diagnosis}" for name in names] if organ not in diagnosis else []
    if nature in NATURES and names:
        said += [f"{NATURES[nature]} of the {name}" for name in names[:2]]
    if names:
        said += [f"{names[0]}, {name} stain" for name in STAINS.get(stain, (stain,)) if name]
        said += [f"{names[0]}, {scale}"] if scale else []
    said += [frame.format(name) for frame in FRAMES for name in (*names[:2], *([diagnosis] if diagnosis else []))]
    if not said and stain != "H&E":
        said = [f"{stain} stain"]
    return said
