"""The whole API as its description says, asked in ways that nobody had in mind (schemathesis)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure as CheckFailed
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.service.running import Running, running

from everlearn.service.keys import add_key

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
ENDLESS = "/v1/events"
MOST_CASES = 6


@schemathesis.serializer(
    "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"
)
def _lines(_: Any, value: Any) -> bytes:
    """Whatever is drawn as lines of JSON."""
    if isinstance(value, bytes | str):
        return value.encode("utf-8", "replace") if isinstance(value, str) else value
    return "".join(json.dumps(one) + "\n" for one in (value if isinstance(value, list) else [value])).encode()


@pytest.fixture(scope="module")
def keyed(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, str]]:
    """A service with keys, and the one of who may do everything."""
    place = Path(shutil.copytree(learned, tmp_path_factory.mktemp("keyed") / "desk"))
    key = add_key(place / "service", "everything", "admin")
    with running(place) as service:
        yield service, key


def test_every_answer_is_as_described(keyed: tuple[Running, str]) -> None:
    service, key = keyed
    api = schemathesis.openapi.from_url(f"{service.url}/openapi.json").exclude(path=ENDLESS)
    operations = [_sound(found) for found in api.get_all_operations()]
    assert len(operations) > 30
    wrong: dict[str, str] = {}
    for operation in operations:
        try:
            _ask(operation, key)
        except (CheckFailed, FailureGroup) as failure:
            wrong[operation.label] = str(failure)
    assert not wrong, "\n".join(f"{label}: {what}" for label, what in wrong.items())
    answer = service.client.post(
        "/v1/predict", json={"text": "is anybody there?"}, headers={"Authorization": f"Bearer {key}"}
    )
    assert answer.json()["predictions"][0]["label"] is not None


def _sound(found: Any) -> Any:
    return found.ok()


def _ask(operation: Any, key: str) -> None:
    """Ask one thing in several ways, signed in and not."""

    @given(case=operation.as_strategy())
    @settings(
        max_examples=MOST_CASES,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
    )
    def ask(case: Any) -> None:
        for headers in ({"Authorization": f"Bearer {key}"}, {}):
            response = case.call(headers=headers, timeout=60)
            case.validate_response(response, checks=CHECKS)

    ask()
