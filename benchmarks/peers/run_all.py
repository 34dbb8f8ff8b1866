"""Run the light peers one after another and collect their JSON lines; Avalanche is run by itself.

Run: ``.venv-peers/bin/python -m benchmarks.peers.run_all --out peers.jsonl``

Results that the file already has are not measured again, so a broken run can go on. Each measurement is a
process of its own; one that takes too long leaves a line with ``stopped_after_seconds`` instead of figures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["DATASETS", "PEERS", "main"]

DATASETS = ("trec_questions", "snips", "banking77", "clinc150", "20newsgroups")
ORDERS = ("by-class", "shuffled")
PEERS = {
    "vowpal_wabbit": ("oaa", "oaa-logistic", "oaa-hinge", "ect"),
    "frozen_encoder": ("class-mean", "sgd-log", "sgd-hinge", "passive-aggressive"),
    "river_text": ("multinomial-nb", "complement-nb", "softmax", "passive-aggressive-one-vs-rest"),
    "sklearn_hashed": ("sgd-log", "passive-aggressive", "complement-nb"),
}
"""The learners that are measured, by module of this package."""


def main() -> None:
    """Measure what the file lacks and append it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="file of JSON lines, appended to")
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--cache", type=Path, default=Path(".peer-embeddings"), help="kept embeddings")
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS))
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--models", nargs="+", help="only these of the peers' learners")
    parser.add_argument("--orders", nargs="+", choices=ORDERS, default=list(ORDERS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one measurement at most")
    options = parser.parse_args()
    done = _measured(options.out)
    for dataset in options.datasets:
        for module in options.peers:
            for model in PEERS[module]:
                for order in options.orders:
                    key = (module, model, dataset, order, options.seed)
                    if key in done or (options.models and model not in options.models):
                        continue
                    record = _measure(module, model, dataset, order, options)
                    with options.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(record) + "\n")
                    accuracy = record.get("test_accuracy")
                    print(module, model, dataset, order, "stopped" if accuracy is None else accuracy)


def _measured(path: Path) -> set[tuple[str, str, str, str, int]]:
    if not path.exists():
        return set()
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    return {
        (record["module"], record["model"], record["dataset"], record["order"], record["seed"])
        for record in records
    }


def _measure(
    module: str, model: str, dataset: str, order: str, options: argparse.Namespace
) -> dict[str, Any]:
    known = {"module": module, "model": model, "dataset": dataset, "order": order, "seed": options.seed}
    command = [sys.executable, "-m", f"benchmarks.peers.{module}", "--json", "--model", model]
    command += ["--dataset", dataset, "--order", order]
    command += ["--seed", str(options.seed), "--threads", str(options.threads)]
    if options.data is not None:
        command += ["--data", options.data]
    if module == "frozen_encoder":
        command += ["--cache", str(options.cache)]
    threads = {"OMP_NUM_THREADS": str(options.threads), "TOKENIZERS_PARALLELISM": "false"}
    try:
        finished = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            text=True,
            timeout=options.timeout,
            check=True,
            env={**os.environ, **threads},
        )
    except subprocess.TimeoutExpired:
        return {**known, "stopped_after_seconds": options.timeout}
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return {**known, **result}


if __name__ == "__main__":
    main()
