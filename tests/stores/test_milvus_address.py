from __future__ import annotations

import sys

import pytest

from histoseek.errors import InputError, MissingExtraError
from histoseek.index import Index
from histoseek.stores.milvus_address import MilvusAddress


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKEN", "USER", "PASSWORD", "CA", "CERT", "KEY", "SERVER_NAME"):
        monkeypatch.delenv(f"HISTOSEEK_MILVUS_{name}", raising=False)


@pytest.mark.parametrize(
    ("text", "written", "uri"),
    [
        ("milvus://host:123/tiles", "milvus://host:123/tiles", "http://host:123"),
        ("milvus://host/tiles", "milvus://host:19530/tiles", "http://host:19530"),
        ("milvus+https://a.b-c.d/_T1", "milvus+https://a.b-c.d:443/_T1", "https://a.b-c.d:443"),
        ("milvus-lite:///a/b%20c.db/tiles", "milvus-lite:///a/b%20c.db/tiles", "/a/b c.db"),
        ("milvus-lite:///C:/a/b.db/tiles", "milvus-lite:///C:/a/b.db/tiles", "C:/a/b.db"),
    ],
)
def test_address_is_read_and_written_again(text: str, written: str, uri: str) -> None:
    address = MilvusAddress.parse(text)
    assert str(address) == written
    assert address.client_options()["uri"] == uri
    assert MilvusAddress.parse(str(address)) == address


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("milvus://host:19530", "names no collection"),
        ("milvus://host:19530/", "names no collection"),
        ("milvus://host:19530/1tiles", "names no collection"),
        ("milvus://host:19530/ti-les", "names no collection"),
        ("milvus://host:19530/tiles_about", "kept for companions"),
        ("milvus://host:99999/tiles", "no address"),
        ("milvus://host:abc/tiles", "no address"),
        ("milvus:///tiles", "no address"),
        ("milvus://host:1/db/tiles", "no address"),
        ("milvus://host:1/tiles?x=1", "no address"),
        ("http://host:1/tiles", "no address"),
        ("milvus://[::1]:19530/tiles", "IPv6"),
        ("milvus-lite://a/b.db/tiles", "no Milvus Lite file"),
        ("milvus-lite:///a/b.sqlite/tiles", "no Milvus Lite file"),
    ],
)
def test_bad_address_is_refused_in_one_sentence(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        MilvusAddress.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["milvus", "milvus+https", "milvus-lite"])
@pytest.mark.parametrize("place", ["root:hunter2@host:1", "hunter2@host", "root:hunter2@host:port", "a:hunter2@b@host"])
def test_credentials_in_an_address_are_refused_and_not_repeated(scheme: str, place: str) -> None:
    with pytest.raises(InputError) as caught:
        MilvusAddress.parse(f"{scheme}://{place}/tiles")
    assert "hunter2" not in str(caught.value)


def test_credentials_come_from_the_environment_and_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HISTOSEEK_MILVUS_TOKEN", "root:hunter2")
    address = MilvusAddress.parse("milvus://host:1/tiles")
    assert address.client_options()["token"] == "root:hunter2"
    assert "hunter2" not in f"{address} {address!r}"
    monkeypatch.setenv("HISTOSEEK_MILVUS_USER", "me")
    with pytest.raises(InputError, match="go together"):
        MilvusAddress.parse("milvus://host:1/tiles")
    monkeypatch.setenv("HISTOSEEK_MILVUS_PASSWORD", "hunter3")
    with pytest.raises(InputError, match="both set"):
        MilvusAddress.parse("milvus://host:1/tiles")
    monkeypatch.delenv("HISTOSEEK_MILVUS_TOKEN")
    assert MilvusAddress.parse("milvus://host:1/tiles").client_options()["token"] == "me:hunter3"
    assert "token" not in MilvusAddress.parse("milvus-lite:///a.db/tiles").client_options()


def test_tls_files_go_together_and_never_with_an_open_connection(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tls")
    for name in ("ca", "cert", "key"):
        (folder / name).touch()
    monkeypatch.setenv("HISTOSEEK_MILVUS_CA", str(folder / "ca"))
    with pytest.raises(InputError, match=r"write milvus\+https"):
        MilvusAddress.parse("milvus://host:1/tiles")
    one_way = MilvusAddress.parse("milvus+https://host:1/tiles").client_options()
    assert one_way == {"uri": "https://host:1", "secure": True, "server_pem_path": str(folder / "ca")}
    monkeypatch.setenv("HISTOSEEK_MILVUS_CERT", str(folder / "cert"))
    with pytest.raises(InputError, match="all three"):
        MilvusAddress.parse("milvus+https://host:1/tiles")
    monkeypatch.setenv("HISTOSEEK_MILVUS_KEY", str(folder / "key"))
    monkeypatch.setenv("HISTOSEEK_MILVUS_SERVER_NAME", "milvus.lab")
    assert MilvusAddress.parse("milvus+https://host:1/tiles").client_options() == {
        "uri": "https://host:1",
        "secure": True,
        "ca_pem_path": str(folder / "ca"),
        "client_pem_path": str(folder / "cert"),
        "client_key_path": str(folder / "key"),
        "server_name": "milvus.lab",
    }
    (folder / "key").unlink()
    with pytest.raises(InputError, match=r"HISTOSEEK_MILVUS_KEY names .*no file"):
        MilvusAddress.parse("milvus+https://host:1/tiles").client_options()


def test_without_the_extra_a_sentence_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'histoseek\[cluster\]'"):
        Index.open("milvus://127.0.0.1:1/x")
