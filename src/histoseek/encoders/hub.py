"""Model folders from the Hugging Face hub: taken from the cache, else fetched, and refused in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from histoseek.errors import EncoderError

BESIDE_WEIGHTS = (
    "*config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "README.md",
)
TRANSFORMERS_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "model-*.safetensors")
OPENCLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")

CONVERSION_TITLE = "Adding `safetensors` variant of this model"
CONVERSION_AUTHOR = "SFconvertbot"

# All that goes wrong between here and the hub: its HTTP library's errors, and the operating system's.
UNREACHABLE: tuple[type[BaseException], ...] = HfHubHTTPError.__bases__


class Fetched(NamedTuple):
    """A model's folder in the hub's cache, and the revision it is of when that is not the main one."""

    folder: Path
    revision: str | None


def fetch(name: str, revision: str | None, weights: Sequence[str]) -> Fetched:
    """Fetch the hub model `name` with its `weights` files, unless the cache holds it: then nothing is asked.

    Where the main revision offers no safetensors, the hub's own conversion (a pull request by its robot) is taken.

    Raises:
        EncoderError: the hub cannot be reached, does not know the name, or asks for a licence to be accepted first.
    """
    patterns = [*BESIDE_WEIGHTS, *weights]
    with _refusals_in_words(name, revision):
        folder = _cached(name, revision, patterns)
        if folder is None or not holds_any(folder, weights):
            folder = Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
        converted = None if revision or holds_any(folder, weights) else _conversion(name)
        if converted is not None:
            return Fetched(Path(snapshot_download(name, revision=converted, allow_patterns=patterns)), converted)
    return Fetched(folder, revision)


@contextmanager
def _refusals_in_words(name: str, revision: str | None) -> Iterator[None]:
    page = f"https://huggingface.co/{name}"
    try:
        yield
    except HFValidationError as error:
        raise EncoderError(f"{name!r} is not the name of a hub model; it looks like ORGANISATION/MODEL") from error
    except GatedRepoError as error:
        raise EncoderError(
            f"model {name!r} is gated: accept its licence at {page}, then run `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise EncoderError(
            f"the hub has no model {name!r} that you may see; check the spelling at https://huggingface.co/models, "
            "and for a private model run `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise EncoderError(f"model {name!r} has no revision {revision!r}; see {page}/commits/main") from error
    except UNREACHABLE as error:
        raise EncoderError(
            f"model {name!r} is not on this machine and could not be fetched from the hub ({_why(error)}); "
            f"on a machine with network run `hf download {name} --local-dir DIR`, copy DIR here and use --encoder DIR"
        ) from error


def holds_any(folder: Path, patterns: Sequence[str]) -> bool:
    """Whether a folder holds a file of one of these patterns."""
    return any(True for pattern in patterns for _ in folder.glob(pattern))


def pickles_only(name: str) -> EncoderError:
    """Say that a hub model offers no weights that are safe to read, and how to get some."""
    return EncoderError(
        f"hub model {name!r} offers no safetensors weights, and Histoseek opens no pickles; where you trust them, run "
        f"`hf download {name} --local-dir DIR`, convert ({conversion('DIR')}) and use --encoder DIR"
    )


def conversion(folder: str) -> str:
    """Command that writes a model folder's pickled weights as safetensors beside them."""
    code = f"from transformers import AutoModel as M; M.from_pretrained('{folder}').save_pretrained('{folder}')"
    return f'python -c "{code}"'


def _cached(name: str, revision: str | None, patterns: list[str]) -> Path | None:
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns, local_files_only=True))
    except FileNotFoundError:
        return None


def _conversion(name: str) -> str | None:
    pulls = HfApi().get_repo_discussions(name, author=CONVERSION_AUTHOR, discussion_type="pull_request")
    for pull in pulls:
        if pull.title == CONVERSION_TITLE and pull.author == CONVERSION_AUTHOR and pull.status == "open":
            return pull.git_reference
    return None


def _why(error: BaseException) -> str:
    cause = error.__cause__ or error
    text = str(cause).strip().splitlines()
    return text[0].rstrip(".")[:200] if text else type(cause).__name__
