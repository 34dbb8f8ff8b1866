"""What is new of a large model is verified by those who predict before it takes the place of the former."""

from __future__ import annotations

import queue
import time
from pathlib import Path

import pytest
from tests.service.running import demo_rows

from everlearn.runtime.serving import desk as desk_module
from everlearn.runtime.serving.desk import Desk
from everlearn.runtime.serving.place import open_place
from everlearn.runtime.serving.published import PublishedPredictions
from everlearn.sharing import publication
from everlearn.types import Json

ASKED = ("desk", "how do I reset my password?", 1)


@pytest.fixture
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publication, "_PART_BYTES", 1 << 10)
    monkeypatch.setattr(desk_module, "_FEW_BYTES", 1)


def labels(start: int) -> Json:
    return {"number": start, "op": "learn", "tenant": "desk", "examples": demo_rows(5, start=start)}


@pytest.mark.usefixtures("everything_is_large")
def test_the_former_predicts_until_the_new_parts_are_verified(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: queue.Queue[Json] = queue.Queue()
    place = open_place(desk)
    working = Desk(place, told.put, 1.0)
    try:
        working.take({"number": 0, "op": "publish", "tenant": "desk"})
        assert told.get(timeout=60)["parts"]  # nobody predicts yet
        working.take({"op": "verified", "tenant": "desk"})
        first = told.get(timeout=60)["by"]["step"]
        predicting = PublishedPredictions(desk)
        assert predicting.answers([ASKED])["by"]["desk"]["step"] == first

        monkeypatch.setattr(desk_module, "_SECONDS_TO_VERIFY", 600.0)
        working.take(labels(400))
        new = told.get(timeout=60)["parts"]
        predicting.verify_parts("desk", new)
        predicting.verify_parts("somebody else", new)
        assert predicting.answers([ASKED])["by"]["desk"]["step"] == first
        with pytest.raises(queue.Empty):
            told.get(timeout=0.2)
        working.take({"op": "verified", "tenant": "nobody"})
        working.take({"op": "verified", "tenant": "desk"})
        answer = told.get(timeout=60)
        assert answer["to"] == 400
        assert predicting.answers([ASKED])["by"]["desk"]["step"] == answer["by"]["step"] > first
    finally:
        working.close()
        place.close()


@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.parametrize("is_closed", [True, False], ids=["closing", "nobody answers"])
def test_nobody_is_waited_for_for_long(desk: Path, monkeypatch: pytest.MonkeyPatch, is_closed: bool) -> None:
    monkeypatch.setattr(desk_module, "_SECONDS_TO_VERIFY", 600.0 if is_closed else 0.01)
    told: queue.Queue[Json] = queue.Queue()
    place = open_place(desk)
    working = Desk(place, told.put, 1.0)
    try:
        working.take(labels(400))
        assert told.get(timeout=60)["parts"]
        started = time.monotonic()
        if is_closed:
            working.close()
        assert told.get(timeout=60)["published"]
        assert time.monotonic() - started < 60
    finally:
        working.close()
        place.close()
