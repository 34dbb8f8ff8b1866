"""``everlearn review``."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from everlearn.cli import options
from everlearn.cli.examples import examples
from everlearn.cli.failures import print_note
from everlearn.cli.tables import number, print_columns, print_json, print_result

__all__ = ["review"]


@examples(
    "everlearn review runs/desk",
    "everlearn review runs/desk --accept m-0017 --reject m-0021",
    "everlearn review runs/desk --readmit 4  (decision 4 was wrong: learn what it set aside)",
)
def review(
    run: options.RunPath,
    accept: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID", help="Its target is right: learn it, if it was held back. May be repeated."
        ),
    ] = None,
    reject: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Settle its flag without learning it; what is learned already stays so. May be repeated.",
        ),
    ] = None,
    readmit: Annotated[
        int | None,
        typer.Option(
            metavar="DECISION",
            help="Learn everything that this decision of the guard set aside. Default: none.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="List at most so many.")] = 20,
    json_output: options.Json = False,
) -> None:
    """List suspicious examples (they contradict a confident prediction), and decide on them."""
    from everlearn.runtime.folder.run_settings import use_threads_of
    from everlearn.runtime.history.review import flagged_examples, review_run

    if accept or reject or readmit is not None:
        use_threads_of(run)
        outcome = review_run(run, accept=accept or (), reject=reject or (), readmit=readmit)
        rows = [
            ("accepted", number(outcome.num_accepted)),
            ("left out", number(outcome.num_left_out)),
            ("still learned", number(len(outcome.still_learned))),
            ("learned now", number(outcome.num_learned)),
            ("fingerprint", f"{outcome.fingerprint[:32]}…"),
        ]
        print_result(outcome.to_json(), rows, as_json=json_output)
        if outcome.still_learned:
            ids = shlex.join(f"--id={id_}" for id_ in outcome.still_learned)
            print_note(
                f"Only the flags of {len(outcome.still_learned):,} rejected examples are settled: what they "
                f"teach is learned. To take it out: everlearn forget {shlex.quote(str(run))} {ids}"
            )
        return
    found = flagged_examples(run, limit=limit)
    if json_output:
        print_json({"flagged": [flagged.to_json() for flagged in found]})
        return
    if not found:
        print_note("Nothing is flagged. Flags are set while learning with --guard.")
        return
    print_columns(
        ("id", "target", "predicted", "confidence", "learned", "text"),
        [
            [
                flagged.id,
                flagged.target or "",
                flagged.predicted or "",
                f"{flagged.score:.2f}",
                "yes" if flagged.is_learned else "no",
                (flagged.text or "")[:60],
            ]
            for flagged in found
        ],
    )
