"""From a name or a path to an encoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from histoseek.encoders.bundled import BUNDLED
from histoseek.encoders.encoder import AskedPrecision, Encoder, Fingerprint, Precision, Settings
from histoseek.encoders.encoder_json import FILE_NAME
from histoseek.encoders.known import known_encoders
from histoseek.errors import EncoderError, needs_extra

if TYPE_CHECKING:
    from histoseek.encoders.torch_encoder import TorchEncoder

GROUP = "histoseek.encoders"
"""Entry points of this group add families: each is a function (what follows the colon, Settings) → Encoder."""

MODEL_DIR = "model"
"""Where an encoder folder that can be trained further keeps its network, in the hub's format."""

Family = Callable[[str, Settings], Encoder]


def load_encoder(
    name: str | Path,
    *,
    precision: AskedPrecision = "f32",
    threads: int | None = None,
    batch: int | None = None,
    mpp: float | None = None,
    fast: bool = False,
) -> Encoder:
    """Load an encoder: `mini`, `color`, `hf:ORGANISATION/MODEL`, `openclip:MODEL/CHECKPOINT`, or a folder.

    A folder is an encoder folder (`encoder.json`) or a model folder in the hub's format (`config.json`). `precision`
    is part of the fingerprint, where "auto" stands as what this machine prefers; `threads` and `batch` are speed only;
    `mpp` overrides the scale of views, µm per pixel; `fast` decodes JPEG files at a fraction of their size where a view
    is shrunk by 3 or more, which is part of the fingerprint too.

    Raises:
        EncoderError: nothing goes by that name, an extra is missing, or the encoder cannot do what is asked.
        DamagedError: the encoder folder is incomplete or altered.
    """
    settings = Settings(precision, threads, batch, mpp, fast)
    if isinstance(name, Path) or (name and Path(name).is_dir()):
        return _folder(Path(name), settings)
    if name in BUNDLED:
        return _bundled(str(name), settings)
    family, colon, rest = name.partition(":")
    if family in FAMILIES and bool(colon) == bool(rest) == FAMILIES[family].takes_name:
        return FAMILIES[family].load(rest, settings)
    for entry in _outsiders():
        if entry.name == family:
            return _outside(entry, rest, settings)
    raise _unknown(name)


def load_again(name: str | Path, marks: Fingerprint, threads: int | None = None) -> Encoder:
    """Load an encoder as the one of a fingerprint was loaded: at its precision, scale and decoding; raises as that did.

    Whether it is the same encoder is for the caller to check.
    """
    how = marks.preprocessing
    return load_encoder(name, precision=marks.precision, threads=threads, mpp=how.mpp, fast=how.decoding == "scaled")


def _bundled(name: str, settings: Settings) -> Encoder:
    from histoseek.encoders.folder import FolderEncoder

    return FolderEncoder(BUNDLED[name], settings, has_name=True)


def load_model_folder(folder: Path, mpp: float | None) -> TorchEncoder:
    """Load a model folder in the hub's format in PyTorch; `mpp` is the scale of its views.

    Raises:
        EncoderError: the extra is missing, or the folder is not such a model.
    """
    with needs_extra("torch"):
        from histoseek.encoders.huggingface import load_folder
    return load_folder(folder, Settings(mpp=mpp))


def _folder(path: Path, settings: Settings) -> Encoder:
    if (path / FILE_NAME).is_file():
        from histoseek.encoders.folder import FolderEncoder

        return FolderEncoder(path, settings)
    if (path / "config.json").is_file():
        with needs_extra("torch"):
            from histoseek.encoders.huggingface import load_folder
        return load_folder(path, settings)
    if (path / "open_clip_config.json").is_file():
        return _openclip(f"local-dir:{path}", settings)
    if not path.is_dir():
        raise EncoderError(f"there is no folder {path}; give the path of an encoder folder")
    raise EncoderError(
        f"{path} is no encoder: it holds neither {FILE_NAME} (an encoder folder) nor config.json (a model folder); "
        "write one with `histoseek encoders export NAME --out DIR`"
    )


def _color(_: str, settings: Settings) -> Encoder:
    from histoseek.encoders.color import ColorEncoder

    return ColorEncoder(settings)


def _huggingface(rest: str, settings: Settings) -> Encoder:
    with needs_extra("torch"):
        from histoseek.encoders.huggingface import load_folder, load_hub
    return load_folder(Path(rest), settings) if Path(rest).is_dir() else load_hub(rest, settings)


def _openclip(rest: str, settings: Settings) -> Encoder:
    from histoseek.encoders.openclip_name import parse_openclip_name

    parse_openclip_name(rest)
    with needs_extra("openclip"):
        from histoseek.encoders.openclip import load_openclip
    return load_openclip(rest, settings)


@dataclass(frozen=True)
class BuiltIn:
    """A family of encoders: how it loads and how its names are written."""

    load: Family
    form: str

    @property
    def takes_name(self) -> bool:
        """Whether a colon and a name follow the family's own."""
        return ":" in self.form


FAMILIES = {
    "color": BuiltIn(_color, "color"),
    "hf": BuiltIn(_huggingface, "hf:ORGANISATION/MODEL"),
    "openclip": BuiltIn(_openclip, "openclip:MODEL/CHECKPOINT"),
}


def _outsiders() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=GROUP))


def _outside(entry: EntryPoint, rest: str, settings: Settings) -> Encoder:
    try:
        load: Family = entry.load()
    except (ImportError, AttributeError) as error:
        raise EncoderError(f"encoder family {entry.name!r} ({entry.value}) cannot be imported: {error}") from error
    encoder = load(rest, settings)
    marks = encoder.fingerprint
    for asked, is_done in (
        ("precision 'auto'", marks.precision in get_args(Precision)),
        ("fast decoding", marks.preprocessing.decoding == "scaled" or not settings.fast),
    ):
        if not is_done:
            raise EncoderError(f"encoder family {entry.name!r} does not know {asked}; load it without")
    return encoder


def _unknown(name: str) -> EncoderError:
    outside = [entry.name for entry in _outsiders()]
    candidates = [*(card.name for card in known_encoders()), *outside]
    # A hub name without its family is the likeliest slip.
    guesses = [c for c in candidates if name and c.partition(":")[2] == name] or get_close_matches(
        name, candidates, 1, 0.6
    )
    hint = f"did you mean {guesses[0]!r}? " if guesses else ""
    forms = [*BUNDLED, *(family.form for family in FAMILIES.values()), *outside, "the path of an encoder folder"]
    return EncoderError(f"no encoder {name!r}: {hint}Histoseek loads {', '.join(forms)}; see `histoseek encoders list`")


def describe(encoder: Encoder) -> dict[str, Any]:
    """Say all that is known of an encoder, in plain values: card, preprocessing, precision and fingerprint."""
    fingerprint = encoder.fingerprint
    return {
        **asdict(encoder.card),
        **asdict(fingerprint.preprocessing),
        "precision": fingerprint.precision,
        "weights_sha256": fingerprint.weights_sha256,
        "fingerprint": fingerprint.digest,
    }
