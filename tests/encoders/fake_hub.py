"""A Hugging Face hub on this machine: enough of its protocol to list, fetch, refuse and offer conversions."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class FakeHub:
    """Models by name and revision; names that are gated; conversions offered as pull requests."""

    models: dict[tuple[str, str], Path] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    pull_requests: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def commit(self, name: str, revision: str) -> str:
        return hashlib.sha1(f"{name}@{revision}".encode()).hexdigest()

    def folder(self, name: str, revision: str) -> Path | None:
        for (known, at), folder in self.models.items():
            if known == name and revision in (at, self.commit(known, at)):
                return folder
        return None


@contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    """Run the hub on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = _answer(hub, self.path)
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None:
            hub.asked.append(f"{self.command} {self.path}")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _answer(hub: FakeHub, target: str) -> tuple[int, dict[str, str], bytes]:
    parts = [unquote(part) for part in urlsplit(target).path.strip("/").split("/")]
    about = parts[:2] == ["api", "models"]
    name = "/".join(parts[2:4] if about else parts[:2])
    if name in hub.gated:
        return 403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."}, b""
    rest = parts[4:] if about else parts[2:]
    if not rest:
        return 404, {}, b""
    if about and rest[:1] == ["discussions"]:
        found = hub.pull_requests.get(name, [])
        return _json({"discussions": found, "count": len(found), "start": 0})
    revision = "/".join(rest[1:]) if about else "/".join(rest[1:-1])
    folder = hub.folder(name, revision)
    if folder is None and any(known == name for known, _ in hub.models):
        return 404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"}, b""
    if folder is None:
        return 401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}, b""
    sha = revision if len(revision) == 40 else hub.commit(name, revision)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    if about and rest[0] == "revision":
        return _json({"id": name, "sha": sha, "siblings": [{"rfilename": path.name} for path in files]})
    if about:
        entries = [{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": _oid(p)} for p in files]
        return _json(entries)
    path = folder / rest[-1]
    if not path.is_file():
        return 404, {"X-Error-Code": "EntryNotFound"}, b""
    return 200, {"X-Repo-Commit": sha, "ETag": f'"{_oid(path)}"'}, path.read_bytes()


def _oid(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


def _json(content: object) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(content).encode()
