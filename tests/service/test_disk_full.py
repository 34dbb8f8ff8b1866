"""A disk that fills while labels come in: nothing acknowledged is lost, and with room it goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.service.running import demo_rows, running
from tests.small_disk import small_disk

from everlearn import Run
from everlearn.errors import StateError
from everlearn.service.remembered import RememberedPredictions

DISK_MEGABYTES = 96


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    with small_disk(tmp_path / "disk", f"{DISK_MEGABYTES}m") as path:
        yield path


def fill(path: Path) -> None:
    """Take all room that there is."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def test_labels_are_refused_and_taken_again(learned: Path, disk: Path) -> None:
    place = Path(shutil.copytree(learned, disk / "desk"))
    rows = demo_rows(30, start=300)
    answered = []
    with running(place) as service:
        for row in rows[:5]:
            answered += service.post("/v1/learn", **row)["results"]
        fill(disk / "ballast")
        # The journal's log has some room of its own, which goes first.
        refused: list[httpx.Response] = []
        while not (problems := [answer for answer in refused if answer.status_code != 200]):
            assert len(refused) < 400, "there was room after all"
            row = {"id": f"long-{len(refused)}", "text": "word " * 10_000, "target": rows[0]["target"]}
            refused.append(service.client.post("/v1/learn", json=row))
        refused += [service.client.post("/v1/learn", json=row) for row in rows[5:10]]
        problems = [answer for answer in refused if answer.status_code != 200]
        for answer in problems:
            assert (answer.status_code, answer.json()["code"]) == (503, "storage-full"), answer.text
            assert int(answer.headers["retry-after"]) >= 1
        for answer in refused:
            answered += answer.json().get("results", [])
        # Predictions go on: by the learner, where nothing can be published.
        said = service.predict(rows[20]["text"])
        assert said["label"] is not None
        (disk / "ballast").unlink()
        for row in rows[5:]:
            answered += service.post("/v1/learn", **row)["results"]
        assert service.post("/v1/feedback", id=said["id"], right=True)["status"] == "learned"
        long = sum(one["id"].startswith("long-") for one in answered)
        assert service.get("/v1/stats")["held"] == 331 + long
        assert service.stop() == 0
    with Run.open(place) as run:
        known = run.known([one["id"] for one in answered])
        assert {one["id"] for one in answered} == set(known)
        assert all(known[one["id"]].offset == one["offset"] for one in answered)


def test_a_damaged_database_of_predictions_is_told_with_its_remedy(tmp_path: Path) -> None:
    path = tmp_path / "predictions.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StateError, match="delete it"):
        RememberedPredictions(path, keep_days=1, most=10)
