"""Part ``fuzz``: senders of what nobody should send, while honest callers predict."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.service.learned import run_at, shuffled
from benchmarks.service.soak import taken
from benchmarks.service.started import started
from benchmarks.service.wrk import load, write_bodies

__all__ = ["fuzz"]

_HONEST_CALLERS = 4
_MOST_SECONDS_WITHOUT = 15.0
_REQUEST_SECONDS = "5"
"""A request may take so long to arrive: shorter than usual, so that slow senders are dealt with meanwhile."""
_SECONDS_TO_REST = 15.0


def fuzz(
    folder: Path, num_examples: int, seconds: float, workers: int, seed: int
) -> Iterator[dict[str, Any]]:
    """What was sent and how it was answered, what honest callers have noticed, and what is left of it.

    Args:
        folder: For the run.
        num_examples: That it has learned.
        seconds: How long they send.
        workers: Prediction processes.
        seed: Of what is drawn; what is answered when depends on the machine.
    """
    place = run_at(folder, "banking77", num_examples)
    texts = [row.text for row in shuffled("banking77", "test")]
    bodies = write_bodies(folder / "texts.jsonl", [{"text": text} for text in texts])
    with started(
        place, "--workers", str(workers), EVERLEARN_SERVICE_REQUEST_SECONDS=_REQUEST_SECONDS
    ) as service:
        short = min(seconds, _MOST_SECONDS_WITHOUT)
        load(service.url, "/v1/predict", bodies, callers=_HONEST_CALLERS, seconds=short)
        service.post("/v1/learn", text="a first label, for which the encoder is read", target="a label")
        time.sleep(_SECONDS_TO_REST)
        before = taken(service)
        processes = service.processes()
        without = load(service.url, "/v1/predict", bodies, callers=_HONEST_CALLERS, seconds=short)
        command = [sys.executable, "-m", "benchmarks.service.hostile", service.url, f"{seconds:g}", str(seed)]
        hostile = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        beside = load(service.url, "/v1/predict", bodies, callers=_HONEST_CALLERS, seconds=seconds)
        told, _ = hostile.communicate()
        if hostile.returncode:
            raise SystemExit("the hostile senders have failed; their error is above")
        time.sleep(_SECONDS_TO_REST)
        after = taken(service)
        is_alive = service.processes() == processes
    found = json.loads(told)
    answers = Counter[str]()
    for counts in found["answers"].values():
        answers.update(counts)
    yield {
        "what": "hostile requests",
        "seed": seed,
        "seconds": seconds,
        "number": sum(found["sent"].values()),
        "sent": found["sent"],
        "answers": dict(sorted(answers.items())),
        "answers_by_kind": found["answers"],
        "server_errors": sum(number for status, number in answers.items() if status.startswith("5")),
        "hung": answers["hung"],
        "not_as_it_should_be": found["errors"],
    }
    yield {
        "what": "honest callers",
        "callers": _HONEST_CALLERS,
        "without": without.to_json(),
        "beside": beside.to_json(),
    }
    yield {
        "what": "what is left",
        "pss_mb_before": round(before.pss_mb),
        "pss_mb_after": round(after.pss_mb),
        "pss_mb_by_process_before": before.pss_mb_by_process,
        "pss_mb_by_process_after": after.pss_mb_by_process,
        "open_files_before": before.open_files,
        "open_files_after": after.open_files,
        "connections_before": before.connections,
        "connections_after": after.connections,
        "processes_are_the_same": is_alive,
    }
