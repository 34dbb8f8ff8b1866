"""``everlearn verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from everlearn.cli import options
from everlearn.cli.display import ProgressDisplay
from everlearn.cli.examples import examples
from everlearn.cli.tables import print_result
from everlearn.errors import StateError

__all__ = ["verify"]


@examples(
    "everlearn verify runs/desk",
    "everlearn verify runs/desk --certificate runs/desk/certificates/deletion-0001.json --id m-0017",
)
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
    """Learn the whole journal again with a new learner, and compare the result with the run.

    Every row of the journal is checked. No checkpoint or version is trusted. With a certificate: checks that
    no deleted example is left, and that learning the rest gives the certified fingerprint.
    """
    from everlearn.runtime.folder.run_settings import use_threads_of
    from everlearn.runtime.history.verify import verify_run

    with ProgressDisplay() as display:
        use_threads_of(run)
        outcome = verify_run(run, certificate=certificate, ids=ids or (), listener=display)
    rows = [
        *(("holds", text) for text in outcome.passed),
        *(("not checked", text) for text in outcome.unchecked),
        *(("FAILS", text) for text in outcome.failed),
    ]
    print_result(outcome.to_json(), rows, as_json=json_output)
    if not outcome.is_valid:
        raise typer.Exit(StateError.exit_code)
