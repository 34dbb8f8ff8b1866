"""Files that are learned as jobs: what is in them, what is wrong with them, and what comes in between."""

from __future__ import annotations

import json
import resource
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from tests.service.running import Running, demo_rows, running

from everlearn import Example, Run
from everlearn.service.job_files import JobRecord, read_records, write_record

NDJSON = {"content-type": "application/x-ndjson"}
SECONDS = 60.0


@pytest.fixture(scope="module")
def served(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with small limits."""
    place = Path(shutil.copytree(learned, tmp_path_factory.mktemp("jobs") / "desk"))
    limits = {"EVERLEARN_SERVICE_MAX_WAITING_LABELS": "128", "EVERLEARN_SERVICE_MAX_UPLOAD_MB": "6"}
    with running(place, environment=limits) as started:
        yield started


def lines_of(rows: Sequence[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def example_of(row: dict[str, str]) -> Example:
    return Example(id=row["id"], text=row["text"], target=row["target"])


def sent(service: Running, content: bytes) -> dict[str, Any]:
    answer = service.client.post("/v1/jobs", content=content, headers=NDJSON)
    assert answer.status_code == 202, answer.text
    told: dict[str, Any] = answer.json()
    return told


def ended(service: Running, id_: str) -> dict[str, Any]:
    """A job when it is over."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        told: dict[str, Any] = service.get(f"/v1/jobs/{id_}")
        if told["state"] not in ("waiting", "running"):
            return told
        time.sleep(0.05)
    raise AssertionError(f"job {id_} is not over after {SECONDS:g} s: {told}")


def begun(service: Running, id_: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not service.get(f"/v1/jobs/{id_}")["taken"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def learn_one(service: Running, **row: str) -> list[dict[str, Any]]:
    """Learn an example, as soon as there is room for it."""
    while (answer := service.client.post("/v1/learn", json=row)).status_code == 429:
        time.sleep(0.02)
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def files_of(service: Running) -> list[str]:
    return sorted(path.name for path in (service.place / "service" / "jobs").glob("*"))


def problem(answer: httpx.Response) -> tuple[int, str]:
    told = answer.json()
    assert told["detail"]
    assert told["remedy"]
    return answer.status_code, told["code"]


def test_a_file_is_learned_line_by_line(served: Running) -> None:
    good = {"id": "jf-1", "text": "the accordion is out of tune again", "target": "accordion"}
    content = b"\n".join(
        [
            b"\xef\xbb\xbf" + json.dumps(good).encode(),
            b'{"text": "no id, but a label by another name", "label": "accordion", "shop": "north"}',
            b"",
            b'{"id": "jf-1", "text": "the accordion is out of tune again", "target": "accordion"}',
            b'{"id": "jf-1", "target": "squeezebox"}',
            b'{"id": 17, "text": "a number is an id, too", "target": "accordion", "role": "exam"}',
            b'{"id": "jf-bare", "text": "nobody says what this is"}',
            b"not JSON",
            b'["a list"]',
            b'{"text": "caf\xe9"}',
            b'{"text": "a", "x": NaN}',
            b'{"text": "\\ud800 half a pair"}',
            b"[" * 20_000,
            b'{"text": "' + b"x" * 100_001 + b'"}',
            b'{"text": "' + b"y" * 4_000_001 + b'"}',
            b'{"text": "   ", "id": "blank"}',
            b'{"id": "nothing-else"}',
            b'{"text": 7}',
            b'{"text": "the last line has no end", "target": "accordion"}',
        ]
    )
    told = ended(served, sent(served, content)["id"])
    assert (told["state"], told["lines"], told["taken"]) == ("done", 19, 19)
    assert told["statuses"] == {"learned": 4, "known": 1, "corrected": 1, "unlabelled": 1}
    assert (told["learned"], told["known"]) == (4, 1)
    assert [one["line"] for one in told["rejected"]] == [8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18]
    assert told["num_rejected"] == 11
    reasons = {one["line"]: one["reason"] for one in told["rejected"]}
    assert "no JSON" in reasons[8]
    assert "the field text" in reasons[17]
    assert "--" not in "".join(reasons.values())
    assert "UTF-8" in reasons[10]
    assert "NaN" in reasons[11]
    assert "surrogate" in reasons[12]
    assert "100,000" in reasons[14]
    assert "4 MB" in reasons[15]
    assert served.get("/v1/blame", id="jf-1")["target"] == "squeezebox"
    assert served.get("/v1/blame", id="17")["held"]
    assert served.get("/v1/blame", id=f"{told['id']}-2")["target"] == "accordion"
    (found,) = served.get("/v1/examples", field="shop:north")["items"]
    assert found["fields"] == {"shop": "north"}


def test_a_job_leads_to_its_examples(served: Running) -> None:
    earlier = {"id": "jl-0", "text": "the harmonium wheezes", "target": "harmonium"}
    learn_one(served, **earlier)
    rows = [
        {"text": "a first one of the file", "target": "harmonium"},
        earlier,
        {"id": "jl-0", "text": "quite another text", "target": "organ"},
        {"id": "jl-3", "text": "and a last one", "target": "organ"},
    ]
    told = ended(served, sent(served, lines_of(rows))["id"])
    learn_one(served, id="jl-later", text="this came later", target="organ")
    assert [(one["line"], one["id"]) for one in told["rejected"]] == [(3, "jl-0")]
    span = {"first": told["first_offset"], "last": told["last_offset"]}
    for newest, ids in ((False, [f"{told['id']}-1", "jl-3"]), (True, ["jl-3", f"{told['id']}-1"])):
        assert [one["id"] for one in served.get("/v1/examples", newest=newest, **span)["items"]] == ids
        first = served.get("/v1/examples", newest=newest, limit=1, **span)
        second = served.get("/v1/examples", newest=newest, limit=1, after=first["next"], **span)
        assert [one["id"] for one in first["items"] + second["items"]] == ids
        assert second["next"] is None
    nothing = ended(served, sent(served, b'{"title": "nothing to learn"}\n')["id"])
    assert (nothing["first_offset"], nothing["last_offset"]) == (None, None)


def test_a_record_of_before_is_read(tmp_path: Path) -> None:
    record = JobRecord(id="j-1", tenant="desk", by="a", time=1.0, lines=2, state="done")
    write_record(tmp_path, record)
    values = json.loads((tmp_path / "j-1.json").read_text(encoding="utf-8"))
    del values["first_offset"], values["last_offset"]
    values["rejected"] = [[2, "it is no JSON"]]
    (tmp_path / "j-1.json").write_text(json.dumps(values), encoding="utf-8")
    (read,), problems = read_records(tmp_path)
    assert problems == []
    assert read.told()["rejected"] == [{"line": 2, "reason": "it is no JSON", "id": None}]
    assert read.told()["first_offset"] is None


def test_a_file_may_be_larger_than_another_body(served: Running) -> None:
    rows = [
        {"id": f"big-{k}", "text": f"large number {k}", "target": "large", "blob": "x" * 1_500_000}
        for k in range(3)
    ]
    told = ended(served, sent(served, lines_of(rows))["id"])
    assert (told["state"], told["learned"]) == ("done", 3)
    too_large = served.client.post("/v1/jobs", content=b"\n" * 6_000_001, headers=NDJSON)
    assert problem(too_large) == (413, "body-too-large")

    def pieces() -> Iterator[bytes]:
        for _ in range(70):
            yield b"x" * 100_000

    before = files_of(served)
    unannounced = served.client.post("/v1/jobs", content=pieces(), headers=NDJSON)
    assert problem(unannounced) == (413, "body-too-large")
    assert files_of(served) == before


def test_what_is_wrong_is_told(served: Running) -> None:
    good = lines_of(demo_rows(1))
    client = served.client
    assert problem(client.post("/v1/jobs", content=good)) == (415, "body-type")
    as_json = client.post("/v1/jobs", content=good, headers={"content-type": "application/json"})
    assert problem(as_json) == (415, "body-type")
    assert "Content-Type: application/x-ndjson" in as_json.json()["remedy"]
    assert problem(client.post("/v1/jobs", content=b"", headers=NDJSON)) == (422, "request-invalid")
    elsewhere = client.post("/v1/jobs?tenant=nobody", content=good, headers=NDJSON)
    assert problem(elsewhere) == (404, "tenant-unknown")
    for id_ in ("j-0", "..%2f..%2frun", "%00"):
        assert problem(client.get(f"/v1/jobs/{id_}"))[0] == 404
        assert problem(client.delete(f"/v1/jobs/{id_}"))[0] == 404
    assert files_of(served) == [f"{one['id']}.json" for one in sorted_jobs(served)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"text,target\nwhere is my invoice?,billing\n", "CSV"),
        (b"text\ttarget\n", "tabs"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "PNG"),
        (b"%PDF-1.7\n", "PDF"),
        ("text,target\n".encode("utf-16"), "UTF-16"),
        (b'[{"text": "a", "target": "b"}]', "list"),
        (b'{\n  "text": "a",\n  "target": "b"\n}\n', "several lines"),
        (b'{"text": "a" "target": "b"}\n', "character"),
        (b'{"text": "caf\xe9"}\n', "UTF-8"),
        (b"a line of a letter", "plain text"),
        (b"17\n", "no object"),
        (b"\n" * 100_000 + b"x,y\n", "CSV"),
        (b"x" * 100_000, "no JSON object"),
        (b"{" + b" " * 10 + b"\0", "binary"),
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_refused_at_once(served: Running, content: bytes, said: str) -> None:
    before = files_of(served)
    answer = served.client.post("/v1/jobs", content=content, headers=NDJSON)
    assert problem(answer) == (422, "file-unusable")
    assert said in answer.json()["detail"]
    assert '{"text": ' in answer.json()["remedy"]
    assert files_of(served) == before


def test_lines_without_a_text_say_what_they_need(served: Running) -> None:
    content = b'\n\n{"body": "where is it?", "label": "a"}\n{"id": "jobs-nobody", "label": "a"}\n'
    told = ended(served, sent(served, content)["id"])
    first, second = (one["reason"] for one in told["rejected"])
    assert first == "it has no text: a line needs the field text; its fields are 'body', 'label'"
    assert second.startswith(
        "it has no text (the field text), and no earlier example has the id 'jobs-nobody'"
    )
    long_one = {"id": "jobs-long", "text": "a " * 40_000, "target": "long"}
    assert ended(served, sent(served, lines_of([long_one]))["id"])["learned"] == 1


def sorted_jobs(service: Running) -> list[dict[str, Any]]:
    return sorted(service.get("/v1/jobs")["jobs"], key=lambda one: str(one["id"]))


@pytest.mark.parametrize("is_chunked", [False, True])
def test_an_upload_that_is_cut_off_is_not_learned(served: Running, is_chunked: bool) -> None:
    before, jobs = files_of(served), served.get("/v1/jobs")["jobs"]
    fingerprint = served.get("/v1/fingerprint")["fingerprint"]
    content = lines_of([{"id": f"cut-{k}", "text": f"cut number {k}", "target": "cut"} for k in range(50)])
    url = httpx.URL(served.url)
    framing = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {len(content) + 1_000}"
    host = f"Host: {url.host}:{url.port}"
    head = f"POST /v1/jobs HTTP/1.1\r\n{host}\r\nContent-Type: application/x-ndjson\r\n{framing}\r\n\r\n"
    body = f"{len(content):x}\r\n".encode() + content + b"\r\n" if is_chunked else content
    with socket.create_connection((url.host, url.port or 80)) as connection:
        connection.sendall(head.encode() + body)
        deadline = time.monotonic() + SECONDS
        while files_of(served) == before:  # it has begun to come in
            assert time.monotonic() < deadline
            time.sleep(0.01)
    while files_of(served) != before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert served.get("/v1/jobs")["jobs"] == jobs
    assert served.get("/v1/fingerprint")["fingerprint"] == fingerprint


def test_a_disk_that_is_full_refuses_the_upload(served: Running) -> None:
    before, service = files_of(served), served.process.pid
    unlimited = resource.prlimit(service, resource.RLIMIT_FSIZE)
    resource.prlimit(service, resource.RLIMIT_FSIZE, (100_000, unlimited[1]))
    try:
        rows = [{"id": f"full-{k}", "text": "z" * 2_000, "target": "full"} for k in range(1_000)]
        answer = served.client.post("/v1/jobs", content=lines_of(rows), headers=NDJSON)
        assert problem(answer) == (503, "storage-full")
        assert files_of(served) == before
    finally:
        resource.prlimit(service, resource.RLIMIT_FSIZE, unlimited)
    told = ended(served, sent(served, lines_of(rows[:2]))["id"])
    assert (told["state"], told["learned"]) == ("done", 2)


def test_others_learn_meanwhile_and_a_full_queue_makes_it_wait(served: Running) -> None:
    rows = [{**row, "id": f"wait-{row['id']}"} for row in demo_rows(384, start=300)]
    id_ = sent(served, lines_of(rows))["id"]
    refused = []

    def learn_too() -> None:
        with httpx.Client(base_url=served.url, timeout=60) as client:
            for k in range(4):
                own = [{"id": f"own-{k}-{n}", "text": f"own {k} {n}", "target": "own"} for n in range(80)]
                while True:
                    answer = client.post("/v1/learn", json={"examples": own})
                    if answer.status_code != 429:
                        break
                    refused.append(answer.json()["code"])
                    time.sleep(0.02)
                assert answer.status_code == 200, answer.text

    thread = threading.Thread(target=learn_too)
    thread.start()
    begun(served, id_)
    (between,) = learn_one(served, id="between", text="one label in between", target="own")
    thread.join()
    told = ended(served, id_)
    assert (told["state"], told["learned"], told["error"]) == ("done", 384, None)
    assert served.get("/v1/blame", id=rows[-1]["id"])["offset"] > between["offset"]
    assert set(refused) <= {"labels-waiting"}


def test_a_job_can_be_stopped(served: Running) -> None:
    rows = [{**row, "id": f"stop-{row['id']}"} for row in demo_rows(400, start=300)]
    first, second = (sent(served, lines_of(rows))["id"] for _ in range(2))
    begun(served, first)
    waiting = served.client.delete(f"/v1/jobs/{second}").json()
    assert (waiting["state"], waiting["taken"]) == ("stopped", 0)
    told = served.client.delete(f"/v1/jobs/{first}").json()
    assert told["state"] == "stopped"
    assert 0 < told["taken"] < 400
    assert told["learned"] == told["taken"]
    assert served.client.delete(f"/v1/jobs/{first}").json() == told
    assert not [name for name in files_of(served) if name.endswith("ndjson")]
    assert served.get("/v1/blame", id=rows[0]["id"])["held"]


def test_what_a_job_does_is_told_as_it_happens(served: Running) -> None:
    kinds, states = [], []
    with served.client.stream("GET", "/v1/events") as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith(":")
        row = {"id": "told-1", "text": "tell me about the job", "target": "told"}
        id_ = sent(served, lines_of([row]))["id"]
        for event in (json.loads(line[6:]) for line in lines if line.startswith("data: ")):
            if event.get("job") == id_:
                kinds.append(event["kind"])
                states.append(event["state"])
            if event["kind"] == "job-done":
                break
    assert kinds == ["job-progress", "job-done"]
    assert states == ["running", "done"]
    assert event["learned"] == 1


def test_a_job_survives_a_crash_and_crosses_corrections_and_deletions(tmp_path: Path) -> None:
    # A text has the same code to the bit in whatever company it is encoded.
    invariant = {"run.keep_text": True, "model.batch_invariant": True, "model.max_length": 32}
    here, there, before = tmp_path / "a" / "desk", tmp_path / "b" / "desk", demo_rows(20)
    with Run.open(here, invariant) as run:
        run.learn(map(example_of, before))
    shutil.copytree(here, there)
    rows = demo_rows(320, start=20)
    corrected = {rows[0]["id"]: "another", before[0]["id"]: "another"}
    forgotten = [rows[1]["id"], rows[2]["id"], before[1]["id"]]
    # One that is forgotten comes again at the end of the file.
    content = lines_of([*rows, rows[1]])
    with running(here) as service:
        id_ = sent(service, content)["id"]
        begun(service, id_)
        service.post("/v1/correct", targets=corrected)
        assert service.post("/v1/forget", ids=forgotten)["forgotten"] == 3
        first = service.get(f"/v1/jobs/{id_}")
        assert first["state"] == "running"
        processes = [psutil.Process(pid) for pid in service.processes().values()]
        service.process.kill()
        psutil.wait_procs(processes, timeout=SECONDS)
    with running(here) as service:
        told = service.get(f"/v1/jobs/{id_}")
        assert told["state"] in ("waiting", "running")
        assert first["taken"] <= told["taken"] < told["lines"]
        told = ended(service, id_)
        assert (told["state"], told["taken"]) == ("done", 321)
        assert told["learned"] + told["known"] + told["num_rejected"] == 321
        assert "deleted" in told["rejected"][-1]["reason"]
        assert told["rejected"][-1]["line"] == 321
        fingerprint = service.get("/v1/fingerprint")["fingerprint"]
        assert service.stop() == 0
    with Run.open(there) as run:
        run.learn(map(example_of, rows))
        run.correct(corrected)
        run.forget(forgotten)
        assert run.fingerprint() == fingerprint
    with Run.open(here) as run:
        assert run.fingerprint() == fingerprint
