"""``everlearn forget``."""

from __future__ import annotations

from typing import Annotated

import typer

from everlearn.cli import options
from everlearn.cli.failures import print_error
from everlearn.cli.tables import number, print_json, print_table
from everlearn.errors import RunError

__all__ = ["forget"]

EPILOG = """
[bold]Examples[/bold]

  [cyan]everlearn forget runs/desk --id m-0017 --id m-0018[/]

  [cyan]everlearn forget runs/desk --where customer=c42[/]
"""


def _field_and_value(text: str) -> tuple[str, str]:
    field, separator, value = text.partition("=")
    if not separator or not field:
        raise typer.BadParameter(f"{text!r} is not of the form field=value")
    return field, value


def forget(
    run: options.RunPath,
    ids: Annotated[
        list[str] | None, typer.Option("--id", metavar="ID", help="An example's id; may be given many times.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="All examples with this value in this field (target, domain, time or a field of the "
            "record); if given many times, all must hold.",
        ),
    ] = None,
    json_output: options.Json = False,
) -> None:
    """Take examples out of a run: what was learned from them, their codes, ids and texts.

    With the closed-form learner the run then equals, to the bit, one that never saw them; the
    fingerprint shows it. The stream's own file is not touched: learned again, it brings them back.
    """
    from everlearn.runtime.forget import forget_in_run

    outcome = forget_in_run(run, ids=ids or (), where=[_field_and_value(one) for one in where or ()])
    if json_output:
        print_json(outcome.to_json())
    elif outcome.num_forgotten:
        print_table(
            [
                ("forgotten", number(outcome.num_forgotten)),
                ("exact", "yes" if outcome.exact else "no: weights keep what they learned"),
                ("labels gone", ", ".join(outcome.removed_labels)),
                ("fingerprint before", f"{outcome.fingerprint_before[:32]}…"),
                ("fingerprint after", f"{outcome.fingerprint_after[:32]}…"),
            ]
        )
    if outcome.unknown_ids:
        print_error(f"not in the run: {', '.join(outcome.unknown_ids)}")
        raise typer.Exit(RunError.exit_code)
    if where and not outcome.num_forgotten:
        print_error(f"no example of the run has {' and '.join(where)}")
        raise typer.Exit(RunError.exit_code)


forget.epilog = EPILOG  # type: ignore[attr-defined]
