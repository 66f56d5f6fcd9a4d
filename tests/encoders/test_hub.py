from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

from histoseek.encoders import load_encoder
from histoseek.errors import EncoderError
from tests.encoders.fake_hub import FakeHub


@pytest.fixture
def pickles(model_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    """A model folder as older hub models are: without safetensors."""
    folder = tmp_path / "pickles"
    folder.mkdir()
    for path in model_folder("vit").iterdir():
        if path.suffix != ".safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    (folder / "pytorch_model.bin").write_bytes(b"never to be opened")
    return folder


def refusal(name: str) -> str:
    with pytest.raises(EncoderError) as refused:
        load_encoder(name)
    return str(refused.value)


def test_a_model_is_fetched_once(hub: FakeHub, model_folder: Callable[[str], Path]) -> None:
    hub.models["lab/tiny", "main"] = model_folder("vit")
    first = load_encoder("hf:lab/tiny")
    assert hub.asked
    hub.asked.clear()
    again = load_encoder("hf:lab/tiny")
    assert hub.asked == []
    assert again.fingerprint == first.fingerprint
    assert first.fingerprint.digest == load_encoder(model_folder("vit")).fingerprint.digest
    assert (first.card.name, first.card.source) == ("hf:lab/tiny", "https://huggingface.co/lab/tiny")


def test_a_revision_can_be_asked_for(hub: FakeHub, model_folder: Callable[[str], Path]) -> None:
    hub.models["lab/tiny", "main"] = model_folder("vit")
    hub.models["lab/tiny", "v1"] = model_folder("resnet")
    assert load_encoder("hf:lab/tiny@v1").fingerprint != load_encoder("hf:lab/tiny").fingerprint
    assert "has no revision 'v2'" in refusal("hf:lab/tiny@v2")


def test_only_what_is_needed_is_fetched(hub: FakeHub, model_folder: Callable[[str], Path], tmp_path: Path) -> None:
    folder = tmp_path / "full"
    folder.mkdir()
    for path in model_folder("vit").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    for name in ("pytorch_model.bin", "tf_model.h5", "open_clip_model.safetensors", "modeling_evil.py"):
        (folder / name).write_bytes(b"large or unwanted")
    hub.models["lab/full", "main"] = folder
    load_encoder("hf:lab/full")
    fetched = {line.rpartition("/")[2] for line in hub.asked if line.startswith("GET") and "/resolve/" in line}
    assert fetched == {"config.json", "model.safetensors", "preprocessor_config.json"}


def test_a_gated_model(hub: FakeHub) -> None:
    hub.gated.add("lab/gated")
    message = refusal("hf:lab/gated")
    assert "accept its licence at https://huggingface.co/lab/gated" in message
    assert "hf auth login" in message


def test_a_name_that_the_hub_does_not_know(hub: FakeHub) -> None:
    assert "no model 'lab/none' that you may see" in refusal("hf:lab/none")
    assert "not the name of a hub model" in refusal("hf:lab//none")


def test_the_hubs_own_conversion_is_taken(hub: FakeHub, pickles: Path, model_folder: Callable[[str], Path]) -> None:
    hub.models["lab/old", "main"] = pickles
    hub.models["lab/old", "refs/pr/4"] = model_folder("vit")
    hub.pull_requests["lab/old"] = [pull_request(4, "SFconvertbot")]
    encoder = load_encoder("hf:lab/old")
    assert encoder.fingerprint.digest == load_encoder(model_folder("vit")).fingerprint.digest
    hub.asked.clear()
    assert load_encoder(encoder.card.name).fingerprint == encoder.fingerprint
    assert (encoder.card.name, hub.asked) == ("hf:lab/old@refs/pr/4", [])


def test_a_conversion_by_a_stranger_is_not_taken(
    hub: FakeHub, pickles: Path, model_folder: Callable[[str], Path]
) -> None:
    hub.models["lab/old", "main"] = pickles
    hub.models["lab/old", "refs/pr/4"] = model_folder("vit")
    hub.pull_requests["lab/old"] = [pull_request(4, "stranger")]
    message = refusal("hf:lab/old")
    assert "offers no safetensors" in message
    assert "hf download lab/old --local-dir DIR" in message


def pull_request(number: int, author: str) -> dict[str, object]:
    return {
        "title": "Adding `safetensors` variant of this model",
        "num": number,
        "repo": {"name": "lab/old", "type": "model"},
        "author": {"name": author},
        "status": "open",
        "isPullRequest": True,
        "createdAt": "2024-01-01T00:00:00.000Z",
    }


def test_offline_mode_is_respected(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message = refusal("hf:lab/tiny")
    assert "could not be fetched" in message
    assert hub.asked == []


def test_without_network_the_sentence_says_how_to_fetch_elsewhere(tmp_path: Path) -> None:
    code = "from histoseek.encoders import load_encoder; load_encoder('hf:lab/tiny')"
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    environment.pop("HF_HUB_OFFLINE", None)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    last = ran.stderr.strip().splitlines()[-1]
    assert last.startswith("histoseek.errors.EncoderError: model 'lab/tiny' is not on this machine")
    assert "on a machine with network run `hf download lab/tiny --local-dir DIR`" in last
    assert "--encoder DIR" in last
