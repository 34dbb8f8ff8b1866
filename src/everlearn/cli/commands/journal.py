"""``everlearn journal``: show, export, compact and repair."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from everlearn.cli import options
from everlearn.cli.failures import print_note
from everlearn.cli.tables import number, print_columns, print_json, print_table, short_time

__all__ = ["compact", "export", "repair", "show"]

SHOW_EPILOG = """
[bold]Example[/bold]

  [cyan]everlearn journal show runs/desk --steps 20[/]
"""
EXPORT_EPILOG = """
[bold]Examples[/bold]

  [cyan]everlearn journal export runs/desk desk.jsonl[/]

  [cyan]everlearn journal export runs/desk desk.parquet[/]  (with codes: learn them into another run)
"""
COMPACT_EPILOG = """
[bold]Examples[/bold]

  [cyan]everlearn journal compact runs/desk[/]

  [cyan]everlearn journal compact runs/desk --drop-text-after 30[/]
"""
REPAIR_EPILOG = """
[bold]Example[/bold]

  [cyan]everlearn journal repair runs/desk[/]
"""


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
                str(one["step"]),
                short_time(one["time"]),
                _range(one["arrived"]),
                _range(one["learned"]),
                str(one["rejected"] or ""),
                ", ".join(one["after"]),
                "" if one["set_aside"] is None else f"set aside by revision {one['set_aside']}",
            ]
            for one in found.steps
        ],
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
    if json_output:
        print_json({"examples": count, "file": str(out)})
    else:
        print_table([("exported", f"{count:,} examples"), ("file", str(out))])


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
    if json_output:
        print_json(outcome.to_json())
    else:
        print_table(
            [
                ("texts dropped", number(outcome.num_texts_dropped) if outcome.num_texts_dropped else ""),
                ("codes dropped", number(outcome.num_codes_dropped) if outcome.num_codes_dropped else ""),
                ("size", f"{outcome.bytes_before / 1e6:,.1f} MB → {outcome.bytes_after / 1e6:,.1f} MB"),
            ]
        )


def repair(run: options.RunPath, json_output: options.Json = False) -> None:
    """Copy what can be read of a damaged journal into a new one, and report what is lost.

    The damaged file is kept beside it.
    """
    from everlearn.runtime.history.repair import repair_run

    report = repair_run(run)
    if json_output:
        print_json(report.to_json())
        return
    for sentence in report.sentences:
        print_note(sentence)


def _range(offsets: list[int] | tuple[int, int] | None) -> str:
    return "" if offsets is None else f"{offsets[0]}-{offsets[1]}"


show.epilog = SHOW_EPILOG  # type: ignore[attr-defined]
export.epilog = EXPORT_EPILOG  # type: ignore[attr-defined]
compact.epilog = COMPACT_EPILOG  # type: ignore[attr-defined]
repair.epilog = REPAIR_EPILOG  # type: ignore[attr-defined]
