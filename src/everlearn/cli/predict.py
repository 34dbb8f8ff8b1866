"""``everlearn predict``."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from everlearn.cli import options
from everlearn.cli.tables import print_json, result_console

__all__ = ["predict"]

EPILOG = """
[bold]Examples[/bold]

  [cyan]everlearn predict runs/desk "where is my invoice?" --top 5[/]

  [cyan]cat new.jsonl | everlearn predict runs/desk - --json[/]
"""


def predict(
    run: options.RunPath,
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT…|-]",
            help="Texts; or - for standard input: JSON lines, or one text a line.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[int, typer.Option(metavar="K", help="Labels to name for each text.")] = 3,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object a text.")] = False,
) -> None:
    """Predict texts by what a run has learned; nothing is learned. A run may be in use meanwhile."""
    from everlearn.runtime.predict import predict_stream, predict_texts

    from_standard_input = not texts or texts == ["-"]
    predicted = (
        predict_stream(run, "-", top=top) if from_standard_input else predict_texts(run, texts or [], top=top)
    )
    console = result_console()
    for one in predicted:
        if json_output:
            print_json(one.to_json())
            continue
        ranking = "  ".join(f"{escape(label)} {probability:.1%}" for label, probability in one.top)
        flag = "  [yellow](unlike anything learned)[/]" if one.is_outlier else ""
        console.print(f"[bold]{ranking}[/]{flag}  [dim]{escape(one.text or one.id)}[/]")


predict.epilog = EPILOG  # type: ignore[attr-defined]
