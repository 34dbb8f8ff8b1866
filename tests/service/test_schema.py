"""The whole API as its description says, asked in ways that nobody had in mind (schemathesis)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.service.described import Described
from tests.service.running import Running, running

from everlearn.service.keys import add_key

MOST_CASES = 6


@pytest.fixture(scope="module")
def keyed(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, str]]:
    """A service with keys, and the one of who may do everything."""
    place = Path(shutil.copytree(learned, tmp_path_factory.mktemp("keyed") / "desk"))
    key = add_key(place / "service", "everything", "admin")
    with running(place) as service:
        yield service, key


def test_every_answer_is_as_described(keyed: tuple[Running, str]) -> None:
    service, key = keyed
    described = Described(service.url, key)
    assert len(described.operations) > 30
    described.ask(MOST_CASES)
    assert not described.wrong, "\n".join(f"{label}: {what}" for label, what in described.wrong.items())
    assert described.statuses[200] > 20
    assert described.statuses[401] > 50
    answer = service.client.post(
        "/v1/predict", json={"text": "is anybody there?"}, headers={"Authorization": f"Bearer {key}"}
    )
    assert answer.json()["predictions"][0]["label"] is not None
