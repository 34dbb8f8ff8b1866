"""What grows with the length of the stream and with the number of labels, and what does not.

Run: ``python -m benchmarks.growth [--examples 100000 1000000] [--labels 1000 10000] [--features N]``

Guarded runs are learned from made-up codes (a place for each label, and noise): one for each number of
examples with the fewest labels, one for each number of labels with the fewest examples. Their beginning comes
through `learn`; the rest is journaled and learned batch by batch as there, but not predicted, to be quick.
Then, each in a process of its own:

open
    The run is brought back, as every command that writes does.
candidate
    More of the stream is learned, and the guard examines two candidates; the second is timed, as the first of
    a process also reads what the run holds back for exams.
forget
    One example is forgotten by its id, with its certificate: state, journal, checkpoints and versions.

Printed are seconds and the peak of the resident memory, and their ratios to the smallest run. What is learned
takes room, a row of sums for each label: the last columns say how large a saved state is, so that times and
memory that follow it can be told from those that should not. Of ten times the labels, everything that makes,
checks or writes a state has ten times the rows of it to go through; of ten times the examples, nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environment import environment_line
from everlearn.journal.records import After, Arrival, JournaledPrediction, NewStep
from everlearn.learning.run_learner import RunLearner
from everlearn.process_memory import peak_memory_mb
from everlearn.runtime.commands.learn import LearnRequest, learn_stream
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.fold.live_run import recovered_run
from everlearn.runtime.folder.versions import add_version
from everlearn.runtime.guard.guard import Guard, Verdict
from everlearn.stream import CodesWriter
from everlearn.tasks.exam_rows import hash_share
from everlearn.tasks.records import RunStatus
from everlearn.types import Code, Example

__all__ = ["main"]

CODE_SIZE = 32
EVERY = 4_000
BEGINNING = 2 * EVERY
BATCH = 2_000
KEPT_VERSIONS = 2
PARTS = ("open", "candidate", "forget")


def main() -> None:
    """Learn the runs, measure each figure in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--examples", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--labels", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--features", type=int, default=128)
    parser.add_argument("--work", type=Path, help="folder for the runs (default: a temporary one, removed)")
    parser.add_argument("--measure", choices=("learn", *PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        size = (options.examples[0], options.labels[0])
        print(json.dumps(measure(options.measure, options.run, *size, options.features)))
        return
    print(environment_line(), flush=True)
    with tempfile.TemporaryDirectory(prefix="everlearn-growth-", dir=options.work) as folder:
        report(Path(folder), options.examples, options.labels, options.features)


def report(folder: Path, examples: list[int], labels: list[int], features: int) -> None:
    """Measure all runs, the smallest first, and print a row for each as it is there."""
    sizes = [(examples[0], labels[0])]
    sizes += [(one, labels[0]) for one in examples[1:]] + [(examples[0], one) for one in labels[1:]]
    head = ["examples", "labels", *(f"{one}: s, MB" for one in ("learn", *PARTS)), "state MB", "journal MB"]
    print("| " + " | ".join(head) + " |\n|" + " ---: |" * len(head), flush=True)
    base: list[float] = []
    for num_examples, num_labels in sizes:
        run = folder / f"{num_examples}-{num_labels}"
        figures: list[float] = []
        for part in ("learn", *PARTS):
            found = in_own_process(part, run, num_examples, num_labels, features)
            figures += [found["seconds"], found["peak_mb"]]
        figures.append(max(one.stat().st_size for one in (run / "checkpoints").iterdir()) / 1e6)
        figures.append((run / "journal.sqlite").stat().st_size / 1e6)
        print(_line(f"{num_examples:,}", f"{num_labels:,}", [f"{one:.2f}" for one in figures]), flush=True)
        base = base or figures
        if base is not figures:
            ratios = [f"{one / first:.2f}x" for one, first in zip(figures, base, strict=True)]
            print(_line("", "", ratios), flush=True)


def _line(examples: str, labels: str, figures: list[str]) -> str:
    pairs = [", ".join(figures[k : k + 2]) for k in range(0, len(figures) - 2, 2)]
    return "| " + " | ".join([examples, labels, *pairs, *figures[-2:]]) + " |"


def in_own_process(part: str, run: Path, num_examples: int, num_labels: int, features: int) -> dict[str, Any]:
    """A figure of a run, by a fresh process.

    Raises:
        RuntimeError: It failed; the message holds what it wrote to standard error.
    """
    command = [sys.executable, "-m", "benchmarks.growth", "--measure", part, "--run", str(run)]
    command += ["--examples", str(num_examples), "--labels", str(num_labels), "--features", str(features)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} exited with {done.returncode}:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def measure(part: str, run: Path, num_examples: int, num_labels: int, features: int) -> dict[str, float]:
    """Seconds of a part, and the peak memory of this process."""
    began = time.perf_counter()
    if part == "learn":
        learn(run, range(BEGINNING), num_labels, features)
        extend(run, range(BEGINNING, num_examples), num_labels)
    elif part == "open":
        with recovered_run(run):
            seconds = time.perf_counter() - began
    elif part == "candidate":
        seconds = candidate_seconds(run, num_examples, num_labels, features)
    else:
        middle = next(one for one in range(num_examples // 2, num_examples))
        outcome = forget_in_run(run, ids=[_id(middle)])
        assert outcome.num_forgotten == 1
    if part in ("learn", "forget"):
        seconds = time.perf_counter() - began
    return {"seconds": round(seconds, 3), "peak_mb": round(peak_memory_mb(), 1)}


def candidate_seconds(run: Path, num_examples: int, num_labels: int, features: int) -> float:
    """Seconds of the second candidate of a process, from the settled state to the decision."""
    seconds: list[float] = []
    consider = Guard.consider

    def timed(self: Guard, learner: RunLearner, status: Callable[[], RunStatus]) -> Verdict:
        began = time.perf_counter()
        verdict = consider(self, learner, status)
        seconds.append(time.perf_counter() - began)
        return verdict

    Guard.consider = timed  # type: ignore[method-assign]
    learn(run, range(num_examples, num_examples + 2 * EVERY), num_labels, features)
    return seconds[1]


def learn(run: Path, numbers: range, num_labels: int, features: int) -> None:
    """Learn examples of these numbers into a run, under a guard."""
    codes = run.with_name(f"{run.name}-{numbers.start}.parquet")
    with CodesWriter(codes, coder_fingerprint="growth", coder_config={}, dense_size=CODE_SIZE) as writer:
        for batch in made_up(numbers, num_labels):
            writer.write(batch)
    settings = {
        "learner.closed_form.num_features": features,
        "learner.closed_form.max_classes": num_labels,
        "stream.batch_size": BATCH,
        "guard.enabled": True,
        "guard.every": EVERY,
        "run.keep_versions": KEPT_VERSIONS,
    }
    learn_stream(LearnRequest(stream=str(codes), out=run, settings=settings))
    codes.unlink()


def extend(run: Path, numbers: range, num_labels: int) -> None:
    """Journal and learn more examples of a run, and make a version of what it holds then."""
    with recovered_run(run) as opened:
        folder, journal, learner = opened.folder, opened.folder.journal, opened.learner
        share = folder.config.guard.share
        for batch in made_up(numbers, num_labels):
            arrivals = [
                Arrival(
                    one,
                    "exam" if hash_share(one.id, "exam") < share else "learn",
                    JournaledPrediction(one.target, 0.5, 0.5, None, False),
                )
                for one in batch
            ]
            span = journal.next_offset, journal.next_offset + len(batch) - 1
            step = journal.append(NewStep(arrivals=arrivals, learned=span), keep_text=False)
            learner.learn([one.example for one in arrivals if one.role == "learn"])
            opened.scores.counts.examples += len(batch)
            if span[1] % EVERY == 0:
                surprise = {"examples": EVERY, "contradicted": 0, "p_value": 1.0}
                folder.history.decide(
                    step=step.step,
                    first_step=step.step - EVERY // BATCH + 1,
                    kind="guard",
                    verdict="accepted",
                    reason="made up",
                    numbers={"surprise": surprise},
                )
        journal.append(NewStep(after=After(settle=True)), keep_text=False)
        learner.settle()
        for _ in range(KEPT_VERSIONS):
            saved = folder.save(learner.state(), opened.status(learner))
            version = add_version(
                folder,
                file=saved.file,
                fingerprint=learner.fingerprint(),
                num_examples=learner.num_examples,
                reason="made up",
                scores={},
                author="guard",
            )
            folder.serve(version.version)
        folder.prune()


def made_up(numbers: range, num_labels: int) -> Iterator[list[Example]]:
    """Examples with codes: each label has a place and words of its own."""
    places = np.random.default_rng(0).integers(-60, 61, (num_labels, CODE_SIZE))
    for start in range(numbers.start, numbers.stop, BATCH):
        generator = np.random.default_rng([1, start])
        count = min(BATCH, numbers.stop - start)
        labels = generator.integers(0, num_labels, count)
        dense = np.clip(places[labels] + generator.integers(-30, 31, (count, CODE_SIZE)), -127, 127)
        words = np.sort(generator.integers(0, 2_000, (count, 3)), axis=1).astype(np.uint32)
        words[:, 2] = 10_000 + labels
        yield [
            Example(
                id=_id(start + k),
                target=f"label {labels[k]}",
                code=Code(dense[k].astype(np.int8), np.unique(words[k]), _weights(words[k])),
            )
            for k in range(count)
        ]


def _id(number: int) -> str:
    return f"example:{number}"


def _weights(words: np.ndarray[Any, np.dtype[np.uint32]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    count = len(np.unique(words))
    return np.full(count, round(255 / count**0.5), np.uint8)


if __name__ == "__main__":
    main()
