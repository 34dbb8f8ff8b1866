"""``everlearn journal``: show, export, compact and repair."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from everlearn.cli import options
from everlearn.cli.examples import examples
from everlearn.cli.failures import print_note
from everlearn.cli.tables import number, print_columns, print_json, print_result, print_table, short_time
from everlearn.errors import StateError

__all__ = ["compact", "export", "repair", "show"]


@examples("everlearn journal show runs/desk --steps 20")
def show(
    run: options.RunPath,
    steps: Annotated[int, typer.Option(metavar="N", min=0, help="List the newest N steps.")] = 10,
    json_output: options.Json = False,
) -> None:
    """Say what a run's journal holds."""
    from everlearn.runtime.history.journal_views import show_journal

    found = show_journal(run, num_steps=steps)
    if json_output:
        print_json(found.to_json())
        return
    rows = [(name.replace("_", " "), number(count)) for name, count in found.counts.items() if count]
    rows.append(("size", f"{found.num_bytes / 1e6:,.1f} MB"))
    if found.first_time and found.last_time:
        rows.append(("from, to", f"{found.first_time[:19]}, {found.last_time[:19]}"))
    rows += [("stream", f"{key}: {count:,} examples") for key, count in found.sources.items()]
    print_table(rows)
    print_columns(
        ("step", "time (UTC)", "arrived", "learned", "rejected", "then", ""),
        [
            [
                str(step["step"]),
                short_time(step["time"]),
                _range(step["arrived"]),
                _range(step["learned"]),
                str(step["rejected"] or ""),
                ", ".join(step["after"]),
                "" if step["set_aside"] is None else f"set aside by revision {step['set_aside']}",
            ]
            for step in found.steps
        ],
    )


@examples(
    "everlearn journal export runs/desk desk.jsonl",
    "everlearn journal export runs/desk desk.parquet  (with codes: learn them into another run)",
)
def export(
    run: options.RunPath,
    out: Annotated[
        Path, typer.Argument(metavar="FILE", help="A .jsonl or .parquet file.", show_default=False)
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    json_output: options.Json = False,
) -> None:
    """Export all examples of a journal: as JSON lines, or with their codes as Parquet.

    What is deleted from the run later stays in the export.
    """
    from everlearn.runtime.history.journal_views import export_journal

    count = export_journal(run, out, overwrite=overwrite)
    rows = [("exported", f"{count:,} examples"), ("file", str(out))]
    print_result({"examples": count, "file": str(out)}, rows, as_json=json_output)


@examples("everlearn journal compact runs/desk", "everlearn journal compact runs/desk --drop-text-after 30")
def compact(
    run: options.RunPath,
    drop_text_after: Annotated[
        float | None,
        typer.Option(
            metavar="DAYS",
            help="Drop the texts of examples that are older than this, with fields that repeat them, targets "
            "that are texts, translations and excerpts. Codes, labels and other fields stay; so do texts in "
            "the replay memory, and texts that the guard's exams need of a learner without codes. 0: all. "
            "Default: none.",
        ),
    ] = None,
    json_output: options.Json = False,
) -> None:
    """Compact a journal to its smallest size, and drop old texts if asked to."""
    from everlearn.runtime.history.journal_views import compact_run

    outcome = compact_run(run, drop_text_after_days=drop_text_after)
    if not outcome.is_log_empty:
        print_note(
            f"Another process reads the journal of {run}: what was dropped may still lie in its write-ahead "
            "log. Run this again once that process has ended."
        )
    rows = [
        ("texts dropped", number(outcome.num_texts_dropped) if outcome.num_texts_dropped else ""),
        ("codes dropped", number(outcome.num_codes_dropped) if outcome.num_codes_dropped else ""),
        ("size", f"{outcome.bytes_before / 1e6:,.1f} MB → {outcome.bytes_after / 1e6:,.1f} MB"),
    ]
    print_result(outcome.to_json(), rows, as_json=json_output)


@examples("everlearn journal repair runs/desk")
def repair(run: options.RunPath, json_output: options.Json = False) -> None:
    """Copy what can be read of a damaged journal into a new one, and report what is lost.

    The damaged file is kept beside it.
    """
    from everlearn.runtime.history.repair import repair_json, repair_run

    outcome = repair_run(run)
    if json_output:
        print_json(repair_json(outcome))
    else:
        print_note(*outcome.notes)
    if outcome.has_lost_all:
        raise typer.Exit(StateError.exit_code)


def _range(offsets: list[int] | tuple[int, int] | None) -> str:
    return "" if offsets is None else f"{offsets[0]}-{offsets[1]}"
