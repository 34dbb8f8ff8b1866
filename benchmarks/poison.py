"""What wrong labels do to the model that is served, with the guard and without it.

Run: ``python -m benchmarks.poison [--data DIR] [--chart FILE.html]``

CLINC150 in random order. In bursts of 500 consecutive examples a share of the labels (20 %, 50 %, 100 %) is
permuted among them. Every 500 examples the model that would be served then is scored on the clean test set:
without guard the learner's newest state, with guard the version accepted last. Each is compared at the same
offset with the run of the same kind over the clean stream. A last run has no bursts and four times as many
candidates: how many are rejected for nothing?
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.codes_files import read_codes, write_codes
from benchmarks.command_line import run_json, scratch_folder
from benchmarks.datasets import split_path
from benchmarks.environment import environment_line
from benchmarks.poison_chart import Course, write_chart
from everlearn.learning.closed_form import ClosedFormLearner
from everlearn.runtime.learn import LearnRequest, learn_stream
from everlearn.runtime.learners import rebuild_learner
from everlearn.runtime.run_folder import RunFolder
from everlearn.stream import CodesSource
from everlearn.types import Example, Predictor

__all__ = ["main"]

EVERY = 500
BURST = 500
BATCH = 250
SHARES = (0.2, 0.5, 1.0)
SEED = 0


def main() -> None:
    """Run all, print the table, and draw the chart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--bursts", type=int, nargs="+", default=[5_130, 8_000, 11_260])
    parser.add_argument("--chart", type=Path, help="draw the courses into this SVG file")
    options = parser.parse_args()
    print(environment_line(), flush=True)
    folder = scratch_folder()
    sets = {}
    for split in ("train", "test"):
        path = folder / f"{split}.parquet"
        run_json(["encode", split_path("clinc150", split, options.data), "--out", path])
        sets[split] = path
    stream, test = read_codes(sets["train"]), read_codes(sets["test"])
    random.Random(SEED).shuffle(stream)
    courses: list[Course] = []
    for share in (0.0, *SHARES):
        poisoned = with_bursts(stream, options.bursts, share)
        name = f"{share:.0%} wrong" if share else "clean"
        courses.append(unguarded(f"{name}, no guard", poisoned, test))
        courses.append(guarded(f"{name}, guard", poisoned, test, sets["train"], folder))
        print(json.dumps({"name": name, **_against_clean(courses, options.bursts)}), flush=True)
    print(table(courses, options.bursts))
    if options.chart is not None:
        write_chart(options.chart, courses, options.bursts, BURST)


def with_bursts(stream: Sequence[Example], bursts: Sequence[int], share: float) -> list[Example]:
    """The stream with a share of the labels permuted within each burst."""
    generator = random.Random(SEED + 1)
    poisoned = list(stream)
    for start in bursts:
        chosen = generator.sample(range(start, start + BURST), round(BURST * share))
        labels = [poisoned[k].target for k in chosen]
        generator.shuffle(labels)
        for k, label in zip(chosen, labels, strict=True):
            poisoned[k] = poisoned[k].with_target(label)
    return poisoned


def unguarded(name: str, stream: Sequence[Example], test: Sequence[Example]) -> Course:
    """The learner's newest state, solved at each offset."""
    dense = stream[0].code
    assert dense is not None
    learner = ClosedFormLearner(dense_size=len(dense.dense), leading_size=384)
    offsets, accuracies = [], []
    for start in range(0, len(stream), BATCH):
        learner.learn(stream[start : start + BATCH])
        if (start + BATCH) % EVERY == 0:
            learner.settle()
            offsets.append(start + BATCH)
            accuracies.append(accuracy(learner, test))
    return Course(name, tuple(offsets), tuple(accuracies))


def guarded(
    name: str, stream: Sequence[Example], test: Sequence[Example], like: Path, folder: Path
) -> Course:
    """A run with the guard; each version is scored from its checkpoint."""
    codes, run = folder / "poisoned.parquet", folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    write_codes(codes, stream, CodesSource(like))
    learn_stream(
        LearnRequest(
            stream=str(codes),
            out=run,
            settings={
                "guard.enabled": True,
                "guard.every": EVERY,
                "run.keep_versions": 1_000,
                "stream.batch_size": BATCH,
            },
        )
    )
    with RunFolder.open_to_read(run) as opened:
        served: dict[int, float] = {}
        learner = rebuild_learner(opened.config, opened.record.learner, str(run))
        journal = opened.journal
        for version in opened.history.versions():
            assert version.file is not None
            learner.restore(opened.checkpoints.load(version.file).learner)
            last = journal.database.one(
                "SELECT MAX(last_offset) FROM steps WHERE step <= ?", (version.step,)
            )[0]
            served[last] = accuracy(learner, test)
        decisions = [one for one in opened.history.decisions() if one.kind == "guard"]
    offsets = tuple(range(EVERY, len(stream) + 1, EVERY))
    newest = [max((at for at in served if at <= offset), default=0) for offset in offsets]
    return Course(
        name,
        offsets,
        tuple(served.get(at, 0.0) for at in newest),
        sum(one.verdict == "rejected" for one in decisions),
        len(decisions),
    )


def accuracy(predictor: Predictor, test: Sequence[Example]) -> float:
    """Percent of a test set that is predicted right."""
    predictions = predictor.predict(test)
    return 100.0 * float(
        np.mean([one.label == example.target for one, example in zip(predictions, test, strict=True)])
    )


def table(courses: Sequence[Course], bursts: Sequence[int]) -> str:
    """Markdown: how far each course falls below the clean one of its kind."""
    rows = [
        "| wrong labels | guard | largest drop | mean drop | at the end | candidates rejected |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for k, course in enumerate(courses):
        drops = _drops(courses[k % 2], course, bursts)
        kind = "on" if k % 2 else "off"
        rejected = f"{course.num_rejected} of {course.num_candidates}" if k % 2 else ""
        rows.append(
            f"| {course.name.split(',')[0]} | {kind} | {max(drops):.2f} | {float(np.mean(drops)):.2f} | "
            f"{course.accuracies[-1]:.2f} | {rejected} |"
        )
    return "\n".join(rows)


def _drops(clean: Course, course: Course, bursts: Sequence[int]) -> list[float]:
    at_clean = dict(zip(clean.offsets, clean.accuracies, strict=True))
    return [
        at_clean[offset] - accuracy
        for offset, accuracy in zip(course.offsets, course.accuracies, strict=True)
        if offset > bursts[0]
    ]


def _against_clean(courses: Sequence[Course], bursts: Sequence[int]) -> dict[str, float]:
    off, on = courses[-2:]
    return {
        "no_guard_largest_drop": round(max(_drops(courses[0], off, bursts)), 2),
        "guard_largest_drop": round(max(_drops(courses[1], on, bursts)), 2),
        "rejected": on.num_rejected,
        "candidates": on.num_candidates,
    }


if __name__ == "__main__":
    main()
