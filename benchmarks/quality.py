"""Accuracy after one pass, class-incremental in ten experiences, one configuration for all sets.

Run: ``python -m benchmarks.quality [--data DIR] [--order by-class|shuffled] [SET …]``

Prints a line a set and a Markdown table. Every set is run by the command that the table names,
with the program's defaults.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.command_line import run_json, scratch_folder
from benchmarks.datasets import split_path
from benchmarks.environment import environment_line

__all__ = ["main"]

SETS = ("clinc150", "banking77", "20newsgroups", "snips", "trec_questions")
NUM_CLASSES = {"clinc150": 150, "banking77": 77, "20newsgroups": 20, "snips": 7, "trec_questions": 6}


def main() -> None:
    """Run all sets and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sets", nargs="*", default=list(SETS), metavar="SET")
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--order", choices=("by-class", "shuffled"), default="by-class")
    options = parser.parse_args()
    print(environment_line(), flush=True)
    rows = []
    for name in options.sets:
        arguments: list[str | Path] = [
            "learn",
            split_path(name, "train", options.data),
            "--order",
            options.order,
        ]
        if options.order == "by-class":
            # A set with fewer classes than ten has one class an experience.
            arguments += ["--experiences", str(min(10, NUM_CLASSES.get(name, 10)))]
        arguments += ["--test", split_path(name, "test", options.data), "--out", scratch_folder() / name]
        summary = run_json(arguments)
        print(json.dumps({"set": name, "order": options.order, **summary}), flush=True)
        rows.append(
            f"| {name} | {100 * summary['test_accuracy']:.2f} | {_percent(summary['average_accuracy'])} "
            f"| {_percent(summary['forgetting'])} | {100 * summary['prequential_accuracy']:.1f} "
            f"| {summary['encode_seconds']:.1f} | {summary['learn_seconds']:.1f} "
            f"| {summary['examples_per_second']:.0f} | {summary['peak_memory_mb']:.0f} |"
        )
    print(
        "| set | test accuracy % | average accuracy % | forgetting, points | prequential % | encode s "
        "| learn s | examples/s | peak MB |\n|---|---|---|---|---|---|---|---|---|"
    )
    print("\n".join(rows))


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f}"


if __name__ == "__main__":
    main()
