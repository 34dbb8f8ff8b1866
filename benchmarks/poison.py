"""What wrong labels do to the model that is served, with the guard and without it.

Run: ``python -m benchmarks.poison [--data DIR] [--scenarios NAME ...] [--seeds N ...] [--mixed]
[--chart FILE.svg]``

CLINC150 in random order. Bursts of 500 consecutive examples pass through a fault that changes a share of
their labels (20 %, 50 %, 100 %):

* ``bursts``: three bursts; the labels are permuted among the examples.
* ``default``, ``shifted``, ``permuted``: the fault lasts. From 5,130 on the first half of every 1,000
  examples passes through it: all get one default label, or the next in the alphabet, or permuted labels.

Every 500 examples the model that would be served then is scored on the clean test set: without guard the
learner's newest state, with guard the version accepted last. Each is compared at the same offset with the run
of the same kind over the clean stream.

With ``--mixed`` the guarded runs learn each target 50 examples later, a tenth of the targets come later still
or are corrections, and everything is verified; in the end the wrongly labelled examples that were learned are
deleted, and it is verified again. Exits with 1 where that does not hold.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.codes_files import read_codes, write_codes
from benchmarks.command_line import run_json, scratch_folder
from benchmarks.datasets import split_path
from benchmarks.environment import environment_line
from benchmarks.later_targets import with_later_targets
from benchmarks.poison_chart import Course, Panel, write_chart
from everlearn.journal.standing.held import held_examples
from everlearn.learning.closed_form import ClosedFormLearner
from everlearn.models import CoderConfig
from everlearn.runtime.commands.learn import LearnRequest, learn_stream
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.verify import verify_run
from everlearn.stream import CodesSource
from everlearn.types import Example, Predictor

__all__ = ["main"]

EVERY = 500
BURST = 500
BATCH = 250
DELAY = 50  # with --mixed
SHARES = (0.2, 0.5, 1.0)
SCORED_FROM = 3_000  # before, nothing is wrong yet and the clean curves are steep
CHARTED = ("bursts", "default")

Fault = Callable[[list[str], list[str], random.Random], list[str]]


def permuted(labels: list[str], known: list[str], generator: random.Random) -> list[str]:
    """Random noise: the same labels at other examples."""
    wrong = list(labels)
    generator.shuffle(wrong)
    return wrong


def default(labels: list[str], known: list[str], generator: random.Random) -> list[str]:
    """A broken source that writes its default value."""
    return [known[0]] * len(labels)


def shifted(labels: list[str], known: list[str], generator: random.Random) -> list[str]:
    """A mapping from numbers to labels that is off by one."""
    following = dict(zip(known, [*known[1:], known[0]], strict=True))
    return [following[label] for label in labels]


@dataclass(frozen=True, slots=True)
class Scenario:
    """What goes wrong, and where.

    Attributes:
        title: In words.
        fault: Makes wrong labels of right ones.
        starts: Where the bursts begin.
    """

    title: str
    fault: Fault
    starts: Sequence[int]


_LASTING = range(5_130, 14_500, 1_000)  # off the guard's intervals: a fault does not wait for a candidate
SCENARIOS = {
    "bursts": Scenario("three bursts, permuted labels", permuted, (5_130, 8_000, 11_260)),
    "default": Scenario("lasting fault, one default label", default, _LASTING),
    "shifted": Scenario("lasting fault, labels shifted by one", shifted, _LASTING),
    "permuted": Scenario("lasting fault, permuted labels", permuted, _LASTING),
}


def main() -> None:
    """Run all, print the table, and draw the chart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="orders of the stream")
    parser.add_argument("--guard-every", type=int, default=EVERY, help="examples between two candidates")
    parser.add_argument("--chart", type=Path, help="draw the first seed's courses into this SVG file")
    parser.add_argument("--mixed", action="store_true", help="delays, corrections and deletions too")
    options = parser.parse_args()
    print(environment_line(), flush=True)
    folder = scratch_folder()
    sets = {}
    for split in ("train", "test"):
        path = folder / f"{split}.parquet"
        run_json(["encode", split_path("clinc150", split, options.data), "--out", path])
        sets[split] = path
    test = read_codes(sets["test"])
    courses: list[Course] = []
    for seed in options.seeds:
        stream = read_codes(sets["train"])
        random.Random(seed).shuffle(stream)
        cells = [("clean", 0.0), *((name, share) for name in options.scenarios for share in SHARES)]
        for name, share in cells:
            wrong = stream if name == "clean" else with_fault(stream, SCENARIOS[name], share, seed)
            off = unguarded(Course(name, share, False, seed), stream, wrong, test)
            on = Course(name, share, True, seed)
            on = guarded(
                on, stream, wrong, test, sets["train"], folder, options.guard_every, is_mixed=options.mixed
            )
            courses += [off, on]
            print(json.dumps([_figures(courses, [one]) for one in (off, on)]), flush=True)
    print(table(courses))
    if options.chart is not None:
        write_chart(options.chart, panels(courses), BURST)


