"""Models that OpenVINO compiled, kept in the user's cache."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from histoseek.encoders import Encoder, compiled, load_encoder
from histoseek.encoders.folder import FolderEncoder
from histoseek.encoders.silent_openvino import import_openvino
from histoseek.errors import DamagedError

Views = list[NDArray[np.uint8]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of kept models, in an empty cache."""
    monkeypatch.setenv("HISTOSEEK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(compiled.SWITCH, raising=False)
    return tmp_path / "cache" / "histoseek" / "compiled"


@pytest.fixture
def n_compiled(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows by one for every model that OpenVINO compiles."""
    calls: list[object] = []
    core = import_openvino().Core
    plain = core.compile_model

    def counted(self: object, *given: object, **named: object) -> object:
        calls.append(given)
        return plain(self, *given, **named)

    monkeypatch.setattr(core, "compile_model", counted)
    return calls


def mini_views(encoder: Encoder, n: int = 9) -> Views:
    side = encoder.fingerprint.preprocessing.view_px
    return list(np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8))


def test_a_kept_model_gives_the_same_vectors_and_is_not_compiled_again(home: Path, n_compiled: list[object]) -> None:
    first = load_encoder("mini")
    views, words = mini_views(first), ["tumour", "normal colon mucosa"]
    fresh, told = first.embed_images(views), first.embed_texts(words)
    assert len(n_compiled) == len(list(home.iterdir())) == 2  # both towers
    second = load_encoder("mini")
    np.testing.assert_array_equal(second.embed_images(views), fresh)
    np.testing.assert_array_equal(second.embed_texts(words), told)
    assert len(n_compiled) == 2


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="Windows has other rights")
def test_what_others_could_have_written_is_not_run(home: Path, n_compiled: list[object]) -> None:
    load_encoder("mini")
    assert home.stat().st_mode & 0o777 == 0o700
    (kept,) = home.iterdir()
    for place, mode in ((kept, 0o666), (home, 0o777)):
        place.chmod(mode)
        n_before = len(n_compiled)
        load_encoder("mini")
        assert len(n_compiled) == n_before + 1
        home.chmod(0o700)
    n_written = kept.stat().st_ino
    home.chmod(0o777)
    load_encoder("mini")
    assert kept.stat().st_ino == n_written, "nothing is kept where it would never be taken"
    home.chmod(0o700)
    load_encoder("mini")  # the kept one was made anew
    assert len(n_compiled) == 4


def test_vectors_are_those_of_an_encoder_without_a_cache(
    home: Path, n_compiled: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    load_encoder("mini")
    kept = load_encoder("mini")
    monkeypatch.setenv(compiled.SWITCH, "off")
    plain = load_encoder("mini")
    assert len(n_compiled) == 2
    np.testing.assert_array_equal(kept.embed_images(mini_views(kept)), plain.embed_images(mini_views(kept)))


def test_switched_off_nothing_is_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compiled.SWITCH, "off")
    load_encoder("mini")
    assert not home.exists()


@pytest.mark.parametrize("harm", ["flipped", "cut", "empty", "foreign"])
def test_a_damaged_file_is_made_again(home: Path, n_compiled: list[object], harm: str) -> None:
    first = load_encoder("mini")
    (kept,) = home.iterdir()
    whole = kept.read_bytes()
    middle = len(whole) // 2
    foreign = b"no model of OpenVINO"
    kept.write_bytes(
        {
            "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "cut": whole[:middle],
            "empty": b"",
            "foreign": hashlib.sha256(foreign).digest() + foreign,
        }[harm]
    )
    views = mini_views(first)
    np.testing.assert_array_equal(load_encoder("mini").embed_images(views), first.embed_images(views))
    assert len(n_compiled) == 2
    load_encoder("mini")
    assert len(n_compiled) == 2, "the good file is back"


def test_a_cache_that_cannot_be_written_is_done_without(
    home: Path, tmp_path: Path, n_compiled: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way of a folder")
    monkeypatch.setenv("HISTOSEEK_CACHE", str(tmp_path / "file"))
    load_encoder("mini")
    load_encoder("mini")
    assert len(n_compiled) == 2
    assert (tmp_path / "file").is_file()


def test_a_user_without_a_home_has_none(home: Path, n_compiled: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("HISTOSEEK_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    load_encoder("mini")
    assert len(n_compiled) == 1


def test_a_full_disk_leaves_no_half_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("histoseek.items.files.flush_to_disk", full)
    load_encoder("mini")
    assert list(home.iterdir()) == []


def test_other_weights_settings_and_versions_have_files_of_their_own(
    home: Path, exported: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(exported("clip"), tmp_path / "encoder"))
    exported("siglip")
    shutil.rmtree(home, ignore_errors=True)  # exporting loads what it wrote
    load_encoder(folder)
    load_encoder(exported("clip"))  # the same weights elsewhere
    assert len(list(home.iterdir())) == 1
    load_encoder(folder, threads=1)
    assert len(list(home.iterdir())) == 2
    load_encoder(exported("siglip"))
    assert len(list(home.iterdir())) == 3
    monkeypatch.setattr(compiled, "__version__", "another")
    load_encoder(folder)
    assert len(list(home.iterdir())) == 4
    assert list(folder.glob("*.blob")) == []


def test_altered_weights_are_told_although_their_model_is_kept(
    home: Path, exported: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(exported("clip"), tmp_path / "encoder"))
    load_encoder(folder)
    with (folder / "image.onnx").open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(DamagedError, match=r"image\.onnx"):
        load_encoder(folder)


def test_models_used_longest_ago_make_room(
    home: Path, exported: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = exported("clip"), exported("siglip")
    shutil.rmtree(home, ignore_errors=True)  # exporting loads what it wrote
    load_encoder(both[0])
    (oldest,) = home.iterdir()
    load_encoder(both[1])
    (newer,) = set(home.iterdir()) - {oldest}
    os.utime(newer, (2, 2))
    os.utime(oldest, (1, 1))
    load_encoder(exported("clip"))  # now it is the other one that was not used for long
    room = sum(one.stat().st_size for one in home.iterdir()) + 100
    monkeypatch.setattr(compiled, "MOST_BYTES", room)
    load_encoder(exported("clip"), threads=1)
    assert oldest.exists()
    assert not newer.exists()


def test_processes_at_once_all_get_the_same(home: Path) -> None:
    code = (
        "import hashlib, sys\nfrom histoseek.encoders import load_encoder\nimport numpy as np\n"
        "encoder = load_encoder('mini')\nside = encoder.fingerprint.preprocessing.view_px\n"
        "print(hashlib.sha256(encoder.embed_images([np.full((side, side, 3), 99, np.uint8)]).tobytes()).hexdigest())"
    )
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    told = {one.communicate()[0] for one in running}
    assert [one.returncode for one in running] == [0] * 4
    assert len(told) == 1
    (kept,) = home.iterdir()  # one file, and no drafts
    assert kept.suffix == ".blob"


def test_a_kept_model_runs_as_many_requests_at_once(home: Path) -> None:
    fresh, kept = load_encoder("mini"), load_encoder("mini")
    assert isinstance(fresh, FolderEncoder) and isinstance(kept, FolderEncoder)
    assert kept.pace == fresh.pace and kept.pace.views >= 8


def test_the_converter_of_openvino_is_there_when_it_is_called() -> None:
    code = (
        "import sys\nfrom histoseek.encoders.silent_openvino import import_openvino\nfrom histoseek.encoders.bundled "
        "import BUNDLED\nopenvino = import_openvino()\nassert 'openvino.tools.ovc' not in sys.modules\n"
        "model = openvino.convert_model(str(BUNDLED['mini'] / 'image.onnx'))\nassert model.get_ops()\n"
        "assert 'openvino_telemetry' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
