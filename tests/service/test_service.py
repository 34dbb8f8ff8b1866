"""What a service answers, and what becomes of what it is told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.service.running import Running, demo_rows, running

from everlearn import Run
from everlearn.client import Client

FreshId = Callable[[], str]
DEEP = [[[[[[[[[[[[[[[[[[[[["too deep"]]]]]]]]]]]]]]]]]]]]]
NEW = "the purple llama on the roof wants a refund for its saxophone"


def test_a_prediction_says_by_what_it_was_made(service: Running) -> None:
    row = demo_rows(1, start=400)[0]
    told = service.post("/v1/predict", texts=[row["text"], NEW], top=2)
    assert told["tenant"] == "desk"
    assert told["step"] >= 1
    first, second = told["predictions"]
    assert first["label"] == first["top"][0]["label"]
    assert len(first["top"]) == 2
    assert first["id"] != second["id"]


def test_a_label_is_durable_and_changes_the_next_answer(service: Running, fresh_id: FreshId) -> None:
    id_, text = fresh_id(), "my zebra crossing subscription is striped the wrong way round"
    assert service.predict(text)["label"] != "zebra"
    told = service.post("/v1/learn", id=id_, text=text, target="zebra")
    (became,) = told["results"]
    assert became["status"] == "learned"
    assert became["offset"] > 0
    answer = service.predict(text)
    assert answer["label"] == "zebra"
    assert answer["step"] == told["step"]


def test_the_same_example_again_does_no_harm(service: Running, fresh_id: FreshId) -> None:
    row = {"id": fresh_id(), "text": "where do I see what I owe this month?", "target": "owed"}
    first = service.post("/v1/learn", **row)["results"][0]
    again = service.post("/v1/learn", **row)["results"][0]
    assert (first["status"], again["status"]) == ("learned", "known")
    assert first["offset"] == again["offset"]
    fingerprint = service.get("/v1/fingerprint")["fingerprint"]
    service.post("/v1/learn", **row)
    assert service.get("/v1/fingerprint")["fingerprint"] == fingerprint


def test_a_batch_says_of_each_example_what_became_of_it(service: Running, fresh_id: FreshId) -> None:
    known, new, bare = fresh_id(), fresh_id(), fresh_id()
    service.post("/v1/learn", id=known, text="the till prints nothing at all", target="printing")
    told = service.post(
        "/v1/learn",
        examples=[
            {"id": known, "text": "quite another text under a known id", "target": "printing"},
            {"id": new, "text": "the till prints two of everything", "target": "printing"},
            {"id": bare, "text": "what is this about, I wonder"},
        ],
    )
    assert [one["status"] for one in told["results"]] == ["rejected", "learned", "unlabelled"]
    assert "another text" in told["results"][0]["reason"]
    late = service.post("/v1/learn", id=bare, target="wondering")["results"][0]
    assert (late["status"], late["offset"]) == ("corrected", told["results"][2]["offset"])


def test_a_correction_is_learned(service: Running, fresh_id: FreshId) -> None:
    id_, text = fresh_id(), "the kettle in the staff room whistles an unknown tune"
    service.post("/v1/learn", id=id_, text=text, target="printing")
    service.post("/v1/learn", id=fresh_id(), text="kettles and tunes and whistles", target="kettle")
    told = service.post("/v1/correct", targets={id_: "kettle"})
    assert told["results"][0]["status"] == "corrected"
    assert service.predict(text)["label"] == "kettle"


def test_feedback_names_a_prediction(service: Running) -> None:
    text = "a parrot has moved into the storeroom and will not leave"
    said = service.predict(text)
    told = service.post("/v1/feedback", id=said["id"], target="parrot")
    assert told["status"] == "learned"
    assert "parrot" not in [one["label"] for one in said["top"]]
    assert "parrot" in [one["label"] for one in service.predict(text)["top"]]
    assert service.post("/v1/feedback", id=said["id"], target="parrot")["status"] == "known"
    other = service.client.post("/v1/feedback", json={"id": said["id"], "target": "password"})
    assert (other.status_code, other.json()["code"]) == (409, "feedback-given")


def test_feedback_that_it_is_wrong_goes_to_the_review_queue(service: Running) -> None:
    said = service.predict("the sign above the door hums in B flat")
    assert service.post("/v1/feedback", id=said["id"], right=False)["status"] == "noted"
    queue = service.get("/v1/review", kind="wrong")["items"]
    assert said["id"] in [one["id"] for one in queue]
    assert service.post("/v1/review", dismiss=[said["id"]])["dismissed"] == 1
    queue = service.get("/v1/review", kind="wrong")["items"]
    assert said["id"] not in [one["id"] for one in queue]


def test_feedback_that_it_is_right_is_learned(service: Running) -> None:
    said = service.predict(demo_rows(1, start=500)[0]["text"])
    told = service.post("/v1/feedback", id=said["id"], right=True)
    assert told["status"] == "learned"
    assert service.get("/v1/blame", id=said["id"])["target"] == said["label"]


def test_forgetting_is_proved_by_the_fingerprint(service: Running, fresh_id: FreshId) -> None:
    before = service.get("/v1/fingerprint")["fingerprint"]
    id_ = fresh_id()
    service.post("/v1/learn", id=id_, text="please remove me from everything", target="remove_me")
    assert service.get("/v1/fingerprint")["fingerprint"] != before
    told = service.post("/v1/forget", ids=[id_])
    assert told["forgotten"] == 1
    assert told["exact"]
    assert told["fingerprint_after"] == before
    assert told["certificate"]["fingerprint_after"] == before
    assert told["removed_labels"] == ["remove_me"]
    assert service.client.get("/v1/blame", params={"id": id_}).json()["code"] == "example-unknown"
    again = service.post("/v1/learn", id=id_, text="please remove me from everything", target="remove_me")
    assert again["results"][0]["status"] == "rejected"
    assert "deleted" in again["results"][0]["reason"]


def test_a_forgotten_prediction_is_not_remembered(service: Running) -> None:
    said = service.predict("my name is nobody's business")
    assert service.post("/v1/forget", ids=[said["id"]])["predictions_forgotten"] == 1
    late = service.client.post("/v1/feedback", json={"id": said["id"], "target": "names"})
    assert (late.status_code, late.json()["code"]) == (404, "prediction-unknown")


def test_what_is_forgotten_by_field_is_gone(service: Running, fresh_id: FreshId) -> None:
    ids = [fresh_id(), fresh_id()]
    for id_ in ids:
        service.post("/v1/learn", id=id_, text=f"ticket {id_}", target="tickets", fields={"customer": "c-99"})
    told = service.post("/v1/forget", where={"customer": "c-99"})
    assert told["forgotten"] == 2


def test_a_service_and_the_command_line_learn_the_same(learned: Path, tmp_path: Path) -> None:
    import shutil

    rows = demo_rows(40, start=300)
    here, there = (Path(shutil.copytree(learned, tmp_path / name / "desk")) for name in "ab")
    with running(here) as service:
        for row in rows:
            service.post("/v1/learn", **row)
        fingerprint = service.get("/v1/fingerprint")["fingerprint"]
        assert service.stop() == 0
    with Run.open(there) as run:
        from everlearn import Example

        for row in rows:  # as there: codes depend in rare bits on what is encoded together
            run.learn([Example(**row)])
        assert run.fingerprint() == fingerprint
    with Run.open(here) as run:
        assert run.fingerprint() == fingerprint
        assert run.held().num_examples == 340


def test_versions_are_served_and_rolled_back(desk: Path) -> None:
    text = "the gondola needs a new oar by Tuesday"
    with running(desk) as service:
        (version,) = service.get("/v1/versions")["versions"]
        assert service.predict(text)["is_outlier"]
        service.post("/v1/learn", id="g", text=text, target="gondola")
        learned = service.predict(text)
        assert (learned["label"], learned["is_outlier"]) == ("gondola", False)
        before = service.predict(text, version=version["version"])
        assert before["label"] != "gondola"
        assert (before["version"], before["fingerprint"]) == (version["version"], version["fingerprint"])
        service.post("/v1/rollback", version=version["version"], keep_learned=True)
        served = service.predict(text)
        assert (served["version"], served["label"]) == (version["version"], before["label"])
        service.post("/v1/rollback")
        assert service.predict(text)["label"] == "gondola"
        unknown = service.client.post("/v1/rollback", json={"version": 99})
        assert (unknown.status_code, unknown.json()["code"]) == (404, "version-unknown")


def test_what_was_accepted_is_there_after_a_restart_and_what_is_sent_meanwhile(desk: Path) -> None:
    with running(desk) as service:
        url, port = service.url, service.url.rpartition(":")[2]
        service.post("/v1/learn", id="kept", text="this must not get lost", target="kept")
        said = service.predict("is this remembered?")
    statuses: list[str] = []

    def learn() -> None:
        with Client(url, retries=8) as client:  # nobody is there yet
            statuses.extend(one.status for one in client.learn({"text": "patience", "target": "p"}).results)

    sending = Thread(target=learn)
    sending.start()
    with running(desk, "--port", port) as service:
        sending.join(60)
        assert statuses == ["learned"]
        assert service.get("/v1/stats")["held"] == 302
        assert service.get("/v1/blame", id="kept")["held"]
        told = service.post("/v1/feedback", id=said["id"], target="remembered")
        assert told["status"] == "learned"


def test_events_are_told(service: Running, fresh_id: FreshId) -> None:
    with service.client.stream("GET", "/v1/events") as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith(":")
        id_ = fresh_id()
        service.post("/v1/learn", id=id_, text="tell everybody", target="told")
        told = (json.loads(line[6:]) for line in lines if line.startswith("data: "))
        event = next(one for one in told if one["kind"] == "learned")  # others' rest may come before
    assert (event["tenant"], event["examples"]) == ("desk", 1)


def test_figures_are_as_prometheus_reads_them(service: Running, fresh_id: FreshId) -> None:
    service.predict("count me")
    service.post("/v1/learn", id=fresh_id(), text="count this, too", target="counting")
    deadline = time.monotonic() + 30
    while not (families := families_of(service))["everlearn_rolling_accuracy"].samples:
        assert time.monotonic() < deadline  # it is told once nothing has changed for a moment
        time.sleep(0.1)
    assert 0 <= families["everlearn_rolling_accuracy"].samples[0].value <= 1
    assert families["everlearn_held_examples"].samples[0].value > 300
    assert families["everlearn_trunk_bytes"].samples[0].value > 1e7
    (count,) = [
        sample.value
        for sample in families["everlearn_predictions"].samples
        if sample.name == "everlearn_predictions_total"
    ]
    assert count >= 1
    assert families["everlearn_workers_ready"].samples[0].value == 1
    assert {sample.labels["process"] for sample in families["everlearn_memory_bytes"].samples} == {
        "service",
        "host",
        "worker-1",
        "learner",
    }


def families_of(service: Running) -> dict[str, Any]:
    """The service's figures, by name."""
    text = service.client.get("/metrics").text
    return {family.name: family for family in text_string_to_metric_families(text)}


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/predict", {}, 422, "request-invalid"),
        ("/v1/predict", {"text": "a", "texts": ["b"]}, 422, "request-invalid"),
        ("/v1/predict", {"text": "   "}, 422, "input-unusable"),
        ("/v1/predict", {"text": "a", "unknown": 1}, 422, "request-invalid"),
        ("/v1/predict", {"text": "a", "tenant": "../etc"}, 404, "tenant-unknown"),
        ("/v1/predict", {"text": "a", "version": 77}, 404, "version-unknown"),
        ("/v1/predict", {"text": "x" * 100_001}, 422, "text-too-long"),
        ("/v1/predict", {"texts": ["x"] * 257}, 422, "too-many-texts"),
        ("/v1/learn", {"target": "a"}, 422, "request-invalid"),
        ("/v1/learn", {"examples": [{"id": "a", "text": "b"}] * 2}, 422, "request-invalid"),
        ("/v1/learn", {"text": "a", "fields": {"deep": DEEP}}, 422, "request-invalid"),
        ("/v1/correct", {"targets": {"nobody": "a"}}, 404, "example-unknown"),
        ("/v1/feedback", {"id": "p-0", "target": "a"}, 404, "prediction-unknown"),
        ("/v1/feedback", {"id": "p-0"}, 422, "request-invalid"),
        ("/v1/forget", {}, 422, "request-invalid"),
        ("/v1/review", {}, 422, "request-invalid"),
        ("/v1/review", {"accept": ["nobody"]}, 409, "run-refuses"),
        ("/v1/tenants", {"name": "b"}, 422, "setting-wrong"),
        ("/v1/nothing", {}, 404, "not-found"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_a_problem_document(
    service: Running, path: str, body: dict[str, object], status: int, code: str
) -> None:
    answer = service.client.post(path, json=body)
    told = answer.json()
    assert (answer.status_code, told["code"]) == (status, code), told
    assert answer.headers["content-type"] == "application/problem+json"
    assert told["detail"]
    assert told["remedy"]
    assert service.client.get(told["type"]).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "detail"),
    [
        ("/v1/learn", {"text": "a", "label": "b"}, "label: unknown field; did you mean target?"),
        (
            "/v1/learn",
            {"examples": [{"text": "a", "target": "b"}, {"text": "a", "label": "b"}]},
            "examples.1.label: unknown field; did you mean target?",
        ),
        ("/v1/learn", {"text": "a", "traget": "b"}, "traget: unknown field; did you mean target?"),
        (
            "/v1/learn",
            [{"text": "a", "target": "b"}],
            'body: send one example, {"text": …, "target": …}, or several, {"examples": […]}',
        ),
        ("/v1/learn", {"text": "", "target": "b"}, "text: String should have at least 1 character"),
        (
            "/v1/learn",
            {"examples": [{"text": "", "target": "b"}]},
            "examples.0.text: String should have at least 1 character",
        ),
        ("/v1/learn", {"examples": {}}, "examples: Input should be a valid list"),
        (
            "/v1/learn",
            {"text": "a", "target": 7},
            "target: Input should be a valid string; target: Input should be a valid list",
        ),
        ("/v1/predict", {"body": "a"}, "body: unknown field; did you mean text?"),
        (
            "/v1/feedback",
            {"id": "a", "xyzzy": "b"},
            "xyzzy: unknown field; there are id, right, target",
        ),
        ("/v1/labels/rename", {"from": "a", "into": "b"}, "into: unknown field; did you mean to?"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_as_whoever_made_it_calls_it(
    service: Running, path: str, body: object, detail: str
) -> None:
    answer = service.client.post(path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "request-invalid")
    assert answer.json()["detail"] == detail


def test_a_name_that_is_no_unicode_is_told_of(service: Running) -> None:
    answer = service.client.post(
        "/v1/learn", content=b'{"\\ud800": 1}', headers={"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "request-invalid")
    assert "unknown field" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"{", {}, 400, "body-invalid"),
        (b"\xff\xfe", {}, 400, "body-invalid"),
        (b'{"text": NaN}', {}, 422, "request-invalid"),
        (b"[" * 100_000, {}, 400, "body-invalid"),
        (b'{"text": "a"}', {"content-encoding": "gzip"}, 415, "body-encoded"),
        (b" " * 5_000_000, {}, 413, "body-too-large"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/predict", "/v1/learn"])
def test_raw_bodies_that_are_wrong(
    service: Running, path: str, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    answer = service.client.post(
        path, content=content, headers={"content-type": "application/json", **headers}
    )
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert service.predict("still there?")["label"] is not None


@pytest.mark.parametrize("fields", [b'{"b": ["\\ud800"]}', b'{"\\ud800": 1}', b'{"b": NaN}'])
def test_fields_that_no_journal_takes_are_refused(service: Running, fields: bytes) -> None:
    body = b'{"text": "a", "target": "b", "fields": %s}' % fields
    answer = service.client.post("/v1/learn", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (422, "request-invalid"), answer.text
