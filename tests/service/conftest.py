"""A run to be served, learned once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.service.running import Running, demo_rows, running

from everlearn import Example, Run

NUM_LEARNED = 300


@pytest.fixture(scope="session")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has learned the beginning of the demo's stream; to be copied."""
    path = tmp_path_factory.mktemp("learned") / "desk"
    with Run.open(path, {"run.keep_text": True}) as run:
        run.learn(Example(**row) for row in demo_rows(NUM_LEARNED))
        run.save()
    return path


@pytest.fixture
def desk(learned: Path, tmp_path: Path) -> Path:
    """A copy of it, for one test."""
    return Path(shutil.copytree(learned, tmp_path / "desk"))


@pytest.fixture(scope="session")
def service(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that tests share: each uses ids of its own, and counts on nothing that others may change."""
    place = Path(shutil.copytree(learned, tmp_path_factory.mktemp("served") / "desk"))
    with running(place) as started:
        yield started


@pytest.fixture
def fresh_id() -> Callable[[], str]:
    """Ids that nobody else uses."""
    import secrets

    return lambda: f"t-{secrets.token_hex(6)}"
