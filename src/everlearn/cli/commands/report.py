"""``everlearn report``."""

from __future__ import annotations

from typing import Annotated

import typer

from everlearn.cli import options
from everlearn.cli.failures import print_note

__all__ = ["report"]


def report(
    run: options.RunPath,
    solved: Annotated[
        bool,
        typer.Option(
            "--solved",
            help="Compare with the run's own learner, solved anew before every batch, too. Slow: up to a "
            "second a batch. The next report of the run is without it again.",
        ),
    ] = False,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write a run's report.html again and print its path."""
    from everlearn.runtime.folder.rebuild_report import rebuild_report

    path = rebuild_report(run, on_note=print_note, solved=solved)
    typer.echo(path)
    if open_it:
        typer.launch(path.resolve().as_uri())
