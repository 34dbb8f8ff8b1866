"""What consolidation brings: test accuracy before and after, with the program's defaults.

Run: ``python -m benchmarks.consolidation [--out DIR] [--threads N] [SET …]``

Each set is learned with its texts kept, tested, consolidated and tested again. Whether the tuned trunk is
adopted is decided by the command, on examples of the training set; the test set is only looked at. With
``--out`` the runs stay, and a benchmark that was interrupted goes on with them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.command_line import run_json, scratch_folder
from benchmarks.datasets import split_path
from benchmarks.environment import environment_line

__all__ = ["main"]

SETS = ("clinc150", "banking77", "20newsgroups")


def main() -> None:
    """Run all sets and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sets", nargs="*", default=list(SETS), metavar="SET")
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--out", type=Path, help="keep the runs here")
    parser.add_argument("--threads", type=int, help="processor threads (default: all)")
    options = parser.parse_args()
    print(environment_line(), flush=True)
    folder = options.out or scratch_folder()
    threads = [] if options.threads is None else ["--threads", str(options.threads)]
    rows = []
    for name in options.sets:
        rows.append(_row(name, *_measured(folder / name, name, options.data, threads)))
        print(rows[-1], flush=True)
    print(
        "| set | adopted | own exam: accuracy % | log loss | test accuracy % | test log loss "
        "| epochs (kept) | tuning s | encoding s |\n|---|---|---|---|---|---|---|---|---|"
    )
    print("\n".join(rows))


def _measured(
    run: Path, name: str, data: str | None, threads: list[str]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Test figures before, what the consolidation said, test figures after."""
    test = split_path(name, "test", data)
    before_file = run / "before.json"
    if before_file.exists():
        before = json.loads(before_file.read_text())
    else:
        run_json(["learn", split_path(name, "train", data), "--keep-text", "--out", run, *threads])
        before = run_json(["evaluate", run, test])
        before_file.write_text(json.dumps(before))
    said = run_json(["consolidate", run, *threads])
    print(json.dumps({"set": name, **said}), flush=True)
    return before, said, run_json(["evaluate", run, test])


def _row(name: str, before: dict[str, Any], said: dict[str, Any], after: dict[str, Any]) -> str:
    own = said["numbers"].get("own")
    cells = [name, "yes" if said["adopted"] else "no"]
    if own is None:
        cells += ["–", "–"]
    else:
        cells += [
            f"{100 * own['live_accuracy']:.2f} → {100 * own['candidate_accuracy']:.2f}",
            f"{own['live_log_loss']:.4f} → {own['candidate_log_loss']:.4f}",
        ]
    cells += [
        f"{100 * before['accuracy']:.2f} → {100 * after['accuracy']:.2f}",
        f"{before['log_loss']:.3f} → {after['log_loss']:.3f}",
        f"{len(said['epochs']) - 1} ({said['best_epoch']})",
        f"{said['seconds']['tune']:,.0f}",
        f"{said['seconds'].get('encode', 0):,.0f}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
