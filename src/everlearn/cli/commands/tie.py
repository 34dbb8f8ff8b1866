"""``everlearn tie``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from everlearn.cli import options
from everlearn.cli.display import ProgressDisplay
from everlearn.cli.examples import examples
from everlearn.cli.failures import STOPPED_EXIT_CODE, print_note
from everlearn.cli.setting_options import given_settings, taking
from everlearn.cli.tables import number, percent, print_json, print_table

__all__ = ["tie"]

_STOPPING = "Stopping. What was learned is saved; the same command goes on."
_HEALING = "Healing"


@examples(
    "everlearn tie minilm --unique 3 --heal texts.jsonl --out models/half",
    "everlearn learn messages.jsonl --model models/half --out runs/desk   use it as any other encoder",
    "everlearn tie smollm2 --unique 15 --rank 32 --heal novel.txt --out models/small",
    note="Without --heal the result says something else than the original. A stream of texts as they will "
    "come is best;\nlabels are not looked at. Its first 256 texts (of a language model 64) are held out to "
    "measure by.",
)
@taking("text_field", "encoding", "delimiter", "threads")
def tie(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="An encoder or a language model: a name or a folder.", show_default=False
        ),
    ],
    unique: Annotated[
        int,
        typer.Option("--unique", metavar="K", help="Layers with own weights.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Where the result goes.", show_default=False)
    ],
    rank: Annotated[
        int, typer.Option("--rank", metavar="R", help="Rank of what each layer keeps for itself.")
    ] = 16,
    start: Annotated[
        Literal["mean", "first", "middle"],
        typer.Option(
            "--start",
            metavar="KIND",
            help="What shared weights are begun from: mean, first or middle of the layers that share them.",
        ),
    ] = "mean",
    heal: Annotated[
        str | None,
        typer.Option(
            "--heal",
            metavar="FILE",
            help="Texts to learn on what the original says. Default: none.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option("--steps", metavar="N", help="Steps.", rich_help_panel=_HEALING)
    ] = 2000,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            metavar="N",
            help="Texts a step. Default: 32; of a language model 8.",
            rich_help_panel=_HEALING,
            show_default=False,
        ),
    ] = None,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", metavar="RATE", help="Peak rate.", rich_help_panel=_HEALING)
    ] = 5e-4,
    json_output: options.Json = False,
    **settings: Any,
) -> None:
    """Make a model smaller: layers share weights, and learn to say what they said before.

    Neighbouring layers get the same weights, once in memory, and a small part each for themselves. Healing
    lets the result learn, on texts without labels, what the original says of them. The folder is a model as
    any other, for everlearn. After Ctrl-C the same command goes on.
    """
    from everlearn.runtime.commands.tie import TieRequest, tie_model
    from everlearn.runtime.interruption import stop_on_signals

    given = given_settings(settings)
    request = TieRequest(
        model=model,
        out=out,
        unique=unique,
        rank=rank,
        start=start,
        stream=heal,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        settings={name: value for name, value in given.items() if name.startswith("stream.")},
        threads=given.get("run.threads"),
    )
    with ProgressDisplay() as display, stop_on_signals(lambda: display.stopping(_STOPPING)) as stop:
        outcome = tie_model(request, listener=display, stop=stop)
    print_note(*outcome.notes)
    if json_output:
        print_json(outcome.to_json())
    else:
        rows = [("layers", f"{outcome.layer_mb:,.1f} MB, {percent(outcome.share)} of the original's")]
        if outcome.loss_before is not None and outcome.loss_after is not None:
            rows += [
                ("steps", f"{number(outcome.steps)} of {number(steps)}"),
                ("distance", f"{outcome.loss_before:.4f} before, {outcome.loss_after:.4f} now"),
            ]
        if outcome.cosine is not None:
            rows.append(("cosine with the original", f"{outcome.cosine:.4f}"))
        if outcome.bits_per_byte is not None:
            original, now = outcome.bits_per_byte
            rows.append(("bits per byte", f"{now:.3f}, of the original {original:.3f}"))
        rows.append(("folder", str(outcome.out)))
        print_table(rows)
    if not outcome.is_done:
        raise typer.Exit(STOPPED_EXIT_CODE)
