"""What docs/container.md promises of the image and of how it is started, read from the files: no engine is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="PyYAML comes with the development packages")

HOME = Path(__file__).parents[2]


def compose(name: str, service: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((HOME / name).read_text(encoding="utf-8"))["services"][service]
    return found


def test_the_page_is_not_root_and_writes_nothing_but_its_state() -> None:
    page = compose("compose.yaml", "histoseek")
    assert page["read_only"] is True and page["tmpfs"] == ["/tmp"]
    assert page["cap_drop"] == ["ALL"] and page["security_opt"] == ["no-new-privileges:true"]
    mounts = {one.rsplit("}", 1)[-1].strip(":"): one for one in page["volumes"]}
    assert set(mounts) == {"/index:ro", "/slides:ro", "/keys:ro", "state:/state"}
    lines = (HOME / "Dockerfile").read_text(encoding="utf-8").splitlines()
    last_user = [line for line in lines if line.startswith("USER")][-1]
    assert last_user == "USER 10001" and lines.index(last_user) < lines.index(lines[-1])


def test_no_port_is_open_to_other_machines_and_milvus_asks_for_a_password() -> None:
    milvus = compose("compose.milvus.yaml", "milvus")
    for service in (compose("compose.yaml", "histoseek"), milvus):
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert not any("9091" in port for port in milvus["ports"])
    assert milvus["environment"]["COMMON_SECURITY_AUTHORIZATIONENABLED"] == "true"
    assert milvus["environment"]["COMMON_SECURITY_DEFAULTROOTPASSWORD"].startswith("${MILVUS_PASSWORD:?")


def test_the_page_in_a_container_wants_keys() -> None:
    for command in (compose("compose.yaml", "histoseek")["command"], (HOME / "Dockerfile").read_text(encoding="utf-8")):
        assert any("--api-key-file" in str(part) for part in ([command] if isinstance(command, str) else command))


def test_the_page_in_a_container_believes_its_proxy_and_no_other_network() -> None:
    words = [str(word) for word in compose("compose.yaml", "histoseek")["command"]]
    trusted = [word.partition("=")[2] for word in words if word.startswith("--trust-proxy")]
    whole = yaml.safe_load((HOME / "compose.yaml").read_text(encoding="utf-8"))
    network = whole["networks"]["default"]["ipam"]["config"][0]
    assert trusted == [f"${{HISTOSEEK_PROXY:-{network['gateway']}}}"] and "histoseek" in whole["services"]
