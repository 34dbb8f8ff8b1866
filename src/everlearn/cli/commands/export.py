"""``everlearn export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from everlearn.cli import options
from everlearn.cli.examples import examples
from everlearn.cli.failures import print_note
from everlearn.cli.tables import print_table

__all__ = ["export"]


@examples(
    'everlearn export runs/novel models/novel  (for transformers: from_pretrained("models/novel"))',
    "everlearn export runs/novel adapters/novel --adapter  (for peft and servers of adapters)",
)
def export(
    run: options.RunPath,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where to write the model.", show_default=False)
    ],
    adapter: Annotated[
        bool, typer.Option("--adapter", help="The adapter alone, in peft's format, not the whole model.")
    ] = False,
    dtype: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE", help="float32, bfloat16 or float16. Default: float32, which rounds nothing."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the model that is in the folder.")
    ] = False,
) -> None:
    """Write what a run's language model or encoder-decoder has learned as a model folder.

    transformers and peft load it with from_pretrained, unchanged. Before the command reports success, it
    loads the folder in this way and compares logits of a few tokens with those of the run.
    """
    from everlearn.runtime.commands.export import export_run

    form = "adapter" if adapter else "full"
    difference = export_run(run, folder, form, dtype=dtype, overwrite=overwrite, on_note=print_note)  # type: ignore[arg-type]
    rows = [("written", str(folder)), ("form", form)]
    if difference is not None:
        rows.append(("largest difference of logits", f"{difference:.2g}"))
    print_table(rows)
