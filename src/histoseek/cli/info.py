"""histoseek info PATH or ADDRESS."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from histoseek.cli.output import show_rows


def add_to(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("info")(info)


def info(
    path: Annotated[
        str,
        typer.Argument(
            help="An index (also s3://BUCKET/NAME or milvus://HOST:PORT/NAME), a report, an encoder folder, a manifest "
            "or an image."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Say what lies at a path or an address."""
    about = _index(path) if "://" in path else _describe(Path(path))
    show_rows([about] if as_json else [{"what": name, "value": str(value)} for name, value in about.items()], as_json)


def _describe(path: Path) -> dict[str, Any]:
    from histoseek.errors import InputError, needs_extra

    if not path.exists():
        raise InputError(f"there is nothing at {path}")
    if (path / "index.json").is_file() or (path / "building.json").is_file():
        return _index(path)
    if (path / "scores.json").is_file():
        from histoseek.evaluation import Report

        report = Report.read(path)
        return {"kind": "report", **report.protocol, **report.provenance}
    if (path / "encoder.json").is_file() or (path / "config.json").is_file():
        from histoseek.encoders import describe, load_encoder

        return {"kind": "encoder", **describe(load_encoder(path))}
    if path.is_dir():
        raise InputError(f"{path} is neither an index, a report nor an encoder folder")
    if path.suffix.lower() in (".parquet", ".csv"):
        return _manifest(path)
    from histoseek.imaging import SLIDE_SUFFIXES, read_size

    if path.suffix.lower() in SLIDE_SUFFIXES:
        with needs_extra("slides"):
            from histoseek.imaging.carried import allowed_metadata

        return {"kind": "slide", **allowed_metadata(path)}
    width, height, mpp = read_size(path)
    return {"kind": "image", "width": width, "height": height, "mpp": mpp or "unknown"}


def _index(path: str | Path) -> dict[str, Any]:
    from histoseek.index import Index
    from histoseek.index.describing import describe_index

    return describe_index(Index.open(path))


def _manifest(path: Path) -> dict[str, Any]:
    from histoseek.items import Manifest

    manifest = Manifest.read(path)
    return {
        "kind": "manifest",
        "items": len(manifest),
        "images": str(manifest.root),
        "columns": ", ".join(manifest.columns),
        "audit": "; ".join(finding.message for finding in manifest.audit().findings) or "nothing found",
        **{name: value for name, value in manifest.facts.items() if isinstance(value, str)},
    }
