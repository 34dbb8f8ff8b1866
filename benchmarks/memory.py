"""Peak memory after 20,000 and after 200,000 streamed examples with the same classes.

Run: ``python -m benchmarks.memory [--data DIR] [--small 20000] [--large 200000]``

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
    """Stream both lengths and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--small", type=int, default=20_000)
    parser.add_argument("--large", type=int, default=200_000)
    options = parser.parse_args()
    print(environment_line(), flush=True)
    folder = scratch_folder()
    peaks = []
    for num in (options.small, options.large):
        path = folder / f"{num}.jsonl"
        _write_stream(path, num, options.data)
        summary = run_json(["learn", path, "--out", folder / str(num), "--id-field", "id"])
        peaks.append(summary["peak_memory_mb"])
        print(
            f"{num:7} examples: peak {peaks[-1]:.1f} MB, {summary['examples_per_second']:.0f}/s", flush=True
        )
    print(f"growth {100 * (peaks[1] / peaks[0] - 1):.2f} %")


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