def with_fault(stream: Sequence[Example], scenario: Scenario, share: float, seed: int) -> list[Example]:
    """The stream with a share of the labels changed within each burst."""
    generator = random.Random(seed + 1)
    known = sorted({str(one.target) for one in stream})
    changed = list(stream)
    for start in scenario.starts:
        chosen = generator.sample(range(start, start + BURST), round(BURST * share))
        labels = scenario.fault([str(changed[k].target) for k in chosen], known, generator)
        for k, label in zip(chosen, labels, strict=True):
            changed[k] = changed[k].with_target(label)
    return changed


def unguarded(
    course: Course, clean: Sequence[Example], stream: Sequence[Example], test: Sequence[Example]
) -> Course:
    """The learner's newest state, solved at each offset."""
    dense = stream[0].code
    assert dense is not None
    learner = ClosedFormLearner(
        dense_size=len(dense.dense), leading_size=384, sketch_size=CoderConfig().sketch_size
    )
    accuracies = {}
    for start in range(0, len(stream), BATCH):
        learner.learn(stream[start : start + BATCH])
        if (start + BATCH) % EVERY == 0 and start + BATCH > SCORED_FROM:
            learner.settle()
            accuracies[start + BATCH] = accuracy(learner, test)
    return replace(course, accuracies=accuracies, num_wrong=num_wrong(clean, stream))


def guarded(
    course: Course,
    clean: Sequence[Example],
    stream: Sequence[Example],
    test: Sequence[Example],
    like: Path,
    folder: Path,
    guard_every: int,
    *,
    is_mixed: bool = False,
) -> Course:
    """A run with the guard; each version is scored from its checkpoint."""
    codes, run = folder / "poisoned.parquet", folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    write_codes(codes, with_later_targets(stream, course.seed) if is_mixed else stream, CodesSource(like))
    learn_stream(
        LearnRequest(
            stream=str(codes),
            out=run,
            settings={
                "guard.enabled": True,
                "guard.every": guard_every,
                "run.keep_versions": 1_000,
                "stream.batch_size": BATCH,
                "stream.delay": DELAY if is_mixed else 0,
            },
        )
    )
    with RunFolder.open_to_read(run) as opened:
        journal = opened.journal
        learner = opened.fresh_learner()
        versions = {}
        for version in opened.history.versions():
            last = "SELECT MAX(last_offset) FROM steps WHERE step <= ?"
            versions[int(journal.database.one(last, (version.step,))[0])] = version
        scores: dict[int, float] = {}
        accuracies = {}
        for offset in range(SCORED_FROM + EVERY, len(stream) + 1, EVERY):
            newest = max(at for at in versions if at <= offset)
            if newest not in scores:
                file = versions[newest].file
                assert file is not None
                learner.restore(opened.checkpoints.load(file).learner)
                scores[newest] = accuracy(learner, test)
            accuracies[offset] = scores[newest]
        served = [one for _, one in held_examples(journal, versions[newest].step, with_codes=False)]
        decisions = [one for one in opened.history.decisions() if one.kind == "guard"]
    if is_mixed:
        without_wrong(run, clean)
    return replace(
        course,
        accuracies=accuracies,
        num_wrong=num_wrong(clean, served),
        num_rejected=sum(one.verdict == "rejected" for one in decisions),
        num_candidates=len(decisions),
    )


