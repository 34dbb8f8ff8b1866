"""Looking closely at what a service has learned: examples, labels, explanations, the past."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.service.running import Running, demo_rows, running

from everlearn import Example, Hub, Run
from everlearn.journal.rows import pages
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.journal_views import export_journal
from everlearn.runtime.serving.looking import examples_page, targets_page
from everlearn.runtime.serving.place import RunPlace
from everlearn.service.keys import add_key

FreshId = Callable[[], str]


def all_pages(service: Running, **asked: Any) -> list[dict[str, Any]]:
    """All examples that are wanted, page by page."""
    found: list[dict[str, Any]] = []
    told = service.get("/v1/examples", **asked)
    while told["next"] is not None:
        found += told["items"]
        told = service.get("/v1/examples", **asked, after=told["next"])
    found += told["items"]
    return found


@pytest.fixture(scope="module")
def service(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One of these tests alone: they count what there is."""
    place = Path(shutil.copytree(learned, tmp_path_factory.mktemp("looked_at") / "desk"))
    with running(place) as started:
        yield started


@pytest.fixture(scope="module")
def mistaken(service: Running) -> Running:
    """A service that has predicted some examples wrongly before it learned them."""
    rows = [{**row, "id": f"look-{row['id']}"} for row in demo_rows(40, start=320)]
    rows[3]["target"] = "a label of its own"
    service.post("/v1/learn", examples=[{**row, "fields": {"shop": "north"}} for row in rows[:20]])
    service.post("/v1/learn", examples=[{**row, "domain": "phone"} for row in rows[20:]])
    return service


def test_every_example_is_on_one_page(mistaken: Running) -> None:
    newest = all_pages(mistaken, limit=77)
    offsets = [one["offset"] for one in newest]
    assert offsets == sorted(set(offsets), reverse=True)
    oldest = all_pages(mistaken, limit=100, newest=False)
    assert oldest == newest[::-1]
    assert len(oldest) == 300 + 40
    first, row = oldest[0], demo_rows(1)[0]
    assert {name: first[name] for name in ("id", "text", "target")} == row
    assert (first["step"], first["status"], first["predicted"]) == (1, "learned", None)
    last = newest[0]
    assert (last["domain"], last["fields"], last["step"]) == ("phone", {}, newest[-1]["step"] + 2)
    assert 0 < last["confidence"] <= 1
    page = mistaken.get("/v1/examples", limit=2, after=first["offset"], newest=True)
    assert page == {"tenant": "desk", "items": [], "next": None}


def test_examples_are_chosen_by_what_is_known_of_them(mistaken: Running) -> None:
    everything = all_pages(mistaken, limit=1_000)
    wrong = [one for one in everything if one["predicted"] not in (None, one["target"])]
    assert wrong
    assert all_pages(mistaken, wrong=True) == wrong
    label, predicted = wrong[0]["target"], wrong[0]["predicted"]
    assert all_pages(mistaken, label=label) == [one for one in everything if one["target"] == label]
    both = all_pages(mistaken, label=label, predicted=predicted, wrong=True)
    assert wrong[0] in both
    assert both == [one for one in wrong if (one["target"], one["predicted"]) == (label, predicted)]
    assert len(all_pages(mistaken, field="shop:north")) == 20
    assert len(all_pages(mistaken, field=["shop:north", "label:a label of its own"])) == 1
    assert len(all_pages(mistaken, field="domain:phone", limit=7)) == 20
    assert all_pages(mistaken, field="nothing:such") == []
    assert all_pages(mistaken, role="exam") == []
    found = all_pages(mistaken, text="inVOICE", limit=3)
    assert found == [one for one in everything if "invoice" in one["text"].casefold()]
    assert len(found) > 3


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"field": "no colon"}, 422, "request-invalid"),
        ({"field": ":no name"}, 422, "request-invalid"),
        ({"limit": 0}, 422, "request-invalid"),
        ({"limit": 1_001}, 422, "request-invalid"),
        ({"after": -1}, 422, "request-invalid"),
        ({"after": 2**60}, 422, "request-invalid"),
        ({"role": "king"}, 422, "request-invalid"),
        ({"text": ""}, 422, "request-invalid"),
        ({"tenant": "nobody"}, 404, "tenant-unknown"),
    ],
)
def test_what_is_asked_wrongly_is_told(
    service: Running, query: dict[str, Any], status: int, code: str
) -> None:
    answer = service.client.get("/v1/examples", params=query)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["detail"]


