"""Load by wrk: a number of callers, each of which asks again as soon as it is answered."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.service.started import wrk_path

__all__ = ["Load", "load", "write_bodies"]

_SCRIPT = """
local bodies = {{}}
for line in io.lines("{bodies}") do bodies[#bodies + 1] = line end
local n = {start}
request = function()
  n = (n % #bodies) + 1
  return wrk.format("POST", "{path}", {{["Content-Type"] = "application/json"}}, bodies[n])
end
done = function(summary, latency, requests)
  local e = summary.errors
  io.write("\\n" .. string.format('{{"requests": %d, "seconds": %.3f, "p50_ms": %.2f, "p99_ms": %.2f, ' ..
    '"max_ms": %.2f, "errors": %d}}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    latency.max / 1e3, e.connect + e.read + e.write + e.timeout + e.status) .. "\\n")
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What came of a load.

    Attributes:
        per_second: Requests answered.
        p50_ms: Median time to an answer.
        p99_ms: 99 of 100 are answered within it.
        max_ms: All are.
        errors: Requests that failed.
        requests: All.
    """

    per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    errors: int
    requests: int

    def to_json(self) -> dict[str, Any]:
        """As printed."""
        return {
            "per_second": round(self.per_second, 1),
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "max_ms": self.max_ms,
            "errors": self.errors,
            "requests": self.requests,
        }


def write_bodies(path: Path, bodies: Sequence[dict[str, Any]]) -> Path:
    """Bodies of requests, one a line."""
    path.write_text("".join(json.dumps(body, ensure_ascii=False) + "\n" for body in bodies), encoding="utf-8")
    return path


def load(url: str, path: str, bodies: Path, *, callers: int, seconds: float, start: int = 0) -> Load:
    """Let callers ask for a while.

    Args:
        url: Whom.
        path: What.
        bodies: A file of ``write_bodies``, of which each takes the next.
        callers: How many.
        seconds: How long.
        start: The body to begin behind.
    """
    script = bodies.with_suffix(".lua")
    script.write_text(_SCRIPT.format(bodies=bodies, path=path, start=start), encoding="utf-8")
    done = subprocess.run(
        [wrk_path(), "-t1", f"-c{callers}", f"-d{seconds:g}s", "--timeout", "30s", "-s", str(script), url],
        check=True,
        capture_output=True,
        text=True,
    )
    told = json.loads(done.stdout.strip().splitlines()[-1])
    return Load(
        told["requests"] / told["seconds"],
        told["p50_ms"],
        told["p99_ms"],
        told["max_ms"],
        told["errors"],
        told["requests"],
    )
