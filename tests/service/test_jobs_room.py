"""Files that wait to be learned have bounded room on the disk, all together."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
from tests.service.running import Running, running

NDJSON = {"content-type": "application/x-ndjson"}
ROOM = {"EVERLEARN_SERVICE_MAX_JOBS_MB": "2"}


def file_of(size: int, name: str) -> bytes:
    """Lines of about so many bytes together."""
    row = {"text": f"{name} " + "z" * 200, "target": "full"}
    line = (json.dumps(row) + "\n").encode()
    return line * (size // len(line))


def sent(service: Running, content: bytes) -> httpx.Response:
    return service.client.post("/v1/jobs", content=content, headers=NDJSON)


def test_what_finds_no_room_is_refused_until_there_is(desk: Path) -> None:
    deadline = time.monotonic() + 60
    with running(desk, environment=ROOM) as service:
        address = urlsplit(service.url)
        held_file = file_of(1_500_000, "held")
        head = (
            "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
            f"Content-Length: {len(held_file) + 1}\r\n\r\n"
        )
        with socket.create_connection((str(address.hostname), int(address.port or 0))) as held:
            held.sendall(head.encode() + held_file)  # all but the last byte
            while not any(part.stat().st_size for part in desk.glob("service/jobs/.*.part")):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            refused = sent(service, file_of(1_200_000, "other"))
        assert (refused.status_code, refused.json()["code"]) == (429, "jobs-waiting")
        assert int(refused.headers["retry-after"]) > 0
        while (taken := sent(service, file_of(1_200_000, "other"))).status_code != 202:
            assert time.monotonic() < deadline  # the first was cut off: its room is free in a moment
        # What a file held is free when its job is over.
        service.client.delete(f"/v1/jobs/{taken.json()['id']}")
        large = sent(service, file_of(2_100_000, "large"))
        assert (large.status_code, large.json()["code"]) == (413, "body-too-large")
        last = sent(service, file_of(1_500_000, "last"))
        assert last.status_code == 202, last.text
        for process in service.processes().values():
            psutil.Process(process).kill()
    with running(desk, environment=ROOM) as again:  # files of before count
        refused = sent(again, file_of(1_200_000, "other"))
        assert (refused.status_code, refused.json()["code"]) == (429, "jobs-waiting")
        again.client.delete(f"/v1/jobs/{last.json()['id']}")
        assert sent(again, b'{"text": "a", "target": "b"}\n').status_code == 202