def test_a_page_reads_a_bounded_part_of_the_journal(learned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_MOST_OFFSETS", 70)
    monkeypatch.setattr(pages, "_OFFSETS_AT_ONCE", 32)
    wanted = pages.Wanted(text="invoice")
    for newest_first in (True, False):
        found: list[int] = []
        after: int | None = None
        with RunFolder.snapshot_of(learned) as run:
            for _ in range(5):
                page = pages.page_of(run.journal, wanted, after=after, newest_first=newest_first, limit=10**6)
                found += page.offsets
                assert all(after is None or abs(offset - after) <= 70 for offset in page.offsets)
                after = page.next
        assert after is None
        texts = {k: row["text"].casefold() for k, row in enumerate(demo_rows(300), start=1)}
        assert sorted(found) == [offset for offset, text in texts.items() if "invoice" in text]
        assert found == sorted(found, reverse=newest_first)


def test_an_export_is_that_of_the_command_line(mistaken: Running, tmp_path: Path) -> None:
    answer = mistaken.client.get("/v1/examples/export")
    assert answer.headers["content-type"] == "application/x-ndjson"
    count = export_journal(mistaken.place, tmp_path / "out.jsonl")
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8")
    assert answer.text == lines
    assert count == len(lines.splitlines()) > 300


def test_labels_are_counted(mistaken: Running) -> None:
    told = {one["label"]: one for one in mistaken.get("/v1/labels")["labels"]}
    everything = all_pages(mistaken, limit=1_000)
    held = Counter(one["target"] for one in everything if one["status"] == "learned")
    assert {label: one["examples"] for label, one in told.items()} == held
    right = Counter(one["target"] for one in everything if one["target"] == one["predicted"])
    assert {label: one["right"] for label, one in told.items() if one["right"]} == right
    assert sum(one["arrived"] for one in told.values()) == len(everything)
    for label, one in told.items():
        confused = Counter(
            other["predicted"]
            for other in everything
            if other["target"] == label and other["predicted"] not in (None, label)
        )
        counts = {found["label"]: found["count"] for found in one["confused_with"]}
        assert len(counts) == min(5, len(confused))
        assert sorted(counts.values(), reverse=True) == sorted(confused.values(), reverse=True)[:5]
        assert counts.items() <= confused.items()


def test_a_prediction_is_explained(service: Running) -> None:
    row = next(row for row in demo_rows(300) if 6 <= len(row["text"].split()) <= 12)
    told = service.post("/v1/explain", text=row["text"], nearest=4)
    said = service.predict(row["text"])
    assert told["prediction"]["label"] == said["label"]
    assert told["prediction"]["probability"] == pytest.approx(said["probability"], abs=0.02)
    assert len(told["nearest"]) == 4
    assert {name: told["nearest"][0][name] for name in ("id", "text", "target")} == row
    assert told["nearest"][0]["similarity"] > 0.99
    similarities = [one["similarity"] for one in told["nearest"]]
    assert similarities == sorted(similarities, reverse=True)
    weights = [abs(one["weight"]) for one in told["words"]]
    assert weights == sorted(weights, reverse=True)
    word = told["words"][0]
    without = service.predict(row["text"].replace(word["word"], ""), top=100)
    shares = {one["label"]: one["probability"] for one in without["top"]}
    assert word["weight"] == pytest.approx(said["probability"] - shares[said["label"]], abs=0.02)


def test_what_is_forgotten_explains_nothing(service: Running, fresh_id: FreshId) -> None:
    id_, text = fresh_id(), "the lighthouse keeper wants a discount on fog"
    service.post("/v1/learn", id=id_, text=text, target="fog")
    assert service.post("/v1/explain", text=text)["nearest"][0]["id"] == id_
    service.post("/v1/forget", ids=[id_])
    told = service.post("/v1/explain", text=text)
    assert id_ not in [one["id"] for one in told["nearest"]]
    assert told["prediction"]["label"] != "fog"


def test_explaining_has_bounds(service: Running) -> None:
    words = [f"word{k}" for k in range(80)]
    told = service.post("/v1/explain", text=" ".join([*words, *words]), nearest=0)
    assert {one["word"] for one in told["words"]} == set(words[:64])
    assert (told["words_left_out"], told["nearest"]) == (16, [])
    assert len(service.post("/v1/explain", text=" ".join(words) + "-" * 99_000)["words"]) == 5
    assert service.post("/v1/explain", text="alone")["words"] == []
    assert service.post("/v1/explain", text="?!")["words"] == []
    for body, code in (
        ({"text": "  "}, "input-unusable"),
        ({"text": "x" * 100_001}, "text-too-long"),
        ({"text": "a", "nearest": 51}, "request-invalid"),
        ({"text": "a", "unknown": 1}, "request-invalid"),
    ):
        answer = service.client.post("/v1/explain", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_the_past_is_told_up_to_now(mistaken: Running, fresh_id: FreshId) -> None:
    told = mistaken.post("/v1/learn", id=fresh_id(), text="the newest of all", target="newest")
    everything = all_pages(mistaken, limit=1_000)
    past = mistaken.get("/v1/history", points=50)
    steps = [point["step"] for point in past["points"]]
    assert steps == sorted(set(steps))
    last = past["points"][-1]
    assert (last["step"], last["examples"]) == (told["step"], everything[0]["offset"])
    assert last["labels"] >= len({one["target"] for one in everything})
    right = [one["predicted"] == one["target"] for one in everything[:1_000]]
    assert last["rolling_accuracy"] == pytest.approx(sum(right) / len(right))
    assert past["points"][0]["rolling_accuracy"] == 0  # nothing was known
    assert [one["time"] for one in past["label_counts"]] == [one["time"] for one in past["points"]]
    assert sum(sum(one["counts"].values()) for one in past["label_counts"]) == len(everything)
    assert all(len(one["counts"]) <= 13 for one in past["label_counts"])
    (only,) = mistaken.get("/v1/history", points=1)["points"]
    assert only == last


def test_a_label_is_renamed_by_corrections(learned: Path, tmp_path: Path) -> None:
    here, there = (Path(shutil.copytree(learned, tmp_path / name / "desk")) for name in "ab")
    label, other = (row["target"] for row in demo_rows(2))
    ids = [row["id"] for row in demo_rows(300) if row["target"] == label]
    with running(here) as service:
        service.client.headers["authorization"] = f"Bearer {_key(here, 'operate')}"
        told = service.post("/v1/labels/rename", **{"from": label, "to": "a better name"})
        assert (told["renamed"], told["not_renamed"]) == (len(ids), 0)
        assert label not in [one["label"] for one in service.get("/v1/labels")["labels"]]
        assert service.predict(demo_rows(1)[0]["text"])["label"] == "a better name"
        assert [one["id"] for one in all_pages(service, label="a better name", newest=False)] == ids
        for body, status, code in (
            ({"from": label, "to": "again"}, 404, "label-unknown"),
            ({"from": other, "to": other}, 422, "request-invalid"),
            ({"from": other, "to": "  "}, 422, "request-invalid"),
            ({"from": other}, 422, "request-invalid"),
        ):
            answer = service.client.post("/v1/labels/rename", json=body)
            assert (answer.status_code, answer.json()["code"]) == (status, code)
        service.post("/v1/labels/rename", **{"from": "a better name", "to": other})
        merged = [row["id"] for row in demo_rows(300) if row["target"] in (label, other)]
        assert [one["id"] for one in all_pages(service, label=other, newest=False)] == merged
        fingerprint = service.get("/v1/fingerprint")["fingerprint"]
        for role, statuses in (("predict", [200, 200, 403, 403, 403, 403]), ("label", [200, 200, 200, 403])):
            service.client.headers["authorization"] = f"Bearer {_key(here, role)}"
            asked = [
                service.client.get("/v1/labels"),
                service.client.get("/v1/history"),
                service.client.post("/v1/explain", json={"text": "why?"}),
                service.client.get("/v1/examples"),
                service.client.get("/v1/examples/export"),
                service.client.post("/v1/labels/rename", json={"from": "a", "to": "b"}),
            ]
            assert [one.status_code for one in asked][: len(statuses)] == statuses
        assert service.stop() == 0
    with Run.open(there) as run:
        run.correct(dict.fromkeys(ids, other))
        assert run.fingerprint() == fingerprint


def _key(place: Path, role: Any) -> str:
    return add_key(place / "service", f"{role} of the test", role)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service of a hub: one tenant whose examples have several labels, and one that has learned nothing."""
    place = tmp_path_factory.mktemp("hub") / "hub"
    with Hub.open(place, {"run.keep_text": True}) as made:
        made.add("empty")
        made.add("sets", {"task": "multilabel"})
    with running(place) as started:
        yield started


def test_a_tenant_that_has_learned_nothing_has_nothing_to_look_at(hub: Running) -> None:
    nothing: dict[str, Any] = {"tenant": "empty", "items": [], "next": None}
    assert hub.get("/v1/examples", tenant="empty") == nothing
    assert hub.get("/v1/labels", tenant="empty")["labels"] == []
    assert hub.get("/v1/history", tenant="empty")["points"] == []
    assert hub.client.get("/v1/examples/export", params={"tenant": "empty"}).text == ""
    told = hub.post("/v1/explain", text="why?", tenant="empty")
    assert (told["prediction"]["label"], told["nearest"], told["words"]) == (None, [], [])
    answer = hub.client.post("/v1/labels/rename", json={"from": "a", "to": "b", "tenant": "empty"})
    assert answer.json()["code"] == "label-unknown"
    assert hub.client.get("/v1/examples").json()["code"] == "tenant-missing"


def test_sets_of_labels_are_looked_at_label_by_label(hub: Running) -> None:
    texts = ["a red fox in the snow", "red paint on the wall", "snow on the roof", "the fox is gone"]
    sets = [["fox", "red", "snow"], ["red"], ["snow"], ["fox"]]
    rows = [{"id": f"s-{k}", "text": texts[k % 4], "target": sets[k % 4]} for k in range(40)]
    for k, row in enumerate(rows):
        row["text"] = f"{row['text']} {k}"
    hub.post("/v1/learn", tenant="sets", examples=rows[:20])
    hub.post("/v1/learn", tenant="sets", examples=rows[20:])
    labels = {one["label"]: one for one in hub.get("/v1/labels", tenant="sets")["labels"]}
    assert {label: one["examples"] for label, one in labels.items()} == {"fox": 20, "red": 20, "snow": 20}
    found = all_pages(hub, tenant="sets", label="fox", newest=False)
    assert [one["id"] for one in found] == [row["id"] for row in rows if "fox" in row["target"]]
    told = hub.post("/v1/explain", tenant="sets", text="snow on the roof")
    assert told["prediction"]["labels"] == ["snow"]
    assert told["words"][0]["word"] == "snow"
    told = hub.post("/v1/labels/rename", **{"from": "red", "to": "crimson", "tenant": "sets"})
    assert told["renamed"] == 20
    (first,) = all_pages(hub, tenant="sets", field="id:s-0")
    assert json.loads(first["target"]) == ["crimson", "fox", "snow"]
    hub.post("/v1/labels/rename", **{"from": "fox", "to": "snow", "tenant": "sets"})
    (first,) = all_pages(hub, tenant="sets", field="id:s-0")
    assert json.loads(first["target"]) == ["crimson", "snow"]
    labels = {one["label"]: one for one in hub.get("/v1/labels", tenant="sets")["labels"]}
    assert {label: one["examples"] for label, one in labels.items()} == {"crimson": 20, "snow": 30}


def test_what_a_rollback_has_set_aside_is_told_as_such(desk: Path) -> None:
    with Run.open(desk) as run:
        run.learn([Example(id="aside", text="this goes back again", target="aside")])
        run.rollback(1)
    place = RunPlace(desk)
    asked: dict[str, Any] = dict.fromkeys(("label", "predicted", "role", "text", "after", "first", "last"))
    asked |= {"tenant": "desk", "where": [], "wrong": False, "newest": True, "limit": 1}
    (item,) = examples_page(place, asked)["items"]
    assert (item["id"], item["status"]) == ("aside", "set_aside")
    renamed = targets_page(place, {"tenant": "desk", "label": "aside", "name": "x", "after": 0, "limit": 10})
    assert renamed["targets"] == {}
    place.close()
