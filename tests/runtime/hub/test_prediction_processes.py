"""Predicting for a hub in other processes: what the hub itself says, whatever happens to them.

To the bit by one process. Several divide a batch, and products of fewer rows may be rounded otherwise.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runtime.hub.tenants import LABELS, hub_settings, same, some

from everlearn.errors import ConfigError, InputError, RunError
from everlearn.runtime.hub.hub import Hub
from everlearn.runtime.hub.pool import PredictionPool
from everlearn.runtime.hub.reader import HubReader
from everlearn.runtime.run import Run
from everlearn.types import Example, Prediction

NAMES = ("anna", "ben", "carl")
ASKED: list[tuple[str, Example | str]] = [(name, f"w{k} w{k + 2} {name}") for k in range(8) for name in NAMES]


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return hub_settings(tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, options: dict[str, Any]) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("pool")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        with Hub.open(folder / "hub", options) as hub:
            for name in NAMES:
                hub.add(name)
                hub.learn(name, some(name, 0, 12))
            hub.add("nobody")
        yield folder / "hub"


def all_same(some_: list[Prediction], others: list[Prediction]) -> bool:
    return all(same(one, other) for one, other in zip(some_, others, strict=True))


def all_close(some_: list[Prediction], others: list[Prediction]) -> bool:
    return all(
        one.label == other.label
        and one.labels == other.labels
        and np.allclose(one.probabilities, other.probabilities, rtol=0, atol=1e-12)
        and one.is_outlier == other.is_outlier
        for one, other in zip(some_, others, strict=True)
    )


@pytest.mark.parametrize(("num", "equal"), [(1, all_same), (2, all_close)])
def test_they_say_what_the_hub_says(
    num: int, equal: Callable[[list[Prediction], list[Prediction]], bool], path: Path
) -> None:
    """Of what was learned before and just now, beside a tenant that has learned nothing."""
    with Hub.open(path) as hub:
        before = hub.predict(ASKED)
    with Hub.open(path, processes=num) as hub:
        assert equal(hub.predict(ASKED), before)
        hub.learn("ben", some("ben", 12 * num, 3))
        with hub.run("carl") as run:
            run.correct({f"carl-{num}": LABELS[num]})
            run.forget([f"carl-{2 + num}"])
        after = hub.predict([*ASKED, ("nobody", "w1")])
        assert after[-1].label is None
        ids = hub.memory()["process_ids"]
        assert len(ids) == num
    with Hub.open(path) as hub:
        assert equal(hub.predict(ASKED), after[:-1])
    assert not equal(before, after[:-1])
    for id_ in ids:
        with pytest.raises(ProcessLookupError):
            os.kill(id_, 0)


def test_what_is_wrong_is_told(path: Path) -> None:
    with Hub.open(path, processes=1) as hub:
        with pytest.raises(RunError, match="has no tenant 'dora'"):
            hub.predict([("anna", "w1"), ("dora", "w1")])
        with pytest.raises(InputError, match="text 1 is empty"):
            hub.predict([("anna", " ")])
        assert hub.predict([("anna", "w1")])[0].label is not None
    for wrong in (-1, 1.5, True):
        with pytest.raises(ConfigError, match="processes must be from 0"):
            Hub.open(path, processes=wrong)  # type: ignore[arg-type]


def test_a_closed_pool_says_so(path: Path) -> None:
    pool = PredictionPool(path, 1)
    assert pool.predict([("anna", "w1")])[0] is not None
    pool.close()
    pool.close()
    for _ in range(2):
        with pytest.raises(RunError, match="closed"):
            pool.predict([("anna", "w1")])


def test_killed_ones_are_started_again(path: Path) -> None:
    with Hub.open(path, processes=2) as hub:
        before = hub.predict(ASKED)
        for id_ in hub.memory()["process_ids"]:
            os.kill(id_, signal.SIGKILL)
        assert all_close(hub.predict(ASKED), before)


def test_predictions_wait_for_no_learning_and_never_go_back(path: Path) -> None:
    """While a tenant learns, each answer is of a state at least as new as that of the answer before."""
    with Hub.open(path, processes=1) as hub, ThreadPoolExecutor(1) as other:
        hub.learn("anna", [Example(id="first", text="w1 w1 w1", target="seen0")])

        def learn() -> None:
            for k in range(1, 12):
                hub.learn("anna", [Example(id=f"new{k}", text=f"w{k} w1", target=f"seen{k}")])

        work, newest = other.submit(learn), 0
        while not work.done():
            labels = hub.predict([("anna", "w1 w2 anna")])[0].labels
            number = sum(label.startswith("seen") for label in labels)
            assert number >= newest
            newest = number
            time.sleep(0.001)
        work.result()
        labels = hub.predict([("anna", "w1 w2 anna")])[0].labels
        assert sum(label.startswith("seen") for label in labels) == 12


def test_a_reader_beside_a_hub(path: Path) -> None:
    """It goes by what is published, and else by what was saved last."""
    reader = HubReader(path)
    with Hub.open(path) as hub:
        expected = hub.predict(ASKED)
        assert all_same(reader.predict(ASKED), expected)
        hub.learn("anna", some("anna", 40, 2))  # published again when its run is closed
        assert reader.predict([("anna", "w1")])[0].label is not None
        assert all_same(reader.predict(ASKED[1::3]), expected[1::3])
    with Hub.open(path) as hub:
        assert all_same(reader.predict(ASKED), hub.predict(ASKED))


def test_what_others_do_with_a_tenants_run_is_noticed(path: Path, options: dict[str, Any]) -> None:
    """Heads are withdrawn by who opens the run for writing: nothing forgotten is said any more."""
    with Hub.open(path) as hub:
        before = hub.predict(ASKED)
        with Run.open(path / "runs" / "ben") as run:
            assert hub.predict(ASKED[1::3])[0].label is not None  # by what is saved: another has it open
            run.forget(["ben-3"])
            expected = run.predict([text for name, text in ASKED if name == "ben"])
        assert not list((path / "runs" / "ben").glob("published/current/*"))
        after = hub.predict(ASKED)
        assert all_same(after[1::3], expected)
        assert all_same(after[0::3], before[0::3])


def test_a_damaged_head_is_made_anew(path: Path) -> None:
    with Hub.open(path) as hub:
        before = hub.predict(ASKED)
    (head,) = (path / "runs" / "anna").glob("published/current/*")
    content = bytearray(head.read_bytes())
    content[len(content) // 2] ^= 1
    for damaged in (bytes(content), bytes(content[: len(content) // 2]), b""):
        head.write_bytes(damaged)
        with Hub.open(path) as hub:
            assert all_same(hub.predict(ASKED), before)
