"""Texts a second: predicting and learning beside ``SentenceTransformer.encode`` alone, in one run.

Run: ``python -m benchmarks.throughput [--data DIR] [--threads 2] [--repeat 3]``

Both use the same model and the same number of threads, alternate, and are timed in processes of their own
(loading excluded). The ratio is of medians. Needs ``pip install 'everlearn[benchmarks]'``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.command_line import run_json, scratch_folder
from benchmarks.datasets import load_rows, split_path
from benchmarks.environment import describe_environment, environment_line

__all__ = ["main"]


def main() -> None:
    """Alternate both and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--set", default="clinc150")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--reference", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reference:
        print(json.dumps(_reference(options.set, options.data, options.threads)))
        return
    versions = ("torch", "transformers", "numpy", "sentence-transformers")
    print(environment_line(describe_environment(versions) | {"threads": options.threads}), flush=True)
    train = split_path(options.set, "train", options.data)
    references: list[float] = []
    shuffled: list[dict[str, Any]] = []
    by_class: list[dict[str, Any]] = []
    for _ in range(options.repeat):
        references.append(_reference_process(options))
        print(f"SentenceTransformer.encode      {references[-1]:7.0f} texts/s", flush=True)
        for order, results in (("shuffled", shuffled), ("by-class", by_class)):
            results.append(_ours(train, order, options.threads))
    reference = statistics.median(references)
    for order, results in (("shuffled", shuffled), ("by-class", by_class)):
        rate = statistics.median(result["examples_per_second"] for result in results)
        share = statistics.median(result["learn_seconds"] / result["encode_seconds"] for result in results)
        print(
            f"{order}: predict and learn {rate:.0f} texts/s = {rate / reference:.2f} x encoding alone there "
            f"({reference:.0f}); learning adds {100 * share:.1f} % to encoding"
        )


def _ours(train: Path, order: str, threads: int) -> dict[str, Any]:
    arguments: list[str | Path] = [
        "learn",
        train,
        "--order",
        order,
        "--threads",
        str(threads),
        "--out",
        scratch_folder() / "run",
    ]
    if order == "by-class":
        arguments += ["--experiences", "10"]
    summary = run_json(arguments)
    print(
        f"everlearn learn, {order:9}      {summary['examples_per_second']:7.0f} texts/s  "
        f"(seconds: encode {summary['encode_seconds']:.2f}, "
        f"predict {summary['predict_seconds']:.2f}, learn {summary['learn_seconds']:.2f})",
        flush=True,
    )
    return summary


def _reference_process(options: argparse.Namespace) -> float:
    command = [sys.executable, "-m", "benchmarks.throughput", "--reference", "--set", options.set]
    command += ["--threads", str(options.threads)] + (["--data", options.data] if options.data else [])
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    rate: float = json.loads(done.stdout.strip().split("\n")[-1])
    return rate


def _reference(name: str, data: str | None, threads: int) -> float:
    import time

    import torch
    from sentence_transformers import SentenceTransformer

    from everlearn.models.storage.folder import find_model_folder

    torch.set_num_threads(threads)
    texts = [row.text for row in load_rows(name, "train", data)]
    model = SentenceTransformer(str(find_model_folder("minilm")[1]), device="cpu")
    model.encode(texts[:256])
    start = time.perf_counter()
    model.encode(texts)
    return len(texts) / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
