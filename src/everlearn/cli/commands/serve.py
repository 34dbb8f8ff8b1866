"""``everlearn serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from everlearn.cli.examples import examples
from everlearn.cli.failures import print_note

__all__ = ["serve"]


@examples(
    "everlearn serve runs/desk",
    "everlearn serve hubs/support --port 9000 --workers 4 --memory-budget 2000",
)
def serve(
    place: Annotated[Path, typer.Argument(metavar="PATH", help="A run, or a hub.", show_default=False)],
    host: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Address to listen on. Default: 127.0.0.1.", show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="N", help="Port; 0: a free one. Default: 8600.", show_default=False),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", help="Prediction processes. Default: one a processor.", show_default=False),
    ] = None,
    memory_budget: Annotated[
        float | None,
        typer.Option(
            metavar="MB",
            help="Memory for what tenants predict by, in each process. Default: no bound.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Settings of the service, as YAML. Default: none.", show_default=False
        ),
    ] = None,
) -> None:
    """Serve a run or a hub over HTTP.

    It predicts, takes labels, corrections and deletions, and goes on learning.
    What was accepted is journaled before it is answered. Ctrl-C stops it: what is under way is finished.
    Other settings are given in a file, or in the environment (EVERLEARN_SERVICE_MAX_BATCH, say).
    """
    from everlearn.service.server import serve as serve_place
    from everlearn.settings.service import ServiceConfig

    given = {"host": host, "port": port, "workers": workers, "memory_budget_mb": memory_budget}
    settings = ServiceConfig.given(given, file=config)
    serve_place(
        place, settings, on_ready=lambda url: print_note(f"Serving {place} on {url} (API: {url}/docs)")
    )
