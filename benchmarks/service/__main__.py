"""``python -m benchmarks.service``: load, learning beside, changes, a hub, a long load, hostile senders."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.environment import environment_line
from benchmarks.service.changes import changes
from benchmarks.service.charts import draw
from benchmarks.service.described import described
from benchmarks.service.embeddings import embeddings
from benchmarks.service.fuzz import fuzz
from benchmarks.service.learning_beside import corrections, learning_beside
from benchmarks.service.single_texts import single_texts
from benchmarks.service.soak import soak
from benchmarks.service.starting import starting
from benchmarks.service.tenants import tenants

_PARTS = (
    "load",
    "learning",
    "corrections",
    "changes",
    "hub",
    "soak",
    "fuzz",
    "schema",
    "embeddings",
    "starting",
)


def main() -> None:
    """Print one JSON object a line, after a line that says on what machine."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.service")
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=_PARTS)
    parser.add_argument("--examples", type=int, default=5_000, help="that the served run has learned")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load, and of hostile senders")
    parser.add_argument("--workers", type=int, default=2, help="prediction processes")
    parser.add_argument("--requests", type=int, default=100_000, help="of the part changes")
    parser.add_argument("--tenants", type=int, default=200, help="of the part hub")
    parser.add_argument("--labels-a-second", type=int, default=50, help="of the part learning")
    parser.add_argument("--minutes", type=float, default=15.0, help="of the part soak")
    parser.add_argument(
        "--folder", type=Path, help="for runs and hubs, which are kept; default: a temporary one"
    )
    parser.add_argument("--seed", type=int, default=0, help="of what fuzz and schema draw")
    parser.add_argument("--cases", type=int, default=100, help="of each operation, of the part schema")
    parser.add_argument(
        "--peers",
        type=Path,
        nargs="?",
        const=Path(".venv-peers-service"),
        help="beside a peer, of the part embeddings; its environment: make peers-service",
    )
    parser.add_argument("--chart", type=Path, metavar="FOLDER", help="for a chart of each part (SVG)")
    asked = parser.parse_args()
    print(environment_line(), flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for part in asked.parts:
            rows = []
            for told in _part(part, folder, asked):
                print(json.dumps({"part": part, **told}), flush=True)
                rows.append(told)
            if asked.chart is not None:
                draw(asked.chart, part, rows)


def _part(part: str, folder: Path, asked: argparse.Namespace) -> Iterator[dict[str, Any]]:
    match part:
        case "load":
            return single_texts(folder, asked.examples, asked.seconds, asked.workers)
        case "learning":
            return learning_beside(
                folder, asked.examples, asked.seconds, asked.workers, asked.labels_a_second
            )
        case "corrections":
            return corrections(folder, asked.examples, asked.workers)
        case "changes":
            return changes(folder, asked.examples, asked.requests, asked.workers)
        case "hub":
            return tenants(folder, asked.tenants, asked.seconds, asked.workers)
        case "embeddings":
            return embeddings(folder, asked.examples, asked.seconds, asked.workers, asked.peers)
        case "schema":
            return described(folder, asked.examples, asked.workers, asked.cases, asked.seed)
        case "starting":
            return starting(folder, asked.examples)
        case "fuzz":
            return fuzz(folder, asked.examples, asked.seconds, asked.workers, asked.seed)
    return soak(folder, asked.examples, asked.minutes, asked.workers)


if __name__ == "__main__":
    main()
