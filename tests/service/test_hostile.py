"""What nobody should send: it is refused, soon and in few words, and nothing of it stays."""

from __future__ import annotations

import json
import shutil
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from tests.service.running import Running, running

REQUEST_SECONDS = 2.0
HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def served(learned: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that does not wait long."""
    place = Path(shutil.copytree(learned, tmp_path_factory.mktemp("hostile") / "desk"))
    with running(place, environment={"EVERLEARN_SERVICE_REQUEST_SECONDS": str(REQUEST_SECONDS)}) as started:
        yield started


def connected(service: Running) -> socket.socket:
    address = urlsplit(service.url)
    return socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=30)


def until_the_end(connection: socket.socket) -> bytes:
    got = b""
    while data := connection.recv(65_536):
        got += data
    return got


def eventually(holds: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def num_connections(service: Running) -> int:
    """Established ones of the process that answers, without those of the test's client."""
    process = psutil.Process(service.processes()["service"])
    found = [one for one in process.net_connections("tcp") if one.status == psutil.CONN_ESTABLISHED]
    return len(found) - 1


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n{}",
        HEAD + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\n{}",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    ],
)
def test_what_is_no_http_is_refused_with_a_problem_document(served: Running, sent: bytes) -> None:
    with connected(served) as connection:
        connection.sendall(sent)
        head, _, body = until_the_end(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    told = json.loads(body)
    assert told["code"] == "request-malformed"
    assert told["remedy"]


def test_what_is_no_http_and_too_large_is_refused_once(served: Running) -> None:
    with connected(served) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nno header" + b"x" * 60_000 + b"\r\n" * 4_000)
        got = until_the_end(connection)
    assert got.count(b"HTTP/1.1 ") == 1
    assert " ERROR " not in served.log()


def test_nonsense_within_a_body_ends_the_wait_for_the_rest_with_one_answer(served: Running) -> None:
    started = time.monotonic()
    with connected(served) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{    \r\n")
        time.sleep(0.3)  # the request is under way
        connection.sendall(b"no size\r\n")
        got = until_the_end(connection)
    assert got.count(b"HTTP/1.1 ") == 1
    assert b'"code":"request-malformed"' in got
    assert time.monotonic() - started < REQUEST_SECONDS


@pytest.mark.parametrize("rest", [b"x", b"\r\n"])
def test_who_goes_on_sending_what_is_answered_is_hung_up_on(served: Running, rest: bytes) -> None:
    length = b"1000" if rest == b"x" else b"0"
    with connected(served) as connection:
        connection.sendall(
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + length + b"\r\n\r\n"
        )
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(rest)
        started = time.monotonic()
        until_the_end(connection)
    assert time.monotonic() - started < REQUEST_SECONDS + 3


def test_who_does_not_read_the_answers_is_hung_up_on(served: Running) -> None:
    before = num_connections(served)
    with connected(served) as connection:
        connection.setblocking(False)
        asked = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500
        sent = 0
        try:
            while sent < len(asked):
                sent += connection.send(asked[sent : sent + 4_096])
        except BlockingIOError:
            pass  # it takes no more, as nobody reads
        assert num_connections(served) == before + 1
        eventually(lambda: num_connections(served) == before)
    assert served.predict("still there?")["label"] is not None


def test_requests_whose_sender_has_gone_end_and_are_no_errors(served: Running) -> None:
    listening = b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
    body = json.dumps({"texts": [f"text {k}" for k in range(64)]}).encode()
    asking = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    before = num_connections(served)
    for sent in (listening + asking, asking * 5, asking + listening):
        with connected(served) as connection:
            connection.sendall(sent)
            time.sleep(0.2)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    for number in range(3):  # what happens is told to those who have gone, too
        served.post("/v1/learn", id=f"gone-{number}", text="where is everybody?", target="greeting")
    eventually(lambda: num_connections(served) == before)
    assert served.predict("still there?")["label"] is not None
    assert " ERROR " not in served.log()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/predict", {"texts": [1] * 1_200_000}),
        ("/v1/learn", {"examples": [1] * 1_200_000}),
        ("/v1/learn", {"text": "a", "target": "b", **{f"name {k}": 1 for k in range(200_000)}}),
        ("/v1/correct", {"targets": {f"id {k}": 1 for k in range(200_000)}}),
        ("/v1/forget", {"ids": [1] * 1_200_000}),
        ("/v1/embeddings", {"model": "desk", "input": [[]] * 900_000}),
        ("/v1/chat/completions", {"model": "desk", "messages": [{}] * 900_000}),
        ("/predict", {"inputs": [1] * 1_200_000}),
        ("/invocations", {"dataframe_records": [1] * 1_200_000}),
        ("/v2/models/desk/infer", {"inputs": [{}] * 900_000}),
    ],
)
def test_a_million_mistakes_are_refused_as_soon_as_one(
    served: Running, path: str, body: dict[str, object]
) -> None:
    sent = json.dumps(body, separators=(",", ":")).encode()
    assert len(sent) < 4e6
    started = time.monotonic()
    answer = served.client.post(path, content=sent, headers={"Content-Type": "application/json"})
    took = time.monotonic() - started
    assert answer.status_code in (400, 422)
    assert len(answer.content) < 2_000
    assert took < 8.0  # a machine that is busy; to tell of each took 10 to 50


def test_a_file_that_comes_byte_by_byte_holds_no_place(served: Running) -> None:
    head = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
    with connected(served) as connection:
        connection.sendall(head + b"Content-Length: 100000\r\n\r\n")
        started = time.monotonic()
        connection.settimeout(0.2)
        got = b""
        while not got and time.monotonic() - started < REQUEST_SECONDS * 4:
            connection.sendall(b"x")
            try:
                got = connection.recv(65_536)
            except TimeoutError:
                continue
    assert got.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - started < REQUEST_SECONDS * 2
