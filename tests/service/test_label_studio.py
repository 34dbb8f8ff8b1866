"""Label Studio's requests, in the shapes that it sends: a backend that learns what is annotated."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.service.running import Running, demo_rows, running

from everlearn import Example, Hub
from everlearn.service.keys import add_key
from everlearn.service.label_config import read_label_config
from everlearn.service.problems import Problem

CREATED = "ANNOTATION_CREATED"
FreshId = Callable[[], str]
ROWS = demo_rows(3, start=400)
LABELS = sorted({row["target"] for row in demo_rows(300)})
CONFIG = (
    '<View><Header value="What is it about?"/><Text name="message" value="$body"/>'
    '<Choices name="topic" toName="message" choice="single-radio">'
    + "".join(f'<Choice value="{label}"/>' for label in [*LABELS, "gondola", "oar"])
    + "</Choices></View><!-- {} -->"
)
PROJECT = {
    "id": 2,
    "title": "Tickets",
    "label_config": CONFIG,
    "created_at": "2026-08-17T13:49:34.326416Z",
    "token": "9105a1d897e52286",
    "model_version": "",
    "task_data_login": None,
}


def task(number: int, text: str) -> dict[str, Any]:
    return {
        "id": number,
        "data": {"body": text},
        "meta": {},
        "created_at": "2026-08-17T13:51:02.590839Z",
        "is_labeled": False,
        "overlap": 1,
        "project": 2,
        "file_upload": 46,
    }


def annotation(number: int, of: int, choices: list[str], **more: Any) -> dict[str, Any]:
    result = [
        {
            "value": {"choices": choices},
            "id": "WArqkkifYE",
            "from_name": "topic",
            "to_name": "message",
            "type": "choices",
            "origin": "manual",
        }
    ]
    return {
        "id": number,
        "result": result if choices else [],
        "was_cancelled": False,
        "ground_truth": False,
        "lead_time": 37.13,
        "prediction": {},
        "result_count": 1,
        "task": of,
        "completed_by": 1,
        **more,
    }


def event(action: str, **what: Any) -> dict[str, Any]:
    return {"action": action, "project": PROJECT, **what}


@pytest.fixture
def number(fresh_id: FreshId) -> int:
    """A number of an annotation or a task that no other test uses."""
    return int(fresh_id()[2:], 16) % 10**9


def test_a_project_is_connected(service: Running) -> None:
    assert service.get("/health") == {"status": "UP"}
    told = service.post(
        "/setup", project="2.1629208174", schema=CONFIG, hostname="http://localhost:8080", access_token="t"
    )
    assert told["model_version"] == f"step-{service.predict('a')['step']}"


def test_tasks_are_predicted(service: Running) -> None:
    tasks = [task(k, row["text"]) for k, row in enumerate(ROWS)]
    told = service.post(
        "/predict",
        tasks=tasks,
        project="2.1629208174",
        label_config=CONFIG,
        params={"login": None, "password": None, "context": None},
    )
    assert len(told["results"]) == 3
    for one, row in zip(told["results"], ROWS, strict=True):
        own = service.predict(row["text"])
        assert one["result"] == [
            {
                "from_name": "topic",
                "to_name": "message",
                "type": "choices",
                "value": {"choices": [own["label"]]},
            }
        ]
        assert one["score"] == pytest.approx(own["probability"])
        assert one["model_version"] == told["model_version"] == f"step-{own['step']}"
    assert service.post("/v1/feedback", id=told["results"][0]["id"], right=False)["status"] == "noted"


def test_only_what_can_be_chosen_is_shown(service: Running) -> None:
    first, second = (one["label"] for one in service.predict(ROWS[0]["text"], top=2)["top"])
    asked = {"tasks": [task(1, ROWS[0]["text"])]}

    def shown(*choices: str) -> Any:
        config = (
            '<View><Text name="m" value="$body"/><Choices name="c" toName="m">'
            + "".join(choices)
            + "</Choices></View>"
        )
        return service.post("/predict", **asked, label_config=config)["results"][0]["result"]

    assert shown(f'<Choice value="{second}"/>')[0]["value"]["choices"] == [second]
    assert shown(f'<Choice value="{first.upper()}"/>')[0]["value"]["choices"] == [first.upper()]
    assert shown(f'<Choice value="In words" alias="{first}"/>')[0]["value"]["choices"] == [first]
    assert shown('<Choice value="none of them"/>') == []


def test_an_annotation_is_learned_and_comes_twice(service: Running, number: int) -> None:
    text = "my gondola has lost its oar on the canal"
    created = event("ANNOTATION_CREATED", annotation=annotation(number, 5, ["gondola"]), task=task(5, text))
    told = service.post("/webhook", **created)
    assert [one["status"] for one in told["learned"]] == ["learned"]
    assert service.predict(text)["label"] == "gondola"
    assert [one["status"] for one in service.post("/webhook", **created)["learned"]] == ["known"]
    id_ = told["learned"][0]["id"]
    assert service.get("/v1/blame", id=id_)["target"] == "gondola"

    updated = event("ANNOTATION_UPDATED", annotation=annotation(number, 5, ["oar"]), task=task(5, text))
    assert [one["status"] for one in service.post("/webhook", **updated)["learned"]] == ["corrected"]
    assert service.get("/v1/blame", id=id_)["target"] == "oar"


def test_a_deleted_annotation_is_forgotten(service: Running, number: int) -> None:
    before = service.get("/v1/fingerprint")["fingerprint"]
    created = event(
        "ANNOTATION_CREATED",
        annotation=annotation(number, 6, ["gondola"]),
        task=task(6, "this must be gone tomorrow"),
    )
    service.post("/webhook", **created)
    assert service.get("/v1/fingerprint")["fingerprint"] != before
    deleted = event("ANNOTATIONS_DELETED", annotations=[{"id": number}, {"id": number + 1}])
    assert service.post("/webhook", **deleted)["forgotten"] == 1
    assert service.get("/v1/fingerprint")["fingerprint"] == before
    assert service.post("/webhook", **deleted)["forgotten"] == 0
    (late,) = service.post("/webhook", **created)["learned"]  # an event that was under way
    assert (late["status"], "deleted" in late["reason"]) == ("rejected", True)


def test_an_annotation_that_is_withdrawn_is_forgotten(service: Running, number: int) -> None:
    text = task(7, "on second thoughts I cannot say")
    service.post(
        "/webhook",
        **event("ANNOTATION_CREATED", annotation=annotation(number, 7, ["oar"]), task=text),
    )
    skipped = annotation(number, 7, [], was_cancelled=True)
    told = service.post("/webhook", **event("ANNOTATION_UPDATED", annotation=skipped, task=text))
    assert (told["learned"], told["forgotten"]) == ([], 1)
    again = service.post("/webhook", **event("ANNOTATION_CREATED", annotation=skipped, task=text))
    assert (again["learned"], again["forgotten"]) == ([], 0)


def test_what_was_said_of_a_deleted_task_is_forgotten(service: Running, number: int) -> None:
    text = task(number, "delete the whole task, please")
    for k in (0, 1):
        created = event("ANNOTATION_CREATED", annotation=annotation(number + k, number, ["oar"]), task=text)
        service.post("/webhook", **created)
    told = service.post("/webhook", **event("TASKS_DELETED", tasks=[{"id": number}, {"id": 1}]))
    assert told["forgotten"] == 2


def test_several_annotations_come_at_once(service: Running, number: int) -> None:
    told = service.post(
        "/webhook",
        **event(
            "ANNOTATIONS_CREATED",
            annotation=[annotation(number + k, 80 + k, ["oar"]) for k in range(3)],
            task=[task(80 + k, f"an oar for number {number + k}") for k in range(3)],
        ),
    )
    assert [one["status"] for one in told["learned"]] == ["learned"] * 3


@pytest.mark.parametrize(
    "action", ["START_TRAINING", "PROJECT_UPDATED", "TASKS_CREATED", "LABEL_LINK_CREATED"]
)
def test_other_events_change_nothing(service: Running, action: str) -> None:
    before = service.get("/v1/fingerprint")
    told = service.post("/webhook", **event(action, tasks=[task(1, "a text")]))
    assert (told["learned"], told["forgotten"]) == ([], 0)
    assert service.get("/v1/fingerprint") == before


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", {"tasks": [task(1, "a")], "label_config": "<View>"}),
        ("/predict", {"tasks": [task(1, "a")], "label_config": "<View></View>"}),
        ("/predict", {"tasks": [{"id": 1, "data": {}}], "label_config": CONFIG}),
        ("/predict", {"tasks": [{"id": 1, "data": {"body": 7}}], "label_config": CONFIG}),
        ("/predict", {"tasks": [], "label_config": CONFIG}),
        ("/setup", {"schema": "<!DOCTYPE View [<!ENTITY a 'b'>]><View>&a;</View>"}),
        ("/webhook", {}),
        ("/webhook", event("ANNOTATION_CREATED", annotation=annotation(1, 1, ["oar"]))),
        ("/webhook", {"action": CREATED, "annotation": annotation(1, 1, ["oar"]), "task": task(1, "a")}),
        ("/webhook", event(CREATED, annotation=annotation(1, 1, ["oar", "a"]), task=task(1, "a"))),
    ],
)  # fmt: skip
def test_what_is_wrong_is_a_problem_document(service: Running, path: str, body: dict[str, Any]) -> None:
    answer = service.client.post(path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "request-invalid"), answer.text


@pytest.mark.parametrize(
    ("choice", "text", "code"),
    [
        ("", "a text", "request-invalid"),
        ("x" * 1_001, "a text", "request-invalid"),
        ("\ud800", "a text", "request-invalid"),
        ("oar", "\ud800", "request-invalid"),
        ("oar", "", "request-invalid"),
        ("oar", "x" * 100_001, "text-too-long"),
    ],
)
def test_annotations_that_cannot_be_learned(service: Running, choice: str, text: str, code: str) -> None:
    told = event(CREATED, annotation=annotation(1, 1, [choice]), task=task(1, text))
    answer = service.client.post(
        "/webhook", content=json.dumps(told), headers={"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text


def test_half_a_surrogate_pair_is_not_predicted(service: Running) -> None:
    asked = {"tasks": [task(1, "\ud800")], "label_config": CONFIG}
    answer = service.client.post(
        "/predict", content=json.dumps(asked), headers={"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "input-unusable")


def test_a_configuration_cannot_swell() -> None:
    with pytest.raises(Problem, match="document type"):
        read_label_config("<!doctype x><View/>")
    with pytest.raises(Problem, match="too long"):
        read_label_config(f"<View><!--{'x' * 1_000_000}--></View>")


@pytest.fixture(scope="module")
def guarded(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, str, str]]:
    """A service with keys: of a labeller, and of an operator."""
    place = Path(shutil.copytree(learned, tmp_path_factory.mktemp("guarded") / "desk"))
    folder = place / "service"
    folder.mkdir(exist_ok=True)
    keys = [add_key(folder, role, role) for role in ("label", "operate")]
    with running(place) as service:
        yield service, keys[0], keys[1]


def test_a_key_is_the_password(guarded: tuple[Running, str, str]) -> None:
    service, labeller, operator = guarded
    client, text = service.client, task(9, "who may say what?")
    created = event("ANNOTATION_CREATED", annotation=annotation(1, 9, ["oar"]), task=text)
    deleted = event("ANNOTATIONS_DELETED", annotations=[{"id": 1}])
    missing = client.post("/webhook", json=created)
    assert (missing.status_code, missing.json()["code"]) == (401, "key-missing")
    wrong = client.post("/webhook", json=created, auth=("studio", "el_wrong"))
    assert (wrong.status_code, wrong.json()["code"]) == (401, "key-unknown")
    told = client.post("/webhook", json=created, auth=("studio", labeller))
    assert told.json()["learned"][0]["status"] == "learned"
    low = client.post("/webhook", json=deleted, auth=("studio", labeller))
    assert (low.status_code, low.json()["code"]) == (403, "role-too-low")
    bearer = {"Authorization": f"Bearer {operator}"}
    assert client.post("/webhook", json=deleted, headers=bearer).json()["forgotten"] == 1
    predicted = {"tasks": [text], "label_config": CONFIG}
    assert client.post("/predict", json=predicted, auth=("studio", labeller)).is_success
    for header in ("Basic !!", f"Basic {base64.b64encode(b':').decode()}", "Digest x"):
        answer = client.post("/predict", json=predicted, headers={"Authorization": header})
        assert (answer.status_code, answer.json()["code"]) == (401, "key-unknown")


def test_several_choices_are_a_set_of_labels(tmp_path: Path) -> None:
    place = tmp_path / "hub"
    with Hub.open(place, {"task": "multilabel"}) as hub:
        hub.add("mail")
        hub.learn(
            "mail",
            [
                Example(id=f"{k}", text=text, target=target)
                for k, (text, target) in enumerate(
                    [("red and round", '["red", "round"]'), ("red", '["red"]'), ("round", '["round"]')] * 8
                )
            ],
        )
    config = (
        '<View><Text name="t" value="$body"/><Choices name="topic" toName="t" choice="multiple">'
        '<Choice value="Red"/><Choice value="Round"/></Choices></View>'
    )
    with running(place) as service:
        told = service.post("/tenants/mail/predict", tasks=[task(1, "red and round")], label_config=config)
        assert sorted(told["results"][0]["result"][0]["value"]["choices"]) == ["Red", "Round"]
        project = {**PROJECT, "label_config": config}
        created = {"annotation": annotation(1, 1, ["red", "round"]), "task": task(1, "round and red, too")}
        learned = service.post(
            "/tenants/mail/webhook", action="ANNOTATION_CREATED", project=project, **created
        )
        assert learned["learned"][0]["status"] == "learned"
        id_ = learned["learned"][0]["id"]
        assert service.get("/v1/blame", tenant="mail", id=id_)["target"] == '["red","round"]'
        said = service.post("/v1/completions", model="mail", prompt="red and round", logprobs=2)
        assert said["choices"][0]["text"] == '["red","round"]'
