"""What only a server of one's own shows: sudden ends, TLS and credentials."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from histoseek.errors import InputError
from histoseek.stores.wanted import Wanted
from tests.stores.conftest import SCRIPT, milvus_server_script

pytest.importorskip("pymilvus", reason="the cluster extra is not installed")

from histoseek.stores.milvus import MilvusAddress, MilvusStore

pytestmark = pytest.mark.slow

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("vector", pa.list_(pa.float32(), 4)),
    ]
)


def rows(ids: list[str], label: str) -> pa.Table:
    vectors = np.eye(4, dtype=np.float32)[[sum(map(ord, name)) % 4 for name in ids]]
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 4)
    return pa.table([pa.array(ids), pa.array([label] * len(ids)), column], schema=SCHEMA)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "server"
    milvus_server_script("stop", tmp_path / "server")


def pid_of(folder: Path) -> int:
    return int((folder / "milvus.pid").read_text())


def status_of(folder: Path) -> int:
    return subprocess.run([str(SCRIPT), "status", str(folder)], capture_output=True, check=False).returncode


def test_script_starts_once_tells_and_stops(folder: Path) -> None:
    assert status_of(folder) == 3
    address = milvus_server_script("start", folder)
    pid = pid_of(folder)
    assert milvus_server_script("start", folder) == address == milvus_server_script("status", folder)
    assert pid_of(folder) == pid and status_of(folder) == 0
    port = address.rpartition(":")[2]
    taken = subprocess.run(
        [str(SCRIPT), "start", str(folder.with_name("other"))],
        capture_output=True,
        text=True,
        env={**os.environ, "MILVUS_PORT": port},
        check=False,
    )
    assert taken.returncode == 1 and f"port {port} is taken" in taken.stderr
    milvus_server_script("stop", folder)
    assert status_of(folder) == 3
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)), timeout=2)
    (folder / "milvus.pid").write_text(str(os.getpid()))  # a pid that another program got meanwhile
    assert status_of(folder) == 3
    milvus_server_script("stop", folder)


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(folder: Path) -> None:
    base = milvus_server_script("start", folder)
    store = MilvusStore.create(MilvusAddress.parse(f"{base}/killed"), SCHEMA)
    store.add(rows([f"a{n}" for n in range(500)], "old"))
    store.add(rows(["a1", "b1", "b2"], "new"))
    store.set_notes({"pushed": 502})
    assert store.remove(["a0", "b2"]) == 2
    version = store.version
    os.kill(pid_of(folder), signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(InputError, match=f"no Milvus answers at {store.address}"):
        MilvusStore(store.address).count()
    assert time.monotonic() - start < 10
    assert milvus_server_script("start", folder, MILVUS_PORT=base.rpartition(":")[2]) == base
    again = MilvusStore(store.address)
    assert again.exists and again.version == version and again.notes() == {"pushed": 502} and again.count() == 500
    assert again.ids("label = 'new'") == ["a1", "b1"] and again.get(["a0", "b2"]).num_rows == 0
    assert not {"a0", "b2"} & set(store.ids())  # the store that was there before goes on
    (found,) = store.nearest(np.eye(1, 4, dtype=np.float32), 500, Wanted())
    assert not {"a0", "b2"} & set(found.items["id"].to_pylist())
    again.remove(["a1"])
    assert store.version == version + 1


def make_certificates(folder: Path) -> None:
    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    folder.mkdir()
    new = ("-newkey", "rsa:2048", "-nodes", "-keyout")
    openssl("req", "-x509", *new, "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test authority")
    (folder / "names").write_text("subjectAltName=DNS:milvus.lab\n")
    for name in ("server", "client"):
        openssl("req", *new, f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        sign = ("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
        openssl(*sign, "-out", f"{name}.pem", "-days", "2", "-extfile", "names")


def test_tls_and_credentials(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        make_certificates(tmp_path / "tls")
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    tls = tmp_path / "tls"
    files = f"server_pem_path={tls}/server.pem server_key_path={tls}/server.key ca_pem_path={tls}/ca.pem"
    options = f"authorization_enabled=true tls_mode=2 {files}"
    base = milvus_server_script("start", folder, MILVUS_OPTIONS=options)
    secure = base.replace("milvus:", "milvus+https:") + "/sealed"

    def told(address: str, said: str) -> None:
        with pytest.raises(InputError, match=said) as caught:
            _ = MilvusStore(MilvusAddress.parse(address)).exists
        assert "hunter2" not in str(caught.value) and "\n" not in str(caught.value)

    told(f"{base}/sealed", "no Milvus answers")  # without TLS
    for name, value in (("CA", "ca.pem"), ("CERT", "client.pem"), ("KEY", "client.key")):
        monkeypatch.setenv(f"HISTOSEEK_MILVUS_{name}", str(tls / value))
    told(secure, "no Milvus answers")  # the certificate is another host's
    monkeypatch.setenv("HISTOSEEK_MILVUS_SERVER_NAME", "milvus.lab")
    told(secure, "refuses the credentials")
    monkeypatch.setenv("HISTOSEEK_MILVUS_TOKEN", "root:hunter2")
    told(secure, "refuses the credentials")
    monkeypatch.setenv("HISTOSEEK_MILVUS_TOKEN", "root:Milvus")
    store = MilvusStore.create(MilvusAddress.parse(secure), SCHEMA)
    store.add(rows(["a"], "x"))
    assert store.ids() == ["a"]
    monkeypatch.delenv("HISTOSEEK_MILVUS_TOKEN")
    monkeypatch.setenv("HISTOSEEK_MILVUS_USER", "root")
    monkeypatch.setenv("HISTOSEEK_MILVUS_PASSWORD", "Milvus")
    assert MilvusStore(MilvusAddress.parse(secure)).count() == 1


def test_nothing_is_said_beside_the_sentence(tmp_path: Path) -> None:
    code = (
        "from histoseek.errors import InputError\n"
        "from histoseek.stores.milvus import MilvusAddress, MilvusStore\n"
        f"for text in ('milvus://127.0.0.1:1/x', 'milvus-lite://{tmp_path}/x.db/x'):\n"
        "    store = MilvusStore(MilvusAddress.parse(text))\n"
        "    try: store.count()\n"
        "    except InputError as error: print(error)\n"
        "    store.close()\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "" and len(done.stdout.splitlines()) == 2


def test_file_of_another_process_is_told(tmp_path: Path) -> None:
    address = f"milvus-lite://{tmp_path}/x.db/x"
    code = (
        "import sys, pyarrow as pa\n"
        "from histoseek.stores.milvus import MilvusAddress, MilvusStore\n"
        "kind = pa.list_(pa.float32(), 4)\n"
        f"MilvusStore.create(MilvusAddress.parse({address!r}), pa.schema([('id', pa.string()), ('vector', kind)]))\n"
        "print('made', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "made\n"
        with pytest.raises(InputError, match="another process has it open"):
            _ = MilvusStore(MilvusAddress.parse(address)).exists
        other.communicate("")
    assert MilvusStore(MilvusAddress.parse(address)).exists
