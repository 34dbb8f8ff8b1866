"""Lists of labels: refused where a run has one label a text, by all ways in; learned where it has several."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.service.running import Running, running

from everlearn import Hub

LIST = ["snow", "fox"]
ROWS = [
    {"id": f"{target}-{k}", "text": text, "target": target}
    for k in range(4)
    for text, target in (("a fox in the wood", "fox"), ("snow on the roof", "snow"))
]
SECONDS_TO_LEARN = 30.0


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service of a hub: texts of one tenant have one label each, those of the other several."""
    place = tmp_path_factory.mktemp("lists") / "hub"
    with Hub.open(place, {"run.keep_text": True}) as made:
        made.add("single")
        made.add("sets", {"task": "multilabel"})
    with running(place) as started:
        for tenant in ("single", "sets"):
            started.post("/v1/learn", examples=ROWS, tenant=tenant)
        yield started


def refused(service: Running, path: str, **body: Any) -> None:
    answer = service.client.post(path, json=body)
    told = answer.json()
    assert (answer.status_code, told["code"]) == (422, "input-unusable"), told
    assert "one label a text" in told["detail"]
    assert "task multilabel" in told["remedy"]


def target_of(service: Running, tenant: str, id_: str) -> str:
    found: str = service.get("/v1/blame", tenant=tenant, id=id_)["target"]
    return found


def labels_of(service: Running, tenant: str) -> set[str]:
    return {one["label"] for one in service.get("/v1/labels", tenant=tenant)["labels"]}


def job(service: Running, tenant: str, *rows: dict[str, Any]) -> dict[str, Any]:
    """A file that was learned, or not."""
    content = "".join(json.dumps(row) + "\n" for row in rows)
    headers = {"Content-Type": "application/x-ndjson"}
    answer = service.client.post("/v1/jobs", params={"tenant": tenant}, content=content, headers=headers)
    assert answer.status_code == 202, answer.text
    deadline = time.monotonic() + SECONDS_TO_LEARN
    told: dict[str, Any] = answer.json()
    while told["state"] in ("waiting", "running"):
        assert time.monotonic() < deadline, told
        time.sleep(0.05)
        told = service.get(f"/v1/jobs/{told['id']}")
    assert told["state"] == "done", told
    return told


@pytest.mark.parametrize("target", [LIST, ["fox"], []])
def test_a_list_is_refused_where_texts_have_one_label(hub: Running, target: list[str]) -> None:
    before = labels_of(hub, "single")
    said = hub.predict("a fox", tenant="single")
    example = {"text": "a fox in the snow", "target": target}
    refused(hub, "/v1/learn", **example, tenant="single")
    refused(hub, "/v1/learn", examples=[ROWS[0], example], tenant="single")
    refused(hub, "/v1/learn", id="fox-0", target=target, tenant="single")
    refused(hub, "/v1/feedback", id=said["id"], target=target)
    refused(hub, "/v1/correct", targets={"fox-0": target, "fox-1": "snow"}, tenant="single")
    assert labels_of(hub, "single") == before
    assert [target_of(hub, "single", id_) for id_ in ("fox-0", "fox-1")] == ["fox", "fox"]


def test_a_file_with_a_list_says_which_line(hub: Running) -> None:
    told = job(
        hub,
        "single",
        {"id": "file-1", "text": "a fox", "target": "fox"},
        {"id": "file-2", "text": "a fox in the snow", "label": LIST},
    )
    assert (told["learned"], told["num_rejected"]) == (1, 1)
    [rejected] = told["rejected"]
    assert rejected["line"] == 2
    assert "task multilabel" in rejected["reason"]
    assert labels_of(hub, "single") == {"fox", "snow"}


def test_a_label_that_looks_like_a_list_is_a_label(hub: Running) -> None:
    hub.post("/v1/learn", id="sic", text="as it was written", target="[sic]", tenant="single")
    assert target_of(hub, "single", "sic") == "[sic]"
    hub.post("/v1/correct", targets={"sic": "fox"}, tenant="single")


def test_lists_are_learned_where_texts_have_several_labels(hub: Running) -> None:
    said = hub.predict("a fox in the snow", tenant="sets")
    hub.post("/v1/learn", id="l-1", text="a fox in the snow", target=LIST, tenant="sets")
    assert hub.post("/v1/feedback", id=said["id"], target=LIST)["status"] == "learned"
    hub.post("/v1/correct", targets={"fox-0": LIST, "fox-1": []}, tenant="sets")
    assert job(hub, "sets", {"id": "l-2", "text": "snow, and a fox", "label": LIST})["learned"] == 1
    for id_ in ("l-1", said["id"], "fox-0", "l-2"):
        assert target_of(hub, "sets", id_) == '["fox","snow"]'
    assert target_of(hub, "sets", "fox-1") == "[]"
    assert labels_of(hub, "sets") == {"fox", "snow"}
