"""Experience replay here and in Avalanche, side by side: same model, stream, memory, batches and rates.

Run: ``make peers``, then ``python -m benchmarks.gradient_replay [--data DIR] [--threads 1]``

CLINC150 in ten experiences by class, one pass, memory 1,500, batches of 32 fresh and 32 replayed examples,
all parameters of all-MiniLM-L6-v2 and a linear head, AdamW. Both run at the same time, each with
its own threads, so that noise of the machine hits both. Times are of training alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from pathlib import Path

import torch

from benchmarks.datasets import load_rows
from benchmarks.environment import describe_environment, environment_line
from everlearn.learning import GradientConfig, GradientLearner
from everlearn.methods import create_method
from everlearn.models import load_trunk
from everlearn.stream.order import arrange
from everlearn.types import Example

__all__ = ["main"]

PEER_PYTHON = Path(".venv-peers/bin/python")
ENCODER_RATE, HEAD_RATE, BATCH_SIZE, MEMORY_SIZE = 4e-5, 2e-3, 32, 1500


def main() -> None:
    """Run both and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peer-python", type=Path, default=PEER_PYTHON)
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(environment_line(describe_environment()), flush=True)
    peer = _start_avalanche(options)
    seconds, accuracy = _ours(options)
    print(f"everlearn: test accuracy {100 * accuracy:.2f} %, {seconds:.0f} s", flush=True)
    output, errors = peer.communicate()
    if peer.returncode != 0:
        raise SystemExit(f"Avalanche failed:\n{errors[-2000:]}")
    theirs = json.loads(output.strip().split("\n")[-1])
    print(f"Avalanche: test accuracy {100 * theirs['test_accuracy']:.2f} %, {theirs['seconds']:.0f} s")
    print(f"time, ours / theirs: {seconds / theirs['seconds']:.3f}")


def _start_avalanche(options: argparse.Namespace) -> subprocess.Popen[str]:
    command = [str(options.peer_python), "-m", "benchmarks.peers.avalanche_replay", "--dataset", "clinc150"]
    command += ["--threads", str(options.threads), "--json", "--fused"]
    command += ["--batch-size", str(BATCH_SIZE), "--memory-size", str(MEMORY_SIZE), "--weight-decay", "0"]
    command += ["--encoder-learning-rate", str(ENCODER_RATE), "--head-learning-rate", str(HEAD_RATE)]
    if options.data:
        command += ["--data", options.data]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def _ours(options: argparse.Namespace) -> tuple[float, float]:
    def examples(part: str) -> list[Example]:
        rows = load_rows("clinc150", part, options.data)
        return [Example(id=row.id, text=row.text, target=row.label) for row in rows]

    test = examples("test")
    replay = create_method("replay", {"memory_examples": MEMORY_SIZE, "num_replayed": BATCH_SIZE, "seed": 0})
    config = GradientConfig(
        learning_rate=ENCODER_RATE,
        head_learning_rate=HEAD_RATE,
        max_length=64,
        dtype=options.dtype,
        train_mode=True,  # with dropout, as Avalanche trains
    )
    learner = GradientLearner.for_text(load_trunk(dtype="float32"), config, [replay])
    start = time.perf_counter()
    for experience in arrange(examples("train"), "by-class", 10, seed=0):
        for first in range(0, len(experience.examples), BATCH_SIZE):
            learner.learn(experience.examples[first : first + BATCH_SIZE])
        print(f"  {experience.name}: {time.perf_counter() - start:.0f} s", flush=True)
    seconds = time.perf_counter() - start
    right = 0
    for first in range(0, len(test), 256):
        batch = test[first : first + 256]
        right += sum(p.label == e.target for p, e in zip(learner.predict(batch), batch, strict=True))
    return seconds, right / len(test)


if __name__ == "__main__":
    main()
