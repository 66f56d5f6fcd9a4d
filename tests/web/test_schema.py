"""The API against its own description: what it promises to take it takes, and it answers as it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.generation import GenerationMode

from histoseek.index import Index
from histoseek.web import Limits, Settings, create_app
from histoseek.web.keys import add_key

FAST = Limits(asks_at_once=100_000, looks_at_once=100_000, asks_per_s=1e6, looks_per_s=1e6, failures_at_once=100_000)
ONE_RUN = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
WELL_PUT = [200, 401, 403, 404, 409, 413, 415, 422, 429, 503]
"""What a well put question may meet: 422 where this archive cannot answer it, as a vector of another length."""

CONFIG = {"checks": {"positive_data_acceptance": {"expected-statuses": WELL_PUT}}}


@schemathesis.serializer("application/x-ndjson")
def lines(_: Any, value: Any) -> bytes:
    return str(value).encode(errors="replace")


def can_be_asked_badly(raw: dict[str, Any]) -> bool:
    """Not where nothing is sent, and not where any text is taken, line by line."""
    return bool(raw.get("parameters") or raw.get("requestBody")) and "x-ndjson" not in json.dumps(raw)


def check_everything(app: Any, **headers: str) -> int:
    """Ask every route well and badly, hold each answer against all checks, and count the routes."""
    named = {"Host": "127.0.0.1", **headers}
    schema = schemathesis.openapi.from_asgi(
        "/api/v1/openapi.json", app, headers=named, config=SchemathesisConfig.from_dict(CONFIG)
    )
    n_routes = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        raw = operation.definition.raw
        n_routes += 1
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            if mode is GenerationMode.NEGATIVE and not can_be_asked_badly(raw):
                continue

            @ONE_RUN
            @given(case=operation.as_strategy(generation_mode=mode))
            def holds(case: schemathesis.Case) -> None:
                case.call_and_validate(headers=named)

            holds()
    return n_routes


def test_every_route_keeps_its_promises(built: Index, tmp_path: Path) -> None:
    app = create_app(built, Settings(audit_log=tmp_path / "a.jsonl", limits=FAST, metrics=True))
    assert check_everything(app) >= 10


def test_every_route_keeps_its_promises_behind_keys(built: Index, tmp_path: Path) -> None:
    text, _ = add_key(tmp_path / "keys.json", "write")
    chosen = Settings(audit_log=tmp_path / "a.jsonl", limits=FAST, api_key_file=tmp_path / "keys.json")
    assert check_everything(create_app(built, chosen), Authorization=f"Bearer {text}") >= 10


@pytest.mark.parametrize("wrong", ["nowhere", "search"])
def test_the_description_names_no_route_that_is_not_there(built: Index, tmp_path: Path, wrong: str) -> None:
    paths = create_app(built, Settings(audit_log=tmp_path / "a.jsonl")).openapi()["paths"]
    assert (f"/api/v1/{wrong}" in paths) is (wrong == "search")
