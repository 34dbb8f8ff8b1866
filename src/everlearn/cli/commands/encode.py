"""``everlearn encode``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everlearn.cli import options
from everlearn.cli.display import ProgressDisplay
from everlearn.cli.examples import examples
from everlearn.cli.failures import print_error, print_note
from everlearn.cli.setting_options import given_settings, taking
from everlearn.cli.tables import number, print_result
from everlearn.errors import InputError

if TYPE_CHECKING:
    from everlearn.runtime.commands.encode import EncodeOutcome

__all__ = ["encode"]


@examples(
    "everlearn encode train.jsonl.gz --out train.codes.parquet",
    "everlearn learn train.codes.parquet --order shuffled --seed 1",
)
@taking(
    *("text_field", "target_field", "id_field", "domain_field", "time_field"),
    *("strict", "max_record_bytes", "max_rejected", "encoding", "delimiter"),
    *("model", "max_length", "windows", "dtype", "device", "batch_invariant", "keep_text", "threads"),
)
def encode(
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
    config: options.ConfigFile = None,
    json_output: options.Json = False,
    **settings: Any,
) -> None:
    """Encode a stream's texts once; learning from the codes file then costs no encoding."""
    from everlearn.runtime.commands.encode import encode_stream

    with ProgressDisplay() as display:
        outcome = encode_stream(
            stream, out, settings=given_settings(settings), config_file=config, listener=display
        )
    print_note(*outcome.notes)
    print_result(outcome.to_json(), _rows(outcome), as_json=json_output)
    if outcome.too_many_rejected is not None:
        print_error(outcome.too_many_rejected)
        raise typer.Exit(InputError.exit_code)


def _rows(outcome: EncodeOutcome) -> list[tuple[str, str]]:
    figures = outcome.to_json()
    return [
        ("examples", number(outcome.num_examples)),
        ("rejected", number(outcome.num_rejected) if outcome.num_rejected else ""),
        ("listed in", str(outcome.rejected_path) if outcome.rejected_path else ""),
        ("examples a second", number(figures["examples_per_second"])),
        ("codes", f"{outcome.path} ({figures['bytes'] / 1e6:,.1f} MB)"),
    ]
