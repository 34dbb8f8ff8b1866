"""A service in operation: its log, other settings while it runs, traces, and callers who take their time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.service.running import Running, running

from everlearn.errors import MissingExtraError
from everlearn.service.keys import add_key
from everlearn.service.telemetry import Silent, spans_as_told

SECRET_TEXT = "the launch code is four seven one one"
REQUEST_SECONDS = 2.0
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Collector:
    """Takes traces as OpenTelemetry's collector does."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = ExportTraceServiceRequest()
                asked.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
                spans.extend(
                    span for part in asked.resource_spans for one in part.scope_spans for span in one.spans
                )
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "service.yaml"
    path.write_text(f"request_seconds: {REQUEST_SECONDS}\n")
    return path


@pytest.fixture(scope="module")
def service(
    learned: Path, tmp_path_factory: pytest.TempPathFactory, settings: Path, collector: Collector
) -> Iterator[Running]:
    place = Path(shutil.copytree(learned, tmp_path_factory.mktemp("operated") / "desk"))
    options = ("--config", str(settings), "--reload", "--log-format", "json", "--access-log")
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with running(place, *options, environment=environment) as started:
        yield started


def lines(service: Running) -> list[dict[str, Any]]:
    whole, _, _ = service.log().rpartition("\n")  # the last line may be under way
    return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]


def eventually(holds: Callable[[], Any], seconds: float = 15) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)
    return found


# The log


def test_a_request_has_a_line_with_its_id_and_nothing_of_its_text(service: Running) -> None:
    headers = {"x-request-id": "mine-1", "authorization": "Bearer el_a_secret_key"}
    answer = service.client.post("/v1/predict?tenant=x", json={"text": SECRET_TEXT}, headers=headers)
    assert answer.headers["x-request-id"] == "mine-1"
    (line,) = eventually(lambda: [one for one in lines(service) if one.get("request_id") == "mine-1"])
    assert (line["level"], line["logger"], line["message"]) == ("info", "everlearn.access", "request")
    assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/predict", 200)
    assert line["author"] == "anybody"
    assert line["milliseconds"] > 0
    assert line["bytes_in"] > len(SECRET_TEXT)
    assert SECRET_TEXT not in service.log()
    assert "a_secret_key" not in service.log()
    for bad in ("", "x" * 129, 'a"b', "a b"):
        given = service.client.get("/healthz", headers={"x-request-id": bad}).headers["x-request-id"]
        assert given != bad
        assert len(given) == 16


