"""One fingerprint, whatever the order, batch size, threads and number of merged learners.

Run: ``python -m benchmarks.exactness [--data DIR] [--set clinc150] [--examples N] [--texts N] [--parts …]``

1. ``everlearn encode`` once; the codes (N examples from all over the set, 0: all) are learned in three
   orders, at batch sizes 1, 32 and 256, with 1 and 2 threads, and as four runs merged.
2. 500 random ids are forgotten; the fingerprint must be that of a run without them.
3. The same from texts with ``--batch-invariant`` (the first N texts, 0: all of them), and what that
   costs.
4. Late targets, corrections, delays and deletions mixed, in several orders and batches: the fingerprint must
   be that of a run of what remains. With a guard too, whose run must equal one of just what it holds. Every
   run is verified after each deletion.

Exits with 1 if any fingerprint differs.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.codes_files import read_codes, write_codes
from benchmarks.command_line import run_json, scratch_folder
from benchmarks.datasets import split_path
from benchmarks.environment import environment_line
from benchmarks.later_targets import with_later_targets
from everlearn.journal.standing.held import held_examples
from everlearn.runtime.commands.learn import LearnRequest, learn_stream
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.verify import verify_run
from everlearn.stream import CodesSource
from everlearn.types import Example

__all__ = ["MIXTURES", "Mixture", "main", "mixed"]


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--set", default="clinc150")
    parser.add_argument("--texts", type=int, default=0, help="only so many in part 3; 0: all")
    parser.add_argument("--parts", type=int, nargs="+", choices=(1, 2, 3, 4), default=[1, 2, 3, 4])
    parser.add_argument("--examples", type=int, default=0, help="only so many in parts 1, 2 and 4; 0: all")
    options = parser.parse_args()
    print(environment_line(), flush=True)
    folder = scratch_folder()
    train = split_path(options.set, "train", options.data)
    codes = _encoded(train, folder, options.examples)
    same = True
    if 1 in options.parts:
        same &= _from_codes(codes, folder)
    if 2 in options.parts:
        same &= _forgetting(codes, folder)
    if 3 in options.parts:
        same &= _from_texts(train, folder, options.texts)
    if 4 in options.parts:
        same &= mixed(codes, folder)
    print("all equal" if same else "FINGERPRINTS DIFFER")
    sys.exit(0 if same else 1)


def _encoded(train: Path, folder: Path, num_examples: int) -> Path:
    """The codes of so many examples of a set (0: of all), as a file; they are from all over it."""
    codes = folder / "codes.parquet"
    run_json(["encode", train, "--out", codes])
    if not num_examples:
        return codes
    examples = read_codes(codes)
    some = folder / "some.parquet"
    write_codes(some, examples[:: max(1, len(examples) // num_examples)][:num_examples], CodesSource(codes))
    return some


def _learn(stream: Path, out: Path, *extra: str) -> str:
    summary = run_json(["learn", stream, "--out", out, *extra])
    fingerprint: str = summary["fingerprint"]
    rate = summary["examples_per_second"]
    print(f"{fingerprint[:16]}  {summary['examples']} examples  {rate:.0f}/s  {' '.join(extra)}", flush=True)
    return fingerprint


def _from_codes(codes: Path, folder: Path) -> bool:
    print("\nfrom codes")
    prints = set()
    orders = (("--order", "by-class", "--experiences", "10"), ("--order", "shuffled"))
    for k, (order, batch, threads) in enumerate(itertools.product(orders, (1, 32, 256), (1, 2))):
        settings = (*order, "--batch-size", str(batch), "--threads", str(threads))
        prints.add(_learn(codes, folder / f"codes-{k}", *settings))
    for k, (batch, threads) in enumerate(itertools.product((1, 32, 256), (1, 2))):
        prints.add(
            _learn(codes, folder / f"as-is-{k}", "--batch-size", str(batch), "--threads", str(threads))
        )
    parts = [folder / f"part-{k}.parquet" for k in range(4)]
    _write_parts(codes, parts)
    runs = []
    for k, part in enumerate(parts):
        runs.append(folder / f"quarter-{k}")
        _learn(part, runs[-1])
    merged = run_json(["merge", *runs, "--out", folder / "merged"])["fingerprint"]
    print(f"{merged[:16]}  four runs merged")
    return _equal({*prints, merged})


def _forgetting(codes: Path, folder: Path) -> bool:
    print("\n500 forgotten")
    examples = read_codes(codes)
    gone = {example.id for example in random.Random(0).sample(examples, 500)}
    whole, without = folder / "whole", folder / "without"
    _learn(codes, whole)
    report = run_json(["forget", whole, *itertools.chain(*(("--id", id_) for id_ in sorted(gone)))])
    rest = folder / "rest.parquet"
    write_codes(rest, [example for example in examples if example.id not in gone], CodesSource(codes))
    after = report["fingerprint_after"]
    print(f"{after[:16]}  after forgetting {report['forgotten']}")
    return _equal({_learn(rest, without), after})


def _from_texts(train: Path, folder: Path, num_texts: int) -> bool:
    print("\nfrom texts, --batch-invariant")
    with gzip.open(train, "rt", encoding="utf-8", newline="\n") as file:
        records = [{"id": f"t{k}", **json.loads(line)} for k, line in enumerate(file)]
    records = records[: num_texts or None]
    prints = set()
    for seed, batch, threads in ((None, 256, 2), (1, 32, 1), (2, 100, 2)):
        if seed is not None:
            random.Random(seed).shuffle(records)
        path = folder / f"texts-{seed}.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        settings = ("--batch-invariant", "--batch-size", str(batch), "--threads", str(threads))
        prints.add(_learn(path, folder / f"texts-{seed}", *settings))
    path = folder / "texts-None.jsonl"
    fixed = run_json(["learn", path, "--out", folder / "fixed", "--batch-invariant"])["encode_seconds"]
    free = run_json(["learn", path, "--out", folder / "free"])["encode_seconds"]
    print(f"encoding takes {fixed / free:.2f} times as long that way ({fixed:.1f} s, {free:.1f} s)")
    return _equal(prints)


@dataclass(frozen=True, slots=True)
class Mixture:
    """How one run of part 4 takes the stream.

    Attributes:
        seed: Of the order, and of what comes late or is corrected.
        batch: Examples a batch.
        delay: Examples between an example and its turn.
        has_guard: Whether a guard examines it.
    """

    seed: int
    batch: int
    delay: int
    has_guard: bool = False


MIXTURES = (
    Mixture(1, 32, 0),
    Mixture(2, 250, 50),
    Mixture(3, 100, 500),
    Mixture(4, 32, 50, has_guard=True),
    Mixture(5, 100, 120, has_guard=True),
)


def mixed(
    codes: Path,
    folder: Path,
    mixtures: Sequence[Mixture] = MIXTURES,
    *,
    learner: Mapping[str, object] | None = None,
) -> bool:
    """Part 4; returns whether everything holds.

    Args:
        codes: The codes file.
        folder: For the runs.
        mixtures: How it is taken.
        learner: Settings of the learner.
    """
    print("\nlate targets, corrections, delays, deletions")
    examples = read_codes(codes)
    gone = random.Random(0).sample([one.id for one in examples], len(examples) // 20)
    sizes = dict(learner or {})
    guard = {"guard.enabled": True, "guard.every": max(50, len(examples) // 20)}

    def learned(name: str, part: Sequence[Example], settings: Mapping[str, object]) -> str:
        stream = folder / f"{name}-{len(list(folder.glob(f'{name}-*.parquet')))}.parquet"
        write_codes(stream, part, CodesSource(codes))
        summary = learn_stream(
            LearnRequest(stream=str(stream), out=folder / name, settings={**sizes, **settings})
        ).summary
        return str(summary["fingerprint"])

    plain = learned("rest", [one for one in examples if one.id not in set(gone)], {})
    prints, holds = {plain}, True
    for one in mixtures:
        name, order = f"mixed-{one.seed}", list(examples)
        random.Random(one.seed).shuffle(order)
        records = with_later_targets(order, one.seed)
        middle, half = len(records) // 2, len(gone) // 2
        settings = {
            "stream.batch_size": one.batch,
            "stream.delay": one.delay,
            **(guard if one.has_guard else {}),
        }
        for part, ids in ((records[:middle], gone[:half]), (records[middle:], gone)):
            learned(name, part, settings)
            after = forget_in_run(folder / name, ids=ids).fingerprint_after
            holds &= _verified(folder / name)
        print(f"{after[:16]}  {one}", flush=True)
        if one.has_guard:
            holds &= _equal({after, learned(f"held-{one.seed}", _held(folder / name), {})})
        else:
            prints.add(after)
    return _equal(prints) and holds


def _verified(run: Path) -> bool:
    found = verify_run(run)
    for one in found.failed:
        print(f"DOES NOT HOLD: {one}", flush=True)
    return found.is_valid


def _held(run: Path) -> list[Example]:
    with RunFolder.open_to_read(run) as folder:
        return [one for _, one in held_examples(folder.journal)]


def _equal(prints: set[str]) -> bool:
    print("equal" if len(prints) == 1 else f"DIFFERENT: {sorted(prints)}", flush=True)
    return len(prints) == 1


def _write_parts(codes: Path, parts: list[Path]) -> None:
    examples = read_codes(codes)
    for k, part in enumerate(parts):
        write_codes(part, examples[k :: len(parts)], CodesSource(codes))


if __name__ == "__main__":
    main()
