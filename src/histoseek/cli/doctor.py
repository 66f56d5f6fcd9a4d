"""histoseek doctor."""

from __future__ import annotations

import importlib.util
import platform
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer

from histoseek.cli.output import show_rows

NEEDED = ("histoseek", "numpy", "pillow", "pyarrow", "lancedb", "openvino", "tokenizers")
WORKS = "works"
EXTRAS = {
    "torch": (
        *("torch", "transformers", "safetensors", "onnx", "onnxscript"),
        *("accelerate", "peft", "pytorch_metric_learning", "tensorboard"),
    ),
    "openclip": ("open_clip",),
}


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("doctor")(doctor)


def doctor() -> None:
    """Check the installation: versions, extras, and one small search through the whole machinery."""
    rows = [{"what": "python", "state": platform.python_version(), "ok": sys.version_info >= (3, 11)}]
    for name in NEEDED:
        try:
            rows.append({"what": name, "state": version(name), "ok": True})
        except PackageNotFoundError:
            rows.append({"what": name, "state": f"missing; run: pip install {name}", "ok": False})
    for extra, modules in EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        state = f"not installed (optional): pip install 'histoseek[{extra}]'" if missing else "installed"
        rows.append({"what": f"extra {extra}", "state": state, "ok": True})
    answer = _try_search()
    rows.append({"what": "build and search", "state": answer, "ok": answer == WORKS})
    show_rows([{**row, "ok": "yes" if row["ok"] else "NO"} for row in rows], False)
    if not all(row["ok"] for row in rows):
        raise typer.Exit(2)


def _try_search() -> str:
    """Draw, index and search three pictures; a failure is an error of its own."""
    from PIL import Image

    from histoseek.index import Index
    from histoseek.items import Item, Manifest
    from histoseek.phantom import KINDS, draw, make_patient

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for kind in KINDS[:3]:
            Image.fromarray(draw(kind, 256, 256, 0.5, make_patient(1), 1)).save(home / f"{kind}.png")
        items = [Item(kind, f"{kind}.png", label=kind, mpp=0.5, width=256, height=256) for kind in KINDS[:3]]
        index = Index.build(Manifest.from_items(items, home), "mini", home / "x.index")
        hits = index.search(image=home / f"{KINDS[0]}.png", k=1)
        return WORKS if hits[0].item.id == KINDS[0] else f"wrong answer: {hits[0].item.id}"
