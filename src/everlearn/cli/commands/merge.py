"""``everlearn merge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from everlearn.cli import options
from everlearn.cli.examples import examples
from everlearn.cli.tables import print_result, summary_rows

__all__ = ["merge"]


@examples("everlearn merge runs/shard1 runs/shard2 --out runs/all")
def merge(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN RUN…", help="Closed-form runs of the same sizes and model.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="RUN", help="The new run folder.", show_default=False)],
    json_output: options.Json = False,
) -> None:
    """Merge runs into one that equals, to the bit, a run over all their streams."""
    from everlearn.runtime.history.merge import merge_runs

    summary = merge_runs(runs, out)
    rows = [*summary_rows(summary), ("report", str(out / "report.html"))]
    print_result(summary | {"run": str(out)}, rows, as_json=json_output)