def without_wrong(run: Path, clean: Sequence[Example]) -> None:
    """Delete what a run has learned with another label than its own; it must hold before and after.

    Raises:
        SystemExit: It does not.
    """
    labels = {one.id: one.target for one in clean}
    failed = verify_run(run).failed
    wrong = [one.id for one in _held(run) if one.target != labels[one.id]]
    if wrong:
        forget_in_run(run, ids=wrong)
        failed += verify_run(run).failed
    if failed or any(one.target != labels[one.id] for one in _held(run)):
        raise SystemExit(f"DOES NOT HOLD: {'; '.join(failed) or 'a copy is left'}")


def _held(run: Path) -> list[Example]:
    with RunFolder.open_to_read(run) as folder:
        return [one for _, one in held_examples(folder.journal, with_codes=False)]


def num_wrong(clean: Sequence[Example], learned: Sequence[Example]) -> int:
    """How many examples were learned with another label than theirs."""
    labels = {one.id: one.target for one in clean}
    return sum(one.target != labels[one.id] for one in learned)


def accuracy(predictor: Predictor, test: Sequence[Example]) -> float:
    """Percent of a test set that is predicted right."""
    predictions = predictor.predict(test)
    return 100.0 * float(
        np.mean([one.label == example.target for one, example in zip(predictions, test, strict=True)])
    )


def table(courses: Sequence[Course]) -> str:
    """Markdown: how far each course falls below the clean one, without → with guard; over the seeds."""
    rows = [
        "| scenario | wrong labels | largest drop | mean drop | at the end | wrong labels learned "
        "| candidates rejected |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, share in dict.fromkeys((one.scenario, one.share) for one in courses):
        kinds = [one for one in courses if (one.scenario, one.share) == (name, share)]
        off, on = (_figures(courses, [one for one in kinds if one.has_guard is has]) for has in (False, True))
        rows.append(
            f"| {name} | {share:.0%} | {off['largest_drop']:.2f} → {on['largest_drop']:.2f} "
            f"| {off['mean_drop']:.2f} → {on['mean_drop']:.2f} | {off['at_end']:.2f} → {on['at_end']:.2f} "
            f"| {off['wrong']:,} → {on['wrong']:,} | {on['rejected']} of {on['candidates']} |"
        )
    return "\n".join(rows)


def _figures(courses: Sequence[Course], same: Sequence[Course]) -> dict[str, Any]:
    """The largest drop of all seeds; means of what else there is, sums of the guard's decisions."""
    drops = []
    for course in same:
        clean = next(
            one
            for one in courses
            if (one.scenario, one.has_guard, one.seed) == ("clean", course.has_guard, course.seed)
        )
        first = min(SCENARIOS[course.scenario].starts) if course.scenario in SCENARIOS else 0
        drops += [clean.accuracies[at] - score for at, score in course.accuracies.items() if at > first]
    return {
        "scenario": same[0].scenario,
        "share": same[0].share,
        "guard": same[0].has_guard,
        "largest_drop": round(max(drops), 2),
        "mean_drop": round(float(np.mean(drops)), 2),
        "at_end": round(float(np.mean([list(one.accuracies.values())[-1] for one in same])), 2),
        "wrong": round(float(np.mean([one.num_wrong for one in same]))),
        "rejected": sum(one.num_rejected for one in same),
        "candidates": sum(one.num_candidates for one in same),
    }


def panels(courses: Sequence[Course]) -> list[list[Panel]]:
    """A column of the chart a scenario, a row a share; of the first seed."""
    found = {(one.scenario, one.share, one.has_guard): one for one in reversed(courses)}
    return [
        [
            Panel(
                f"{SCENARIOS[name].title}: {share:.0%} wrong",
                (found["clean", 0.0, False], found[name, share, False], found[name, share, True]),
                SCENARIOS[name].starts,
            )
            for share in SHARES
        ]
        for name in CHARTED
        if (name, SHARES[0], True) in found
    ]


if __name__ == "__main__":
    main()
