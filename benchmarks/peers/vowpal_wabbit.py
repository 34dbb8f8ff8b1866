"""Vowpal Wabbit: hashed word 1-2-grams, one example at a time, tested before each is learned.

Run: ``.venv-peers/bin/python -m benchmarks.peers.vowpal_wabbit --dataset clinc150 --model oaa``

``--oaa`` and ``--ect`` must be told the number of labels before the first example.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from typing import Any

from vowpalwabbit import LabelType, Workspace

from benchmarks.peers.protocol import Stream, add_arguments, load_stream, print_result

__all__ = ["VowpalWabbitPeer", "main", "measure_in_one_pass"]

WORD = re.compile(r"\w+")


class VowpalWabbitPeer:
    """A workspace that reduces many classes to binary problems.

    Args:
        reduction: "oaa" (one against all; "oaa-logistic" and "oaa-hinge" with that loss instead of the
            squared one) or "ect" (error-correcting tournament).
        labels: All labels of the stream; they are numbered from 1.
        feature_bits: ``-b``: binary logarithm of the number of weights.
        learning_rate: ``-l``.
        seed: ``--random_seed``.
    """

    def __init__(
        self, reduction: str, labels: Sequence[str], *, feature_bits: int, learning_rate: float, seed: int
    ) -> None:
        self.name = f"vowpal wabbit {reduction}"
        self._labels = list(labels)
        self._numbers = {label: number for number, label in enumerate(labels, start=1)}
        kind, _, loss = reduction.partition("-")
        self.command = (
            f"--{kind} {len(labels)} --ngram 2 -b {feature_bits} -l {learning_rate} "
            f"--loss_function {loss or 'squared'} --random_seed {seed}"
        )
        self._workspace: Any = Workspace(f"{self.command} --quiet")

    def learn(self, text: str, label: str) -> str:
        """Learn one example; returns what was predicted before."""
        example = self._workspace.example(f"{self._numbers[label]} | {_words(text)}", LabelType.MULTICLASS)
        self._workspace.learn(example)
        number = int(example.get_multiclass_prediction())
        self._workspace.finish_example(example)
        return self._label(number)

    def predict(self, text: str) -> str:
        """Predict one text."""
        return self._label(int(self._workspace.predict(f"| {_words(text)}")))

    def _label(self, number: int) -> str:
        return self._labels[max(number, 1) - 1]


def measure_in_one_pass(peer: VowpalWabbitPeer, stream: Stream) -> dict[str, Any]:
    """As ``protocol.measure``; the prediction before learning is a by-product of learning here."""
    correct = 0
    learned = 0
    start, cpu_start = time.perf_counter(), time.process_time()
    for experience in stream.experiences:
        for row in experience:
            correct += peer.learn(row.text, row.label) == row.label
            learned += 1
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    start = time.perf_counter()
    test_correct = sum(peer.predict(row.text) == row.label for row in stream.test)
    return {
        "test_accuracy": round(test_correct / len(stream.test), 4),
        "prequential_accuracy": round(correct / learned, 4),
        "examples": learned,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu_seconds, 3),
        "examples_per_second": round(learned / seconds, 1),
        "test_seconds": round(time.perf_counter() - start, 3),
    }


def _words(text: str) -> str:
    # Words only: "|" and ":" have a meaning in the input format.
    return " ".join(WORD.findall(text.lower()))


def main() -> None:
    """Measure one reduction on one data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_arguments(parser, ["oaa", "oaa-logistic", "oaa-hinge", "ect"])
    parser.add_argument("--feature-bits", type=int, default=22)
    parser.add_argument("--learning-rate", type=float, default=0.5)
    options = parser.parse_args()
    stream = load_stream(options)
    peer = VowpalWabbitPeer(
        options.model,
        stream.labels,
        feature_bits=options.feature_bits,
        learning_rate=options.learning_rate,
        seed=options.seed,
    )
    result = measure_in_one_pass(peer, stream)
    print_result(
        peer.name,
        stream,
        result,
        settings={"command": peer.command},
        packages=["vowpalwabbit"],
        arguments=options,
    )


if __name__ == "__main__":
    main()
