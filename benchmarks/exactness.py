"""One fingerprint, whatever the order, batch size, threads and number of merged learners.

Run: ``python -m benchmarks.exactness [--data DIR] [--set clinc150] [--texts N]``

1. ``everlearn encode`` once; the codes are learned in three orders, at batch sizes 1, 32 and 256,
   with 1 and 2 threads, and as four runs merged.
2. 500 random ids are forgotten; the fingerprint must be that of a run without them.
3. The same from texts with ``--batch-invariant`` (the first N texts, 0: all of them), and what that
   costs.

Exits with 1 if any fingerprint differs.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import random
import sys
from pathlib import Path

from benchmarks.codes_files import read_codes, write_codes
from benchmarks.command_line import run_json, scratch_folder
from benchmarks.datasets import split_path
from benchmarks.environment import environment_line
from everlearn.stream import CodesSource

__all__ = ["main"]


def main() -> None:
    """Run the three parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--set", default="clinc150")
    parser.add_argument("--texts", type=int, default=0)
    parser.add_argument("--parts", type=int, nargs="+", choices=(1, 2, 3), default=[1, 2, 3])
    options = parser.parse_args()
    print(environment_line(), flush=True)
    folder = scratch_folder()
    train = split_path(options.set, "train", options.data)
    codes = folder / "codes.parquet"
    run_json(["encode", train, "--out", codes])
    same = True
    if 1 in options.parts:
        same &= _from_codes(codes, folder)
    if 2 in options.parts:
        same &= _forgetting(codes, folder)
    if 3 in options.parts:
        same &= _from_texts(train, folder, options.texts)
    print("all equal" if same else "FINGERPRINTS DIFFER")
    sys.exit(0 if same else 1)


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


def _equal(prints: set[str]) -> bool:
    print("equal" if len(prints) == 1 else f"DIFFERENT: {sorted(prints)}", flush=True)
    return len(prints) == 1


def _write_parts(codes: Path, parts: list[Path]) -> None:
    examples = read_codes(codes)
    for k, part in enumerate(parts):
        write_codes(part, examples[k :: len(parts)], CodesSource(codes))


if __name__ == "__main__":
    main()
