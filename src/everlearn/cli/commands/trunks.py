"""``everlearn trunks``: the encoders that all processes of this machine share."""

from __future__ import annotations

from typing import Annotated

import typer

from everlearn.cli.examples import examples
from everlearn.cli.failures import print_note
from everlearn.cli.tables import print_columns, print_json
from everlearn.errors import StateError

__all__ = ["trunks"]


@examples("everlearn trunks", "everlearn trunks --remove-unused", "everlearn trunks --verify")
def trunks(
    remove_unused: Annotated[
        bool, typer.Option("--remove-unused", help="Delete those that no process has mapped.")
    ] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read them whole and compare checksums.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object a file.")] = False,
) -> None:
    """List the shared files of weights that hubs compute with, and tidy up.

    They are made when they are first needed, and again after they were deleted.
    """
    from everlearn.sharing.trunk_store import TrunkStore

    store = TrunkStore()
    found = store.remove_unused() if remove_unused else store.stored()
    if json_output:
        for one in found:
            print_json(one.to_json())
    elif found:
        print_columns(
            ("models", "MB", "sha256", "in use" if not remove_unused else "removed"),
            [
                [
                    ", ".join(one.models),
                    f"{one.num_bytes / 1e6:,.1f}",
                    one.sha256[:12],
                    "yes" if one.is_used or remove_unused else "no",
                ]
                for one in found
            ],
        )
    else:
        print_note("Nothing was unused." if remove_unused else f"There are none in {store.folder}.")
    if verify and (damaged := store.verify()):
        names = ", ".join(str(one.path) for one in damaged)
        raise StateError(f"damaged: {names}; delete it, and it is made anew")
    if verify:
        print_note("All are as they were made.")
