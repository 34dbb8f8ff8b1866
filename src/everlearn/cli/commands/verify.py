"""``everlearn verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from everlearn.cli import options
from everlearn.cli.display import ProgressDisplay
from everlearn.cli.tables import print_json, print_table
from everlearn.cli.threads import use_threads_of
from everlearn.errors import StateError

__all__ = ["verify"]

EPILOG = """
[bold]Examples[/bold]

  [cyan]everlearn verify runs/desk[/]

  [cyan]everlearn verify runs/desk --certificate runs/desk/certificates/deletion-0001.json --id m-0017[/]
"""


def verify(
    run: options.RunPath,
    certificate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Check this deletion certificate instead of the newest state. Default: none."
        ),
    ] = None,
    ids: Annotated[
        list[str] | None,
        typer.Option("--id", metavar="ID", help="An id that the certificate must cover; may be repeated."),
    ] = None,
    json_output: options.Json = False,
) -> None:
    """Fold the whole journal with a fresh learner and compare with what the run claims.

    Every row of the journal is checked on the way. Nothing that is saved is trusted: no checkpoint, no
    version. With a certificate: that no deleted example is left, and that a fold without them has the
    certified fingerprint.
    """
    from everlearn.runtime.history.verify import verify_run

    with ProgressDisplay() as display:
        use_threads_of(run)
        outcome = verify_run(run, certificate=certificate, ids=ids or (), listener=display)
    if json_output:
        print_json(outcome.to_json())
    else:
        print_table(
            [
                *(("holds", text) for text in outcome.passed),
                *(("not checked", text) for text in outcome.unchecked),
                *(("FAILS", text) for text in outcome.failed),
            ]
        )
    if not outcome.is_valid:
        raise typer.Exit(StateError.exit_code)


verify.epilog = EPILOG  # type: ignore[attr-defined]
