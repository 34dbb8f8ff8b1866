"""Memory and time of many closed-form learners of few examples each, in one process.

Run: ``python -m benchmarks.small_learners [--learners 1000] [--examples 300] [--labels 20]``

Codes are like those of an encoder with five layers of 384 numbers and texts of a dozen words, drawn at random
around a centre for each label; every learner has its own. No encoder is loaded: what is printed comes on top
of one. Memory is what the process has resident, above what it had before the first learner.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.environment import environment_line
from everlearn.learning import ClosedFormConfig, ClosedFormLearner
from everlearn.process_memory import give_large_blocks_back, return_free_memory
from everlearn.types import Code, Example

__all__ = ["main"]

LEADING_SIZE = 384
SKETCH_SIZE = 1024
DENSE_SIZE = 5 * LEADING_SIZE + SKETCH_SIZE
WORDS = 12


def main() -> None:
    """Learn, predict, settle and predict again, and print memory and time after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--learners", type=int, default=1000)
    parser.add_argument("--examples", type=int, default=300)
    parser.add_argument("--labels", type=int, default=20)
    options = parser.parse_args()
    print(environment_line(), flush=True)
    give_large_blocks_back()
    _settled(60)
    _show_settling((60, 300, 1000))

    start = _resident_mb()
    learners = [_new_learner() for _ in range(options.learners)]

    def after(name: str, do: Callable[[int, ClosedFormLearner], object]) -> None:
        began = time.perf_counter()
        for number, learner in enumerate(learners):
            do(number, learner)
        each = (time.perf_counter() - began) / len(learners)
        return_free_memory()
        print(f"{name:34} {_resident_mb() - start:7.0f} MB {1000 * each:8.1f} ms a learner", flush=True)

    def learn(number: int, learner: ClosedFormLearner) -> None:
        learner.learn(_examples(options.examples, options.labels, number))

    def predict(number: int, learner: ClosedFormLearner) -> None:
        learner.predict(_examples(1, options.labels, number, first=options.examples))

    print(f"{options.learners} learners of {options.examples} examples and {options.labels} labels")
    after("learned", learn)
    after("one prediction each", predict)
    after("one more", predict)
    after("settled", lambda _, learner: learner.settle())
    after("one prediction each", predict)
    size = sum(tensor.nbytes for tensor in learners[0].state().tensors.values())
    print(f"a saved state: {size / 1e6:.2f} MB")


def _show_settling(sizes: Sequence[int]) -> None:
    for num in sizes:
        times = sorted(_settled(num) for _ in range(3))
        print(f"settling {num:5} examples: {1000 * times[0]:7.1f} ms", flush=True)


def _settled(num: int) -> float:
    learner = _new_learner()
    learner.learn(_examples(num, 20, 0))
    began = time.perf_counter()
    learner.settle()
    return time.perf_counter() - began


def _new_learner() -> ClosedFormLearner:
    return ClosedFormLearner(
        dense_size=DENSE_SIZE,
        leading_size=LEADING_SIZE,
        sketch_size=SKETCH_SIZE,
        config=ClosedFormConfig(),
    )


def _examples(num: int, num_labels: int, seed: int, *, first: int = 0) -> list[Example]:
    labels_B = np.arange(first, first + num) % num_labels
    centres = np.random.default_rng(seed).standard_normal((num_labels, DENSE_SIZE), dtype=np.float32)
    generator = np.random.default_rng([seed, first])
    vectors = 18.8 * generator.standard_normal((num, DENSE_SIZE), dtype=np.float32) + 7 * centres[labels_B]
    dense = np.clip(np.rint(vectors), -127, 127).astype(np.int8)
    words = generator.integers(0, 2000, (num, WORDS)).astype(np.uint32) * np.uint32(2654435761)
    examples = []
    for k, label in enumerate(labels_B.tolist()):
        grams = np.unique(words[k])
        values = np.full(len(grams), round(255 / len(grams) ** 0.5), np.uint8)
        code = Code(dense[k].copy(), grams, values)
        examples.append(Example(id=f"e{first + k}", target=f"label {label}", code=code))
    return examples


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
