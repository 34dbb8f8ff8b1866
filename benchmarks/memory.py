"""Peak memory after streams of several lengths with the same classes.

Run: ``python -m benchmarks.memory [--data DIR] [--examples 20000 60000 200000]``

The texts are those of CLINC150's training part in turn, each time with other ids and one other word in
ten, so that codes, grams and ids keep being new while the classes stay.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from benchmarks.command_line import run_json, scratch_folder
from benchmarks.datasets import load_rows
from benchmarks.environment import environment_line

__all__ = ["main"]


def main() -> None:
    """Stream each length and print by how much the peak has grown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--examples", type=int, nargs="+", default=[20_000, 60_000, 200_000])
    options = parser.parse_args()
    print(environment_line(), flush=True)
    folder = scratch_folder()
    peaks: list[float] = []
    for num in options.examples:
        path = folder / f"{num}.jsonl"
        _write_stream(path, num, options.data)
        summary = run_json(["learn", path, "--out", folder / str(num), "--id-field", "id"])
        peaks.append(summary["peak_memory_mb"])
        grown = "" if len(peaks) == 1 else f", {100 * (peaks[-1] / peaks[-2] - 1):.2f} % more"
        rate = summary["examples_per_second"]
        print(f"{num:7} examples: peak {peaks[-1]:.1f} MB{grown}, {rate:.0f}/s", flush=True)


def _write_stream(path: Path, num: int, data: str | None) -> None:
    rows = load_rows("clinc150", "train", data)
    words = sorted({word for row in rows for word in row.text.split()})
    generator = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for k in range(num):
            if k % len(rows) == 0:
                generator.shuffle(rows)
            row = rows[k % len(rows)]
            text = " ".join(
                w if generator.random() > 0.1 else generator.choice(words) for w in row.text.split()
            )
            file.write(json.dumps({"id": f"m{k}", "text": text, "label": row.label}) + "\n")


if __name__ == "__main__":
    main()
