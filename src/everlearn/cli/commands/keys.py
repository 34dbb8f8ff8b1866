"""``everlearn keys``: who may use a service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from everlearn.cli import options
from everlearn.cli.examples import examples
from everlearn.cli.tables import print_columns, print_json, print_result

__all__ = ["add", "list_", "remove"]

Place = Annotated[Path, typer.Argument(metavar="PATH", help="A run, or a hub.", show_default=False)]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is.", show_default=False)]


@examples(
    "everlearn keys add runs/desk helpdesk --role label",
    "everlearn keys add hubs/support acme --role predict --tenant acme --days 90",
)
def add(
    place: Place,
    name: Name,
    role: Annotated[
        str, typer.Option(metavar="ROLE", help="predict, label, operate or admin; each may all before it.")
    ] = "predict",
    tenants: Annotated[
        list[str] | None,
        typer.Option(
            "--tenant",
            metavar="TENANT",
            help="Only for it; repeatable. Default: for all.",
            show_default=False,
        ),
    ] = None,
    days: Annotated[
        float | None,
        typer.Option(metavar="DAYS", help="How long it holds. Default: for ever.", show_default=False),
    ] = None,
    json_output: options.Json = False,
) -> None:
    """Make a key for a service. It is shown once: only its hash is stored.

    With the first key the service answers nobody else any more. One that runs takes up changes by itself.
    """
    from typing import cast

    from everlearn.service.folder import service_folder
    from everlearn.service.keys import Role, add_key

    given = add_key(service_folder(place), name, cast(Role, role), tenants=tenants, expires_days=days)
    print_result({"name": name, "role": role, "key": given}, [("key", given)], as_json=json_output)


@examples("everlearn keys list runs/desk")
def list_(place: Place, json_output: options.Json = False) -> None:
    """List keys: names, roles, tenants, and when they end."""
    from everlearn.service.folder import service_folder
    from everlearn.service.keys import read_keys

    keys = read_keys(service_folder(place))
    if json_output:
        told = [
            {"name": k.name, "role": k.role, "tenants": k.tenants, "made": k.made, "expires": k.expires}
            for k in keys
        ]
        print_json({"keys": told})
        return
    rows = [
        (k.name, k.role, "all" if k.tenants is None else ", ".join(k.tenants), k.made, k.expires or "never")
        for k in keys
    ]
    print_columns(["name", "role", "tenants", "made", "ends"], rows)


@examples("everlearn keys remove runs/desk helpdesk")
def remove(place: Place, name: Name) -> None:
    """Let a key be of no use any more, at once."""
    from everlearn.service.folder import service_folder
    from everlearn.service.keys import remove_key

    remove_key(service_folder(place), name)
    print_result({"removed": name}, [("removed", name)], as_json=False)
