"""``everlearn serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from everlearn.cli.examples import examples
from everlearn.cli.failures import print_note
from everlearn.errors import ConfigError

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
            metavar="FILE",
            help="Settings of the service, as YAML; read again at SIGHUP. Default: none.",
            show_default=False,
        ),
    ] = None,
    reload: Annotated[
        bool, typer.Option("--reload", help="Read them again, too, when the file changes.")
    ] = False,
    log_format: Annotated[
        str | None,
        typer.Option(
            metavar="KIND", help="Lines of the log: text or json. Default: text.", show_default=False
        ),
    ] = None,
    access_log: Annotated[
        bool, typer.Option("--access-log", help="Log a line for each request; never a text or a key.")
    ] = False,
) -> None:
    """Serve a run or a hub over HTTP.

    It predicts, takes labels, corrections and deletions, and goes on learning.
    What was accepted is journaled before it is answered. Ctrl-C stops it: what is under way is finished.
    Other settings are given in a file, or in the environment (EVERLEARN_SERVICE_MAX_BATCH, say). Limits of
    the file can be changed while it runs; of others it is told that they need a restart.
    """
    from everlearn.service.server import serve as serve_place
    from everlearn.settings.service import ServiceConfig

    given = {
        "host": host,
        "port": port,
        "workers": workers,
        "memory_budget_mb": memory_budget,
        "log_format": log_format,
        "access_log": access_log or None,
    }
    if reload and config is None:
        raise ConfigError("--reload looks at the file of settings: give --config, too")
    settings = ServiceConfig.given(given, file=config)
    serve_place(
        place,
        settings,
        on_ready=lambda url: print_note(f"Serving {place} on {url} (API: {url}/docs)"),
        options=given,
        file=config,
        watches_file=reload,
    )
