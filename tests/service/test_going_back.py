"""A rollback over HTTP: what answers say of it, and what becomes of the examples that it sets aside."""

from __future__ import annotations

from pathlib import Path

from tests.service.running import running

from everlearn import Example, Run
from everlearn.client import Client
from everlearn.runtime.history.verify import verify_run
from everlearn.runtime.serving.place import RunPlace
from everlearn.runtime.serving.views import VIEWS

_TEXT = "the gondola needs a new oar by Tuesday"


def test_what_is_served_after_a_rollback_is_what_answers_bear(desk: Path) -> None:
    with running(desk) as service:
        (version,) = service.get("/v1/versions")["versions"]
        service.post("/v1/learn", id="g", text=_TEXT, target="gondola")
        newest = service.get("/v1/fingerprint")["fingerprint"]
        assert service.predict(_TEXT)["fingerprint"] == newest
        told = service.post("/v1/rollback", version=version["version"])
        said = service.predict(_TEXT)
        assert newest != version["fingerprint"]
        assert (told["went_back_to"], told["serving"], told["version"]) == (version["version"], None, None)
        assert told["fingerprint"] == said["fingerprint"] == version["fingerprint"]
        assert told["step"] == said["step"]
        now = service.get("/v1/fingerprint")
        assert (now["version"], now["step"], now["fingerprint"]) == (None, said["step"], said["fingerprint"])


def test_what_was_learned_and_what_is_served_are_not_taken_for_each_other(desk: Path) -> None:
    with running(desk) as service:
        (version,) = service.get("/v1/versions")["versions"]
        learned = service.post("/v1/learn", id="g", text=_TEXT, target="gondola")
        newest = service.get("/v1/fingerprint")
        assert newest["step"] == learned["step"] > version["step"]
        told = service.post("/v1/rollback", version=version["version"], keep_learned=True)
        said = service.predict(_TEXT)
        for one in (told, said):
            assert (one["version"], one["step"]) == (version["version"], version["step"])
            assert one["fingerprint"] == version["fingerprint"]
        assert told["serving"] == version["version"]
        assert service.get("/v1/fingerprint") == newest
        back = service.post("/v1/rollback")
        assert (back["serving"], back["version"]) == (None, None)
        assert (back["step"], back["fingerprint"]) == (newest["step"], newest["fingerprint"])


def test_what_a_deletion_leaves_is_not_told_by_the_fingerprint_of_before(desk: Path) -> None:
    with running(desk) as service:
        service.post("/v1/learn", id="g", text=_TEXT, target="gondola")
        before = service.get("/v1/fingerprint")["fingerprint"]
        told = service.post("/v1/forget", ids=["g"])
        assert told["fingerprint_after"] != before
        for fingerprint in (told["fingerprint"], service.predict(_TEXT)["fingerprint"]):
            assert fingerprint in (None, told["fingerprint_after"])


def test_what_a_rollback_has_set_aside_was_not_without_target(desk: Path) -> None:
    with Run.open(desk) as run:
        run.learn([Example(id="g", text=_TEXT, target="gondola"), Example(id="bare", text="no label yet")])
        assert run.stats()["without_target"] == 1
        run.rollback(1)
        assert run.stats()["without_target"] == 0
        run.correct({"g": "parrot", "bare": "late"})
        assert (run.stats()["without_target"], run.held().num_examples) == (0, 302)
        run.learn([Example(id="comes late", text="a third one")])
        assert run.stats()["without_target"] == 1
        run.correct({"comes late": "late"})
        assert run.stats()["without_target"] == 0
    assert verify_run(desk).is_valid


def test_figures_say_what_is_not_known_as_null(desk: Path) -> None:
    place = RunPlace(desk)
    try:
        assert VIEWS["stats"](place, {"tenant": "desk"})["stats"]["fingerprint"] is None
    finally:
        place.close()


def test_what_was_set_aside_does_not_look_accepted(desk: Path) -> None:
    with running(desk) as service:
        known = service.get("/v1/examples", limit=1)["items"][0]
        service.post("/v1/learn", examples=[{"id": id_, "text": _TEXT, "target": "gondola"} for id_ in "gh"])
        service.post("/v1/correct", targets={known["id"]: "oar"})
        with Client(service.url) as client:
            expected = client.would_set_aside(1)
            told = client.rollback(1)
        assert told.examples_set_aside == expected == 3
        assert told.went_back_to == 1
        assert service.get("/v1/rollback", version=1)["examples_set_aside"] == 0

        again = {"id": "g", "text": _TEXT, "target": "gondola"}
        (learned,) = service.post("/v1/learn", **again)["results"]
        (corrected,) = service.post("/v1/correct", targets={"g": "gondola"})["results"]
        for one in (learned, corrected):
            assert (one["status"], one["offset"]) == ("set_aside", 301)
            assert "another target" in one["reason"]
        assert not service.get("/v1/blame", id="g")["held"]
        (present,) = service.post("/v1/learn", id=known["id"], text=known["text"])["results"]
        assert (present["status"], present["reason"]) == ("known", None)

        # As the reason says.
        service.post("/v1/correct", targets={"g": "boat"})
        (fresh,) = service.post("/v1/learn", **again | {"id": "g again"})["results"]
        assert fresh["status"] == "learned"
        assert service.get("/v1/blame", id="g")["held"]
        assert service.get("/v1/rollback", version=1)["examples_set_aside"] == 2

        unknown = service.client.get("/v1/rollback", params={"version": 99})
        assert (unknown.status_code, unknown.json()["code"]) == (404, "version-unknown")
