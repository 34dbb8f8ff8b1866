"""The textbook exercise: an encoder with a linear head, trained one document at a time by SGD.

Run: ``python -m benchmarks.textbook [--data DIR] [--threads 1] [--max-length 128]``

20 Newsgroups, shuffled, one pass, all parameters of all-MiniLM-L6-v2, with and without experience replay
(memory 1,500, one replayed document a step), tested on the official test part; beside it the closed-form
learner at batch 256. Seconds are processor seconds of learning, with one thread steadier than wall time (for
the closed-form learner: encoding, predicting, learning).
"""

from __future__ import annotations

import argparse
import time

import torch

from benchmarks.command_line import run_json, scratch_folder
from benchmarks.datasets import load_rows, split_path
from benchmarks.environment import describe_environment, environment_line
from everlearn.learning import GradientConfig, GradientLearner
from everlearn.methods import create_method
from everlearn.models import load_trunk
from everlearn.stream.order import arrange
from everlearn.types import Example

__all__ = ["main"]

NAME = "20newsgroups"


def main() -> None:
    """Run the variants and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--max-length", type=int, default=128, help="tokens read by the gradient learner")
    parser.add_argument("--limit", type=int, help="documents to learn (default: all)")
    parser.add_argument("--only", choices=("sgd", "replay", "closed-form"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(environment_line(describe_environment()), flush=True)
    rows = []
    if options.only in (None, "sgd"):
        rows.append(("SGD, one document at a time", *_sgd(options, replay=False)))
    if options.only in (None, "replay"):
        rows.append(("SGD with replay", *_sgd(options, replay=True)))
    if options.only in (None, "closed-form"):
        rows.append(("closed form", *_closed_form(options)))
    print("| learner | test accuracy % | seconds |\n|---|---|---|")
    for name, accuracy, seconds in rows:
        print(f"| {name} | {100 * accuracy:.2f} | {seconds:.0f} |")


def _sgd(options: argparse.Namespace, *, replay: bool) -> tuple[float, float]:
    methods = []
    if replay:
        methods.append(create_method("replay", {"memory_examples": 1500, "num_replayed": 1, "seed": 0}))
    config = GradientConfig(
        optimizer="sgd", learning_rate=5e-3, head_learning_rate=5e-2, max_length=options.max_length
    )
    learner = GradientLearner.for_text(load_trunk(dtype="float32"), config, methods)
    train = arrange(_examples("train", options.data), "shuffled", 1, seed=0)[0].examples[: options.limit]
    start = time.process_time()
    for k, example in enumerate(train):
        learner.learn([example])
        if k % 1000 == 999:
            print(f"  {k + 1} documents, {time.process_time() - start:.0f} s", flush=True)
    seconds = time.process_time() - start
    test = _examples("test", options.data)
    right = 0
    for first in range(0, len(test), 64):
        batch = test[first : first + 64]
        right += sum(p.label == e.target for p, e in zip(learner.predict(batch), batch, strict=True))
    return right / len(test), seconds


def _closed_form(options: argparse.Namespace) -> tuple[float, float]:
    train, test = (split_path(NAME, part, options.data) for part in ("train", "test"))
    threads = str(options.threads)
    summary = run_json(
        [
            "learn",
            train,
            "--order",
            "shuffled",
            "--test",
            test,
            "--threads",
            threads,
            "--out",
            scratch_folder() / "run",
        ]
    )
    return summary["test_accuracy"], sum(
        summary[f"{work}_seconds"] for work in ("encode", "predict", "learn")
    )


def _examples(part: str, data: str | None) -> list[Example]:
    return [Example(id=row.id, text=row.text, target=row.label) for row in load_rows(NAME, part, data)]


if __name__ == "__main__":
    main()
