"""Kill runs at random moments and compare their ends with those of runs that nobody killed.

Run: ``python -m benchmarks.crashes [--times 200] [--guarded-times 50] [--mixed-times 60]
[--gradient-times 50] [--data DIR]``

Half of the kills come at a moment that the process itself counts off (just before or after something became
durable, or was learned), half from a clock outside. ``mixed`` is a run with a guard and delayed targets in
three sittings, between which examples are deleted and an earlier version is gone back to; these commands are
killed too. Exits with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.command_line import scratch_folder
from benchmarks.crashes.campaign import CampaignResult, campaign
from benchmarks.crashes.nursery import Nursery
from benchmarks.crashes.probe import PHASES
from benchmarks.crashes.stages import mixed_campaign
from benchmarks.crashes.streams import CrashStream, coded_stream, text_stream
from benchmarks.environment import environment_line

__all__ = ["main"]

_MIXED_TITLE = "guard, delay, corrections, late targets, deletions and a rollback"
_CLOSED_FORM = ("--delay", "100", "--batch-size", "32", "--threads", "1")
_GUARDED = ("--guard", "--guard-every", "400", "--batch-size", "32", "--threads", "1")
_MIXED = (
    *("--guard", "--guard-every", "250", "--guard-share", "0.1", "--delay", "60"),
    *("--batch-size", "32", "--threads", "1"),
)
_GRADIENT = (
    *("--learner", "gradient", "--train", "head", "--replay", "200"),
    *("--batch-size", "8", "--threads", "1"),
)


def main() -> None:
    """All campaigns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--times", type=int, default=200, help="kills of the closed-form learner; 0: none")
    parser.add_argument("--guarded-times", type=int, default=50, help="kills of one with a guard")
    parser.add_argument("--mixed-times", type=int, default=60, help="kills of one with all else mixed in")
    parser.add_argument("--gradient-times", type=int, default=50, help="kills of the gradient learner")
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--guarded-examples", type=int, default=4_000)
    parser.add_argument("--texts", type=int, default=1_000, help="length of the gradient learner's stream")
    parser.add_argument("--features", type=int, default=1_024)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--show", action="store_true", help="print every kill")
    options = parser.parse_args()
    print(environment_line(), flush=True)
    features = ("--features", str(options.features))

    def codes(num_examples: int) -> Callable[[Path], CrashStream]:
        return lambda folder: coded_stream(
            folder / "stream.parquet", num_examples, options.data, options.seed
        )

    def texts(folder: Path) -> CrashStream:
        return text_stream(folder / "stream.jsonl", options.texts, options.data, options.seed)

    same = [
        _kill_and_tell(title, make_stream, settings, num_kills, options, is_mixed=title == _MIXED_TITLE)
        for title, make_stream, settings, num_kills in (
            ("closed-form learner", codes(options.examples), (*_CLOSED_FORM, *features), options.times),
            ("with a guard", codes(options.guarded_examples), (*_GUARDED, *features), options.guarded_times),
            (_MIXED_TITLE, codes(options.guarded_examples), (*_MIXED, *features), options.mixed_times),
            ("gradient learner with replay", texts, _GRADIENT, options.gradient_times),
        )
        if num_kills
    ]
    sys.exit(0 if all(same) else 1)


def _kill_and_tell(
    title: str,
    make_stream: Callable[[Path], CrashStream],
    settings: tuple[str, ...],
    num_kills: int,
    options: argparse.Namespace,
    *,
    is_mixed: bool,
) -> bool:
    folder = scratch_folder()
    stream = make_stream(folder)
    print(f"\n{title}: {' '.join(settings)}", flush=True)
    print(f"{stream.num_records:,} records ({stream.description}) in {folder}", flush=True)
    with Nursery(folder) as nursery:
        if is_mixed:
            result = mixed_campaign(
                nursery, folder, stream, settings, num_kills=num_kills, seed=options.seed, show=options.show
            )
        else:
            result = campaign(
                nursery,
                folder,
                stream,
                settings,
                num_kills=num_kills,
                seed=options.seed,
                learns_all="--guard" not in settings,
                show=options.show,
            )
    _print_table(result)
    return not result.differences


def _print_table(result: CampaignResult) -> None:
    print(f"\n| killed while | at a moment | by the clock |\n|{' --- |' * 3}")
    for phase in PHASES:
        moment, clock = result.kills[phase, "moment"], result.kills[phase, "clock"]
        if moment or clock:
            print(f"| {phase} | {moment} | {clock} |")
    by = {name: sum(n for (_, one), n in result.kills.items() if one == name) for name in ("moment", "clock")}
    print(f"| all {sum(by.values())} | {by['moment']} | {by['clock']} |\n")
    print(
        f"{result.num_sittings} commands, {result.num_steps:,} steps, {result.seconds:.0f} s "
        f"(undisturbed {result.undisturbed_seconds:.0f} s)"
    )
    for one in result.differences:
        print(f"DIFFERENT: {one}")
    if not result.differences:
        print(
            "equal: journal, fingerprint, every tensor of the state, scores, metrics; each example held once"
        )


if __name__ == "__main__":
    main()