@pytest.mark.parametrize("body", [b'{"text": "the launch code', b'{"text": 4711, "launch": "code"}', b"\xff"])
def test_what_is_wrong_with_a_request_is_not_in_the_log_either(service: Running, body: bytes) -> None:
    answer = service.client.post("/v1/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert "launch" not in service.log()


# Other settings


def test_limits_change_while_it_runs(service: Running, settings: Path) -> None:
    text = {"text": "x" * 50}
    assert service.client.post("/v1/predict", json=text).status_code == 200
    settings.write_text(f"request_seconds: {REQUEST_SECONDS}\nmax_text_chars: 20\nlearner_threads: 7\n")
    os.kill(service.process.pid, signal.SIGHUP)
    eventually(lambda: service.client.post("/v1/predict", json=text).json().get("code") == "text-too-long")
    told = eventually(lambda: [one for one in lines(service) if "need a restart" in one["message"]])
    assert told[-1]["message"] == "these settings need a restart of the service: learner_threads"

    settings.write_text("max_text_chars: -5\n")  # the file is looked at, too
    told = eventually(lambda: [one for one in lines(service) if one["level"] == "error"])
    assert "max_text_chars" in told[-1]["message"]
    assert "the settings are as before" in told[-1]["message"]
    assert service.client.post("/v1/predict", json=text).json()["code"] == "text-too-long"

    settings.write_text(f"request_seconds: {REQUEST_SECONDS}\n")
    eventually(lambda: service.client.post("/v1/predict", json=text).status_code == 200)


def test_a_rate_that_changes_is_kept_to(service: Running, settings: Path) -> None:
    settings.write_text(f"request_seconds: {REQUEST_SECONDS}\nrequests_per_minute: 5\n")
    try:
        refused = eventually(
            lambda: [a for a in [service.client.get("/v1/tenants") for _ in range(8)] if a.status_code == 429]
        )
        assert refused[-1].json()["code"] == "too-many-requests"
        assert 1 <= int(refused[-1].headers["retry-after"]) <= 12
        assert service.client.get("/healthz").status_code == 200
    finally:
        settings.write_text(f"request_seconds: {REQUEST_SECONDS}\n")
    eventually(lambda: service.client.get("/v1/tenants").status_code == 200)


def test_texts_are_logged_only_where_that_is_asked_for(service: Running, settings: Path) -> None:
    settings.write_text(f"request_seconds: {REQUEST_SECONDS}\nlog_texts: true\n")
    text = "a text that may be in the log"
    try:

        def is_logged() -> bool:
            service.predict(text)
            return any(text in str(line.get("body")) for line in lines(service))

        eventually(is_logged)
    finally:
        settings.write_text(f"request_seconds: {REQUEST_SECONDS}\n")
    eventually(lambda: "log_texts=False" in service.log())
    service.predict("another text that may not")
    assert "another text" not in service.log()


def test_reload_without_a_file_is_told(desk: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "everlearn", "serve", str(desk), "--reload"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert "give --config, too" in ended.stderr


# Traces


def test_requests_batches_and_learning_are_traced(service: Running, collector: Collector) -> None:
    parent = "00f067aa0ba902b7"
    answer = service.client.post(
        "/v1/learn",
        json={"id": "traced", "text": SECRET_TEXT, "target": "tracing"},
        headers={"traceparent": f"00-{TRACE}-{parent}-01"},
    )
    assert answer.status_code == 200
    service.predict(SECRET_TEXT)
    request = eventually(
        lambda: [span for span in collector.named("POST /v1/learn") if span.trace_id.hex() == TRACE]
    )[0]
    assert request.parent_span_id.hex() == parent
    told = {one.key: one.value for one in request.attributes}
    assert told["http.route"].string_value == "/v1/learn"
    assert told["http.response.status_code"].int_value == 200
    learning = [span for span in collector.named("learn") if span.trace_id.hex() == TRACE]
    assert [span.parent_span_id for span in learning] == [request.span_id]
    assert request.start_time_unix_nano <= learning[0].start_time_unix_nano
    assert learning[0].end_time_unix_nano <= request.end_time_unix_nano
    batches = eventually(lambda: collector.named("batch"))
    assert all(span.end_time_unix_nano > span.start_time_unix_nano for span in batches)
    assert SECRET_TEXT not in str(collector.spans)


def test_traces_need_the_extra_only_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    assert isinstance(spans_as_told({}), Silent)
    with pytest.raises(MissingExtraError, match=r"everlearn\[telemetry\]"):
        spans_as_told({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"})


# Callers who take their time


def connected(service: Running) -> socket.socket:
    address = urlsplit(service.url)
    return socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=20)


def answer_to(connection: socket.socket) -> bytes:
    """All that comes until the other side hangs up."""
    got = b""
    while data := connection.recv(65_536):
        got += data
    return got


def one_answer(connection: socket.socket) -> bytes:
    """What comes until an answer is there whole."""
    got = b""
    while not got.endswith(b"}]}"):
        data = connection.recv(65_536)
        assert data, got
        got += data
    return got


HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def test_a_body_that_comes_byte_by_byte_is_refused_in_time_and_others_are_answered(service: Running) -> None:
    with connected(service) as slow:
        slow.sendall(HEAD + b"Content-Length: 100000\r\n\r\n{")
        started, gone = time.monotonic(), threading.Event()

        def drip() -> None:
            while not gone.wait(0.1):
                try:
                    slow.sendall(b" ")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            while time.monotonic() - started < REQUEST_SECONDS / 2:
                assert service.predict("who is next?")["label"] is not None
            got = answer_to(slow)
        finally:
            gone.set()
            thread.join()
        took = time.monotonic() - started
    assert got.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"body-too-slow"' in got
    assert b"connection: close" in got.lower()
    assert REQUEST_SECONDS * 0.9 <= took < REQUEST_SECONDS + 5


def test_a_head_that_comes_byte_by_byte_is_refused_in_time(service: Running) -> None:
    started = time.monotonic()
    with connected(service) as slow, connected(service) as silent:
        slow.sendall(HEAD)
        got = answer_to(slow)
        assert got.startswith(b"HTTP/1.1 408 ")
        assert b'"code":"head-too-slow"' in got
        assert answer_to(silent) == b""  # who says nothing is hung up on
    assert time.monotonic() - started < REQUEST_SECONDS + 5


@pytest.mark.parametrize("count", [1, 5_000])
def test_huge_heads_are_refused(service: Running, count: int) -> None:
    header = b"X-Large: " + b"x" * (200_000 // count) + b"\r\n"
    with connected(service) as connection:
        connection.sendall(HEAD + header * count)
        got = answer_to(connection)
    assert got.startswith(b"HTTP/1.1 431 ")
    assert b'"code":"head-too-large"' in got
    assert service.predict("still there?")["label"] is not None


def test_heads_that_are_large_but_allowed_are_taken(service: Running) -> None:
    headers = {f"x-{k}": "y" * 1_000 for k in range(30)}
    assert service.client.get("/v1/tenants", headers=headers).status_code == 200


def test_a_head_in_pieces_behind_a_large_body_is_taken(service: Running) -> None:
    """What is counted of a head is the head."""
    body = json.dumps({"text": "a" * 90_000}).encode()
    with connected(service) as connection:
        for _ in range(2):
            head = HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode()
            connection.sendall(head[:40])
            time.sleep(0.05)
            connection.sendall(head[40:] + body)
            assert one_answer(connection).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert b'{"status":"ok"}' in answer_to(connection)


def test_many_idle_connections_keep_nobody_out(service: Running) -> None:
    with ExitStack() as opened:
        idle = [opened.enter_context(connected(service)) for _ in range(300)]
        started = time.monotonic()
        assert service.predict("is there room?")["label"] is not None
        assert time.monotonic() - started < 5
        for one in idle:
            assert answer_to(one) == b""
    assert service.predict("and now?")["label"] is not None


def test_what_is_not_http_is_refused(service: Running) -> None:
    for garbage in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10, b"GET\r\n\r\n", b"A" * 200_000):
        with connected(service) as connection:
            connection.sendall(garbage)
            with suppress(ConnectionResetError):  # it hangs up on the rest
                assert answer_to(connection)[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 431")
    assert service.predict("still there?")["label"] is not None


def test_a_service_that_stops_sends_its_last_spans_and_leaves_no_key(
    desk: Path, collector: Collector
) -> None:
    given = add_key(desk / "service", "a", "predict")
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "60000"}
    with running(desk, "--access-log", environment=environment) as service:
        headers = {"authorization": f"Bearer {given}"}
        answer = service.client.get("/v1/fingerprint", headers=headers)
        assert answer.status_code == 200
        assert service.stop() == 0
        log = service.log()
    assert collector.named("GET /v1/fingerprint")
    assert "everlearn.access: request" in log
    assert "author=a" in log
    assert given not in log
