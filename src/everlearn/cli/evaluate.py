"""``everlearn evaluate``."""

from __future__ import annotations

from typing import Annotated

import typer

from everlearn.cli import options
from everlearn.cli.failures import print_note
from everlearn.cli.tables import number, percent, print_json, print_table

__all__ = ["evaluate"]


def evaluate(
    context: typer.Context,
    run: options.RunPath,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="Examples with targets, as for [cyan]learn[/].", show_default=False
        ),
    ],
    json_output: options.Json = False,
    text_field: options.TextField = None,
    target_field: options.TargetField = None,
    id_field: options.IdField = None,
    threads: options.Threads = None,
) -> None:
    """Test a run on a file; nothing is learned. Field names are the run's unless they are given."""
    from everlearn.runtime.evaluate import evaluate_run

    scores = evaluate_run(run, file, options.given_settings(context), on_note=print_note)
    if json_output:
        print_json(scores)
        return
    print_table(
        [
            ("examples", number(scores["examples"])),
            ("rejected", number(scores["rejected"]) if scores["rejected"] else ""),
            (
                "labels never learned",
                f"of {number(scores['unknown_labels'])} examples, which cannot be right"
                if scores["unknown_labels"]
                else "",
            ),
            ("accuracy", percent(scores["accuracy"])),
            ("macro F1", percent(scores["macro_f1"])),
            ("log-loss", f"{scores['log_loss']:.3f} nats"),
            ("calibration error", percent(scores["calibration_error"])),
        ]
    )
