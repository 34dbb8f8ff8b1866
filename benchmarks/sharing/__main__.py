"""What sharing costs and saves.

Run: ``python -m benchmarks.sharing [--parts memory ...] [--data DIR] [--processes 8] [--predictions 1000]``

* ``memory``: processes that predict on one trunk, and as many with a copy each; see ``memory.py``.
* ``mixed``: texts of 64 adapters in one batch, beside one adapter for all, and peft; see ``mixed.py``.
* ``adapted``: the same of a hub's tenants, beside an encoder for each; see ``adapted_tenants.py``.
* ``learners``: language models that learn with adapters on one base; see ``learners.py``.
* ``publish``: versions published while readers predict and are killed; see ``publish.py``.
* ``tenants``: a thousand tenants: memory, latency, traffic in less memory; see ``tenants.py``.
* ``pool``: prediction processes; see ``pool.py``.
* ``tied``: encoders whose layers share weights; see ``tied.py``.
* ``tied-language``: the same of SmolLM2; see ``tied_language.py``.
* ``residency``: what stays in memory, simulated beside LRU and LFU; see ``residency.py``.

Each part prints one line of JSON for each figure.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.environment import environment_line
from benchmarks.sharing import (
    adapted_tenants,
    learners,
    memory,
    mixed,
    pool,
    publish,
    residency,
    tenants,
    tied,
    tied_language,
)

PARTS = {
    "memory": memory.figures,
    "publish": publish.figures,
    "mixed": mixed.figures,
    "adapted": adapted_tenants.figures,
    "learners": learners.figures,
    "tenants": tenants.figures,
    "pool": pool.figures,
    "tied": tied.figures,
    "tied-language": tied_language.figures,
    "residency": residency.figures,
}


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--predictions", type=int, default=1000, help="of each process")
    parser.add_argument("--publishes", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tenants", type=int, default=1000)
    parser.add_argument("--unique", type=int, nargs="+", default=[4, 3, 2], help="layers with own weights")
    parser.add_argument("--ranks", type=int, nargs="*", default=[0, 8, 32])
    parser.add_argument("--steps", type=int, default=2000, help="of healing")
    parser.add_argument(
        "--models", type=Path, help="folder of tied models, which an earlier run may have made"
    )
    parser.add_argument("--chart", help="SVG of the figures of tenants, or of tied")
    parser.add_argument("--hub", type=Path, help="a hub that an earlier run of that part has made")
    parser.add_argument("--learners", type=int, default=8)
    options = parser.parse_args()
    print(environment_line(), flush=True)
    for part in options.parts:
        for figure in PARTS[part](options):
            print(json.dumps({"part": part, **figure}), flush=True)


if __name__ == "__main__":
    main()
