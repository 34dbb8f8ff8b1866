"""Part ``schema``: the whole API as it is described, asked in ways that nobody had in mind (schemathesis).

The tests ask the same in a few ways each.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure as CheckFailed
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from benchmarks.service.learned import run_at
from benchmarks.service.started import started
from everlearn.service.keys import add_key

__all__ = ["Described", "described"]

_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_ENDLESS = "/v1/events"


@schemathesis.serializer(
    "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"
)
def _lines(_: Any, value: Any) -> bytes:
    """Whatever is drawn as lines of JSON."""
    if isinstance(value, bytes | str):
        return value.encode("utf-8", "replace") if isinstance(value, str) else value
    return "".join(json.dumps(one) + "\n" for one in (value if isinstance(value, list) else [value])).encode()


class Described:
    """Asks all that a service's description describes, signed in and not.

    Args:
        url: The service's.
        key: May do everything.

    Attributes:
        operations: What can be asked.
        wrong: Of each operation that did not answer as described, what was wrong.
        statuses: How often each status was answered.
    """

    def __init__(self, url: str, key: str) -> None:
        api = schemathesis.openapi.from_url(f"{url}/openapi.json").exclude(path=_ENDLESS)
        found: list[Any] = list(api.get_all_operations())
        self.operations = [one.ok() for one in found]
        self.wrong: dict[str, str] = {}
        self.statuses: Counter[int] = Counter()
        self._headers: tuple[dict[str, str], ...] = ({"Authorization": f"Bearer {key}"}, {})

    def ask(self, most_cases: int, number: int | None = None) -> None:
        """Ask each operation in so many ways, drawn by a number; None: the same ones each time."""
        for operation in self.operations:
            try:
                self._ask(operation, most_cases, number)
            except (CheckFailed, FailureGroup) as failure:
                self.wrong[operation.label] = str(failure)

    def _ask(self, operation: Any, most_cases: int, number: int | None) -> None:
        @given(case=operation.as_strategy())
        @settings(
            max_examples=most_cases,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
            derandomize=number is None,
            database=None,
        )
        def ask(case: Any) -> None:
            for headers in self._headers:
                response = case.call(headers=headers, timeout=60)
                self.statuses[response.status_code] += 1
                case.validate_response(response, checks=_CHECKS)

        (ask if number is None else seed(number)(ask))()


def described(
    folder: Path, num_examples: int, workers: int, most_cases: int, number: int
) -> Iterator[dict[str, Any]]:
    """What does not answer as described, of so many cases an operation."""
    place = run_at(folder, "banking77", num_examples)
    key = add_key(place / "service", "everything", "admin")
    with started(place, "--workers", str(workers)) as service:
        began, asked = time.perf_counter(), Described(service.url, key)
        asked.ask(most_cases, number)
        answer = httpx.post(
            f"{service.url}/v1/predict",
            json={"text": "is anybody there?"},
            headers={"Authorization": f"Bearer {key}"},
            timeout=60,
        )
        yield {
            "what": "the API as it is described, signed in and not",
            "seed": number,
            "operations": len(asked.operations),
            "requests": asked.statuses.total(),
            "seconds": round(time.perf_counter() - began, 1),
            "statuses": {str(status): count for status, count in sorted(asked.statuses.items())},
            "answers_5xx": sum(count for status, count in asked.statuses.items() if status >= 500),
            "not_as_described": asked.wrong,
            "answers_afterwards": answer.status_code == 200,
        }
