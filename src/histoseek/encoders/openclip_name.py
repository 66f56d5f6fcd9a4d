"""What follows `openclip:`, taken apart without open_clip."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from histoseek.errors import EncoderError


@dataclass(frozen=True)
class OpenClipName:
    """A hub model (`hub`), a local `folder`, or a built-in `architecture` with a `checkpoint`: a tag or a path."""

    architecture: str = ""
    checkpoint: str = ""
    hub: str | None = None
    folder: str | None = None

    @property
    def lasting(self) -> str:
        """The name with local paths made absolute, so that it holds in any working directory."""
        if self.hub is not None:
            return f"hf-hub:{self.hub}"
        if self.folder is not None:
            return f"local-dir:{Path(self.folder).resolve()}"
        local = self.checkpoint.endswith(".safetensors")
        return f"{self.architecture}/{Path(self.checkpoint).resolve() if local else self.checkpoint}"


def parse_openclip_name(name: str) -> OpenClipName:
    """Take apart `MODEL/TAG`, `MODEL/PATH.safetensors`, `hf-hub:ORGANISATION/NAME` or `local-dir:FOLDER`.

    Raises:
        EncoderError: the name has another form.
    """
    hub = name.removeprefix("hf-hub:")
    if hub != name:
        if len([part for part in hub.split("/") if part]) == 2:
            return OpenClipName(hub=hub)
    elif name.startswith("local-dir:"):
        if name != "local-dir:":
            return OpenClipName(folder=name.removeprefix("local-dir:"))
    else:
        architecture, _, checkpoint = name.partition("/")
        if architecture and checkpoint:
            return OpenClipName(architecture, checkpoint)
    raise EncoderError(
        f"'openclip:{name}' is not an open_clip name; write openclip:MODEL/CHECKPOINT, for example "
        "openclip:ViT-B-32/laion2b_s34b_b79k, openclip:hf-hub:ORGANISATION/NAME or openclip:local-dir:FOLDER"
    )
