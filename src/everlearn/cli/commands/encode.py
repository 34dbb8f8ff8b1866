"""``everlearn encode``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everlearn.cli import options
from everlearn.cli.display import ProgressDisplay
from everlearn.cli.failures import print_error
from everlearn.cli.tables import number, print_json, print_table
from everlearn.errors import InputError

if TYPE_CHECKING:
    from everlearn.runtime.commands.encode import EncodeOutcome

__all__ = ["encode"]

EPILOG = """
[bold]Example[/bold]

  [cyan]everlearn encode train.jsonl.gz --out train.codes.parquet[/]

  [cyan]everlearn learn train.codes.parquet --order shuffled --seed 1[/]
"""


def encode(
    context: typer.Context,
    stream: Annotated[
        str, typer.Argument(metavar="STREAM", help="As for [cyan]learn[/].", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="CODES.parquet",
            help="The codes file, named .parquet; one that is there is replaced.",
            show_default=False,
        ),
    ],
    json_output: options.Json = False,
    text_field: options.TextField = None,
    target_field: options.TargetField = None,
    id_field: options.IdField = None,
    domain_field: options.DomainField = None,
    time_field: options.TimeField = None,
    strict: options.Strict = None,
    max_record_bytes: options.MaxRecordBytes = None,
    max_rejected: options.MaxRejected = None,
    encoding: options.Encoding = None,
    delimiter: options.Delimiter = None,
    model: options.EncoderModel = None,
    max_length: options.MaxLength = None,
    windows: options.Windows = None,
    dtype: options.Dtype = None,
    device: options.Device = None,
    batch_invariant: options.BatchInvariant = None,
    config: options.ConfigFile = None,
    keep_text: options.KeepText = None,
    threads: options.Threads = None,
) -> None:
    """Encode a stream's texts once; learning from the codes file then costs no encoding."""
    from everlearn.runtime.commands.encode import encode_stream

    with ProgressDisplay() as display:
        outcome = encode_stream(
            stream, out, settings=options.given_settings(context), config_file=config, listener=display
        )
    if json_output:
        print_json(outcome.to_json())
    else:
        _print_outcome(outcome)
    if outcome.too_many_rejected is not None:
        print_error(outcome.too_many_rejected)
        raise typer.Exit(InputError.exit_code)


def _print_outcome(outcome: EncodeOutcome) -> None:
    figures = outcome.to_json()
    print_table(
        [
            ("examples", number(outcome.num_examples)),
            ("rejected", number(outcome.num_rejected) if outcome.num_rejected else ""),
            ("listed in", str(outcome.rejected_path) if outcome.rejected_path else ""),
            ("examples a second", number(figures["examples_per_second"])),
            ("codes", f"{outcome.path} ({figures['bytes'] / 1e6:,.1f} MB)"),
        ]
    )


encode.epilog = EPILOG  # type: ignore[attr-defined]
