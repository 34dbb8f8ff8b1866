"""Tenants of a hub over HTTP: what is told of each, quotas, and what happens to whom is none."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from tests.service.running import Running, demo_rows, running

from everlearn import Example, Hub
from everlearn.client import Client, ProblemError

NUM_LEARNED = 30


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    place = tmp_path_factory.mktemp("tenants") / "hub"
    with Hub.open(place) as opened:
        opened.add("acme", max_examples=NUM_LEARNED + 2)
        opened.add("idle")
        opened.learn("acme", [Example(**row) for row in demo_rows(NUM_LEARNED)])
    with running(place) as service:
        yield service


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_each_tenant_is_told_of_without_opening_its_run(hub: Running) -> None:
    assert hub.get("/v1/tenants") == {"tenants": ["acme", "idle"], "is_hub": True}
    told = hub.get("/v1/tenants/acme")
    labels = {row["target"] for row in demo_rows(NUM_LEARNED)}
    assert (told["tenant"], told["examples"], told["labels"]) == ("acme", NUM_LEARNED, len(labels))
    assert told["max_examples"] == NUM_LEARNED + 2
    assert told["memory_bytes"] > 1_000
    assert told["problem"] is None
    idle = hub.get("/v1/tenants/idle")
    assert (idle["examples"], idle["labels"], idle["accuracy"], idle["memory_bytes"]) == (0, 0, None, None)
    assert idle["max_examples"] is None
    stats = hub.get("/v1/stats", tenant="acme")  # which opens it
    assert told["accuracy"] == stats["prequential_accuracy"]
    assert hub.get("/v1/tenants/acme")["examples"] == stats["held"]
    assert code(hub.client.get("/v1/tenants/nobody")) == (404, "tenant-unknown")


def test_a_quota_is_set_kept_and_noted(hub: Running) -> None:
    def learn(number: int) -> httpx.Response:
        row = {"id": f"q-{number}", "text": f"quota number {number}", "target": "quota", "tenant": "bounded"}
        return hub.client.post("/v1/learn", json=row)

    with Client(hub.url) as client, Client(hub.url, tenant="bounded") as bounded:
        client.add_tenant("bounded", max_examples=1)
        assert learn(1).status_code == 200
        assert code(learn(2)) == (403, "quota-reached")
        client.set_quota("bounded", 2)
        assert client.tenant("bounded").max_examples == 2
        assert learn(2).status_code == 200
        assert code(learn(3)) == (403, "quota-reached")
        client.set_quota("bounded", 1)  # less than there is: that stays
        assert client.tenant("bounded").examples == 2
        client.set_quota("bounded", None)
        assert learn(3).status_code == 200
        acts = bounded.audit(kind="quota").acts
        assert [one.detail for one in acts] == [{"max_examples": 2}, {"max_examples": 1}, {}]
        client.remove_tenant("bounded")
        with pytest.raises(ProblemError, match="tenant-unknown"):
            client.set_quota("bounded", 5)


def test_what_cannot_be_a_quota_or_a_tenant_is_refused(hub: Running) -> None:
    for quota in (0, -1, 1.5, "many"):
        answer = hub.client.patch("/v1/tenants/acme", json={"max_examples": quota})
        assert code(answer) == (422, "request-invalid"), quota
    assert code(hub.client.patch("/v1/tenants/acme", json={})) == (422, "request-invalid")
    assert code(hub.client.post("/v1/tenants", json={"name": "acme"})) == (409, "tenant-exists")
    assert code(hub.client.post("/v1/tenants", json={"name": "../acme"})) == (422, "setting-wrong")
    assert hub.get("/v1/tenants/acme")["max_examples"] == NUM_LEARNED + 2


def test_a_run_is_a_tenant_that_stays_as_it_is(service: Running) -> None:
    told = service.get("/v1/tenants/desk")
    assert told["examples"] == service.get("/v1/stats")["held"]
    assert told["max_examples"] is None
    answer = service.client.patch("/v1/tenants/desk", json={"max_examples": 5})
    assert code(answer) == (422, "setting-wrong")
