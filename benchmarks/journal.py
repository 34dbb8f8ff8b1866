"""What the journal costs, and how quick it is to come back and to delete.

Run: ``python -m benchmarks.journal [--data DIR] [--parts overhead recovery deletion] [--examples N]``

overhead
    CLINC150 from texts at batch 256. In one process, blocks of batches go in turn through a learner with
    journaling (a transaction a batch, as in a run) and through one without; the ratio of their times is
    printed.
recovery
    N examples with codes are learned into a run, which is brought back from its newest checkpoint; then all
    checkpoints are deleted, and the run folds its journal from the beginning.
deletion
    1,000 random examples of that run are forgotten, and the certificate is checked by an independent fold.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.codes_files import read_codes, write_codes
from benchmarks.command_line import run_json, scratch_folder
from benchmarks.datasets import load_rows, split_path
from benchmarks.environment import environment_line
from everlearn.journal.journal import Journal
from everlearn.journal.records import Arrival, JournaledPrediction, NewStep
from everlearn.learning.closed_form import ClosedFormLearner
from everlearn.models.encoder.pool import ModelPool
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.fold.live_run import recovered_run
from everlearn.runtime.history.verify import verify_run
from everlearn.settings import ModelSettings
from everlearn.stream import CodesSource
from everlearn.tasks.classification.recorded_coder import load_text_coder
from everlearn.types import Example

__all__ = ["main"]

BATCH = 256
BLOCK = 8
PARTS = ("overhead", "recovery", "deletion")


def main() -> None:
    """Run the parts and print one JSON line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--examples", type=int, default=100_000)
    options = parser.parse_args()
    print(environment_line(), flush=True)
    folder = scratch_folder()
    if "overhead" in options.parts:
        print(json.dumps(overhead(folder, options.data)), flush=True)
    if {"recovery", "deletion"} & set(options.parts):
        run = learned_run(folder, options.data, options.examples)
        if "recovery" in options.parts:
            print(json.dumps(recovery(run)), flush=True)
        if "deletion" in options.parts:
            print(json.dumps(deletion(run, options.examples)), flush=True)


def overhead(folder: Path, data: str | None) -> dict[str, float]:
    """Seconds of blocks with and without journaling, in turn."""
    rows = load_rows("clinc150", "train", data)
    examples = [Example(id=row.id, text=row.text, target=row.label) for row in rows]
    random.Random(0).shuffle(examples)
    coder = load_text_coder(ModelSettings(), ModelPool())
    learners = {name: ClosedFormLearner(coder) for name in ("with", "without")}
    seconds = dict.fromkeys(learners, 0.0)
    in_journal = 0.0
    coder.encode([one.text or "" for one in examples[:BATCH]])  # the first batch pays for what is set up once
    with Journal.create(folder / "overhead.sqlite") as journal:
        for turn, start in enumerate(range(0, len(examples) - BATCH * BLOCK, BATCH * BLOCK)):
            # The tokenizer remembers words: who comes second in a block has it a little easier.
            for name, learner in sorted(learners.items(), reverse=turn % 2 == 1):
                began = time.perf_counter()
                for first in range(start, start + BATCH * BLOCK, BATCH):
                    batch = learner.prepare(examples[first : first + BATCH])
                    predictions = learner.predict(batch)
                    if name == "with":
                        at = time.perf_counter()
                        known = journal.known([one.id for one in batch])
                        assert not known
                        arrivals = [
                            Arrival(one, "learn", JournaledPrediction.of(said, one.target))
                            for one, said in zip(batch, predictions, strict=True)
                        ]
                        offset = journal.next_offset
                        journal.append(
                            NewStep(
                                source="clinc150",
                                progress={"cursor": {"line": first}},
                                arrivals=arrivals,
                                learned=(offset, offset + len(batch) - 1),
                            ),
                            keep_text=True,
                        )
                        in_journal += time.perf_counter() - at
                    learner.learn(batch)
                seconds[name] += time.perf_counter() - began
    return {
        "seconds_with_journal": round(seconds["with"], 2),
        "seconds_without": round(seconds["without"], 2),
        "slower_by": round(seconds["with"] / seconds["without"] - 1, 4),
        "share_in_journal": round(in_journal / seconds["with"], 4),
    }


def learned_run(folder: Path, data: str | None, count: int) -> Path:
    """A run that has learned ``count`` examples: CLINC150's codes, over and over with other ids and noise."""
    codes, many = folder / "codes.parquet", folder / "many.parquet"
    run_json(["encode", split_path("clinc150", "train", data), "--out", codes])
    once = read_codes(codes)
    generator = np.random.default_rng(0)
    examples = []
    for number in range(count):
        one = once[int(generator.integers(len(once)))]
        assert one.code is not None
        noise = generator.integers(-2, 3, size=len(one.code.dense))
        dense = np.clip(one.code.dense + noise, -127, 127).astype(np.int8)
        examples.append(replace(one, id=f"many:{number}", code=replace(one.code, dense=dense)))
    write_codes(many, examples, CodesSource(codes))
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    summary = run_json(["learn", many, "--out", run])
    print(json.dumps({"learned": summary["learned"], "seconds": summary["seconds"]}), flush=True)
    return run


def recovery(run: Path) -> dict[str, float]:
    """Seconds to bring the run back with and without its checkpoints."""
    began = time.perf_counter()
    with recovered_run(run) as opened:
        expected = opened.learner.fingerprint()
        from_checkpoint = time.perf_counter() - began
    for file in (run / "checkpoints").iterdir():
        file.unlink()
    began = time.perf_counter()
    with recovered_run(run) as opened:
        seconds = time.perf_counter() - began
        assert opened.learner.fingerprint() == expected
        opened.folder.save(opened.learner.state(), opened.status(opened.learner))
        num_examples = opened.recovered.num_examples
    return {
        "examples": num_examples,
        "seconds_from_the_beginning": round(seconds, 2),
        "seconds_from_checkpoint": round(from_checkpoint, 2),
    }


def deletion(run: Path, count: int) -> dict[str, float | bool]:
    """Seconds to forget 1,000 examples, and to verify it."""
    ids = [f"many:{number}" for number in random.Random(1).sample(range(count), 1_000)]
    began = time.perf_counter()
    outcome = forget_in_run(run, ids=ids)
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    verified = verify_run(run, certificate=outcome.certificate, ids=ids[:10])
    return {
        "deleted": outcome.num_forgotten,
        "seconds": round(seconds, 2),
        "verified": verified.is_valid,
        "verify_seconds": round(time.perf_counter() - began, 2),
        "bytes": (run / "journal.sqlite").stat().st_size,
    }


if __name__ == "__main__":
    main()
