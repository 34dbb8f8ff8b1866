"""Accuracy while a stream is learned, and what it costs, beside simple learners of the same codes.

Run: ``python -m benchmarks.freshness [--data DIR] [--sets NAME ...] [--orders random by-class]
[--batches 1 16 256] [--first N] [--rivals] [--chart FILE.svg] [--courses FILE.svg]``

Texts are encoded once. Each batch is predicted, then learned, on one thread; the time of both is counted,
that of encoding is not. Beside it:

* ``solved``: solved with settings of its own after every batch (batches of 16 or more);
* ``class mean``, ``neighbour``: the nearest class mean or example, by the cosine of the encoder's last layer;
* ``logistic``: logistic regression on the same, fitted anew after every batch (batches of 16 or more; slow).

``demo`` is the stream that comes with the package.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from benchmarks.codes_files import read_codes
from benchmarks.command_line import run_json, scratch_folder
from benchmarks.datasets import split_path
from benchmarks.environment import environment_line
from benchmarks.line_chart import Line, Panel, write_chart
from everlearn.demo_data import support_desk_stream
from everlearn.evaluation import baselines
from everlearn.evaluation.baselines import unit_vectors
from everlearn.learning import ClosedFormLearner
from everlearn.models import CoderConfig
from everlearn.types import Example

__all__ = ["main"]

LEADING = 384
_STYLES = {
    "everlearn": ("#0b6bcb", ""),
    "solved": ("#e07a1f", "6 3"),
    "class mean": ("#888888", "2 3"),
    "neighbour": ("#55a868", "2 3"),
    "logistic": ("#c44e52", "6 3"),
}


_LEAST_POWER = -2
_COST_TICKS = ("0.01", "0.1", "1", "10", "100")
_COST_TITLE = "Prequential accuracy in %, and milliseconds that predicting and learning an example take"


class Learner(Protocol):
    """What is compared."""

    def guess(self, batch: Sequence[Example]) -> list[str | None]:
        """Labels."""
        ...

    def learn(self, batch: Sequence[Example]) -> None:
        """Learn."""
        ...


class Fresh:
    """The closed-form learner; ``is_solved``: settled before each prediction."""

    def __init__(self, like: Example, *, is_solved: bool = False) -> None:
        assert like.code is not None
        self._learner = ClosedFormLearner(
            dense_size=len(like.code.dense), leading_size=LEADING, sketch_size=CoderConfig().sketch_size
        )
        self._is_solved = is_solved

    def guess(self, batch: Sequence[Example]) -> list[str | None]:
        """Labels."""
        if self._is_solved:
            self._learner.settle()
        return [prediction.label for prediction in self._learner.predict(batch)]

    def learn(self, batch: Sequence[Example]) -> None:
        """Learn."""
        self._learner.learn(batch)


class Embeddings:
    """What simple learners have: unit vectors of everything learned, and labels."""

    def __init__(self) -> None:
        self.vectors = np.zeros((0, LEADING), dtype=np.float32)
        self.labels: list[str] = []

    def learn(self, batch: Sequence[Example]) -> None:
        """Learn."""
        self.vectors = np.concatenate([self.vectors, unit_vectors(batch, LEADING)])
        self.labels += [str(example.target) for example in batch]


class Neighbour(Embeddings):
    """The label of the nearest example."""

    def guess(self, batch: Sequence[Example]) -> list[str | None]:
        """Labels."""
        if not self.labels:
            return [None] * len(batch)
        return [self.labels[k] for k in (unit_vectors(batch, LEADING) @ self.vectors.T).argmax(axis=1)]


class ClassMean(baselines.ClassMean):
    """The label of the nearest mean, as the reports of runs have it."""

    def __init__(self) -> None:
        super().__init__(LEADING)

    def guess(self, batch: Sequence[Example]) -> list[str | None]:
        """Labels."""
        return self.predict(batch)


class Logistic(Embeddings):
    """Logistic regression, fitted anew after every batch."""

    def guess(self, batch: Sequence[Example]) -> list[str | None]:
        """Labels."""
        from sklearn.linear_model import LogisticRegression

        if len(set(self.labels)) < 2:
            return [self.labels[0] if self.labels else None] * len(batch)
        fitted = LogisticRegression(C=10.0, max_iter=200).fit(self.vectors, self.labels)
        return [str(label) for label in fitted.predict(unit_vectors(batch, LEADING))]


def prequential(
    learner: Learner, stream: Sequence[Example], batch: int
) -> tuple[list[tuple[int, float]], float]:
    """The course of the accuracy so far, and milliseconds an example."""
    num_right, seconds, course = 0, 0.0, []
    for start in range(0, len(stream), batch):
        some = stream[start : start + batch]
        started = time.perf_counter()
        guessed = learner.guess(some)
        learner.learn(some)
        seconds += time.perf_counter() - started
        num_right += sum(label == one.target for label, one in zip(guessed, some, strict=True))
        course.append((start + len(some), 100 * num_right / (start + len(some))))
    return course, 1_000 * seconds / len(stream)


def streams(options: argparse.Namespace) -> Iterator[tuple[str, str, list[Example]]]:
    """Each set in each order."""
    folder = scratch_folder()
    for name in options.sets:
        path = support_desk_stream() if name == "demo" else split_path(name, "train", options.data)
        codes = folder / f"{name}.parquet"
        run_json(["encode", path, "--out", codes])
        examples = [example for example in read_codes(codes) if example.target is not None]
        for order in ["as it comes"] if name == "demo" else options.orders:
            stream = list(examples)
            if order != "as it comes":
                random.Random(0).shuffle(stream)
            if order == "by-class":
                stream.sort(key=lambda example: str(example.target))
            yield name, order, stream[: options.first or None]


def _made(what: str, like: Example) -> Learner:
    if what in ("everlearn", "solved"):
        return Fresh(like, is_solved=what == "solved")
    simple: dict[str, type[ClassMean | Neighbour | Logistic]] = {
        "class mean": ClassMean,
        "neighbour": Neighbour,
        "logistic": Logistic,
    }
    return simple[what]()


def main() -> None:
    """Run all, print a line each, and draw the chart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--sets", nargs="+", default=["demo", "banking77", "clinc150"])
    parser.add_argument("--orders", nargs="+", choices=("random", "by-class"), default=["random", "by-class"])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 256])
    parser.add_argument("--first", type=int, default=0, help="only so many examples of each; 0: all")
    parser.add_argument("--rivals", nargs="*", choices=[*_STYLES][1:], default=["class mean", "neighbour"])
    parser.add_argument("--chart", type=Path, help="draw cost against accuracy into this SVG file")
    parser.add_argument("--courses", type=Path, help="draw the course of the accuracy into this one")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(environment_line(), flush=True)
    panels: list[Panel] = []
    all_figures: list[dict[str, Any]] = []
    for name, order, stream in streams(options):
        for batch in options.batches:
            lines = []
            for what in ["everlearn", *options.rivals]:
                if what in ("solved", "logistic") and batch < 16:
                    continue
                made = _made(what, stream[0])
                course, milliseconds = prequential(made, stream, batch)
                lines.append(Line(what, course))
                figures = {
                    "set": name,
                    "order": order,
                    "batch": batch,
                    "learner": what,
                    "examples": len(stream),
                    "accuracy": round(course[-1][1], 2),
                    "ms_an_example": round(milliseconds, 2),
                }
                print(json.dumps(figures), flush=True)
                all_figures.append(figures)
            panels.append(Panel(f"{name}, {order}, batches of {batch}", lines))
    if options.chart is not None:
        write_chart(options.chart, cost_panels(all_figures), _STYLES, _COST_TITLE)
    if options.courses is not None:
        write_chart(options.courses, panels, _STYLES, "Accuracy so far while a stream is learned, in %")


def cost_panels(figures: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """A panel a stream: milliseconds that an example costs, on a scale of powers of ten, and the accuracy.

    A learner's points are its batches, the largest first: from left to right where smaller ones cost more.
    """
    streams: dict[str, dict[str, list[tuple[int, float, float]]]] = {}
    for one in figures:
        across = max(0.0, math.log10(max(one["ms_an_example"], 1e-9)) - _LEAST_POWER)
        of_stream = streams.setdefault(f"{one['set']}, {one['order']}", {})
        of_stream.setdefault(one["learner"], []).append((-one["batch"], across, one["accuracy"]))
    return [
        Panel(
            f"{name}: accuracy (%) by ms an example",
            [Line(learner, [point[1:] for point in sorted(points)]) for learner, points in learners.items()],
            ticks=_COST_TICKS,
        )
        for name, learners in streams.items()
    ]


if __name__ == "__main__":
    main()
