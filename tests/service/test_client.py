"""The typed clients, against a real service."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.service.running import Running

from everlearn.client import AsyncClient, Client, ProblemError, UnreachableError


def test_a_program_asks_tells_and_takes_back(service: Running) -> None:
    with Client(service.url) as desk:
        said = desk.predict(["where is my invoice?", "I cannot log in"], top=2)
        assert [len(one.top) for one in said] == [2, 2]
        told = desk.feedback(said[0].id, target="invoice_question")
        assert told.status == "learned"
        learned = desk.learn({"text": "the app is far too yellow", "target": "yellow"})
        (became,) = learned.results
        assert (became.status, learned.tenant) == ("learned", "desk")
        assert desk.correct({became.id: "colour"}).results[0].status == "corrected"
        assert desk.blame(became.id)["target"] == "colour"
        forgotten = desk.forget([became.id])
        assert forgotten.certificate is not None
        assert forgotten.fingerprint_after == desk.fingerprint()
        assert desk.tenants() == ["desk"]
        assert desk.stats()["held"] > 300
        assert desk.versions()["versions"]
        assert desk.tenant("desk").examples == desk.stats()["held"]
        newest = desk.audit(newest=True, limit=1)
        assert (newest.acts[0].kind, newest.acts[0].author) == ("forget", "anybody")
        assert newest.next == newest.acts[0].number
        assert became.id not in str(desk.audit(limit=1_000))
        assert {one.kind for one in desk.review_queue()} <= {"suspicious", "unsure", "unfamiliar", "wrong"}


def test_the_readmes_client_runs_as_it_stands(service: Running) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (block,) = [one.split("```")[0] for one in readme.split("```python\n")[1:] if "everlearn.client" in one]
    names: dict[str, Any] = {}
    exec(compile(block.replace("http://127.0.0.1:8600", service.url), "README.md", "exec"), names)
    assert service.get("/v1/blame", id=names["said"].id)["target"] == "invoice"


def test_that_no_service_answers_is_told_with_its_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"  # nobody has it when this is closed

    async def asked() -> None:
        async with AsyncClient(url, retries=0) as desk:
            await desk.stats()

    with Client(url, retries=1) as desk, pytest.raises(UnreachableError, match="everlearn serve") as raised:
        desk.predict("where is my invoice?")
    assert url in str(raised.value)
    assert isinstance(raised.value.__cause__, httpx.ConnectError)
    with pytest.raises(UnreachableError, match=url):
        asyncio.run(asked())


def test_a_problem_is_an_error_with_its_remedy(service: Running) -> None:
    with Client(service.url) as desk, pytest.raises(ProblemError) as raised:
        desk.blame("nobody")
    assert (raised.value.code, raised.value.status) == ("example-unknown", 404)
    assert raised.value.remedy in str(raised.value)
    with Client(service.url, tenant="other") as other, pytest.raises(ProblemError, match="tenant-unknown"):
        other.predict("who is there?")


def test_many_ask_at_once(service: Running) -> None:
    async def ask() -> list[str | None]:
        async with AsyncClient(service.url) as desk:
            answers = await asyncio.gather(*(desk.predict(f"question number {k}") for k in range(20)))
            learned = await desk.learn([{"text": f"async {k}", "target": "asynchronous"} for k in range(3)])
            assert [one.status for one in learned.results] == ["learned"] * 3
            return [answer[0].label for answer in answers]

    assert all(asyncio.run(ask()))
