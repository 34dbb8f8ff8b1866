"""``everlearn hub``: many runs on one encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from everlearn.cli import options
from everlearn.cli.collector import passed_over_objects
from everlearn.cli.commands.learn import show_outcome
from everlearn.cli.commands.predict import (
    PredictFile,
    PredictTexts,
    RejectedRecords,
    print_answers,
    texts_asked,
)
from everlearn.cli.display import ProgressDisplay
from everlearn.cli.examples import examples
from everlearn.cli.failures import print_note
from everlearn.cli.setting_options import given_settings, taking
from everlearn.cli.tables import (
    number,
    print_columns,
    print_json,
    print_result,
    result_console,
    score,
)

__all__ = ["add", "learn", "list_", "predict", "remove", "stats"]

HubPath = Annotated[Path, typer.Argument(metavar="HUB", help="The hub's folder.", show_default=False)]
Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="A tenant of it.", show_default=False)]
Tenants = Annotated[
    list[str], typer.Argument(metavar="TENANT…", help="Names, each of one folder.", show_default=False)
]


@examples("everlearn hub add hubs/support acme globex initech")
@taking("task", "model", "adapter", "max_length", "batch_invariant", "keep_text")
def add(
    hub: HubPath,
    tenants: Tenants,
    max_examples: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Most examples that each of them may learn. Default: no bound.",
            show_default=False,
        ),
    ] = None,
    json_output: options.Json = False,
    **settings: Any,
) -> None:
    """Add tenants to a hub; the first ones make it.

    Options given with the first hold for the hub, later ones for the tenants that they are given with; an
    adapter is always theirs. A tenant takes no memory until it is used.
    """
    from everlearn.runtime.commands.hub import add_tenants

    add_tenants(hub, tenants, given_settings(settings), max_examples=max_examples)
    print_result({"added": tenants}, [("added", ", ".join(tenants))], as_json=json_output)


@examples("everlearn hub list hubs/support")
def list_(hub: HubPath, json_output: options.Json = False) -> None:
    """Name a hub's tenants."""
    from everlearn.runtime.hub.looking import tenants_at

    names = tenants_at(hub).names()
    if json_output:
        print_json({"tenants": names})
        return
    console = result_console()
    for name in names:
        console.print(escape(name), highlight=False)
    if not names:
        print_note("There are no tenants yet.")


@examples("everlearn hub learn hubs/support acme acme.csv --text-field body --target-field topic")
@taking(
    "text_field",
    "target_field",
    "id_field",
    "domain_field",
    "time_field",
    "encoding",
    "delimiter",
    "batch_size",
    "threads",
)
def learn(
    hub: HubPath,
    tenant: Tenant,
    stream: Annotated[
        str,
        typer.Argument(
            metavar="STREAM", help="A file of any kind that learn reads, or -.", show_default=False
        ),
    ],
    json_output: options.Json = False,
    **settings: Any,
) -> None:
    """Let a tenant learn a stream, as `everlearn learn` does; again: it goes on.

    Other commands work on its run as on any other: it is in HUB/runs/TENANT.
    """
    from everlearn.runtime.commands.hub import learn_tenant
    from everlearn.runtime.commands.learn import LearnRequest
    from everlearn.runtime.interruption import stop_on_signals

    request = LearnRequest(stream=stream, settings=given_settings(settings))
    with (
        ProgressDisplay() as display,
        stop_on_signals(display.stopping) as stop,
        passed_over_objects() as pass_over,
    ):
        outcome = learn_tenant(hub, tenant, request, listener=display, stop=stop, on_ready=pass_over)
    show_outcome(outcome, "The same command goes on.", json_output=json_output)


@examples(
    'everlearn hub predict hubs/support acme "where is my invoice?" --top 5',
    "everlearn hub predict hubs/support acme --file new.csv --json",
)
@taking("text_field", "id_field", "encoding", "delimiter")
def predict(
    hub: HubPath,
    tenant: Tenant,
    texts: PredictTexts = None,
    file: PredictFile = None,
    top: Annotated[int, typer.Option(metavar="K", help="Labels to name for each text.")] = 3,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object a text.")] = False,
    **settings: Any,
) -> None:
    """Predict texts by what a tenant has learned; nothing is learned. The hub may be in use meanwhile."""
    from everlearn.runtime.commands.hub import predict_tenant

    rejected = RejectedRecords()
    asked = texts_asked(texts, file, "everlearn hub predict HUB TENANT")
    predicted = predict_tenant(
        hub,
        tenant,
        asked,
        file,
        top=top,
        settings=given_settings(settings),
        on_rejected=rejected.take,
        on_note=print_note,
    )
    print_answers(predicted, rejected, file or "standard input", json_output=json_output)


@examples("everlearn hub stats hubs/support", "everlearn hub stats hubs/support acme --json")
def stats(
    hub: HubPath,
    tenant: Annotated[
        str | None, typer.Argument(metavar="[TENANT]", help="Only this one.", show_default=False)
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object a tenant.")] = False,
) -> None:
    """Say how many examples and labels each tenant has, and how well it predicted before it learned."""
    from everlearn.runtime.commands.hub import tenant_stats

    found = tenant_stats(hub, tenant)
    if json_output:
        for one in found:
            print_json(one.to_json())
        return
    print_columns(
        ("tenant", "examples", "at most", "labels", "accuracy before learning"),
        [
            [
                one.tenant,
                "" if one.examples is None else number(one.examples),
                "" if one.max_examples is None else number(one.max_examples),
                "" if one.labels is None else number(one.labels),
                "" if one.accuracy is None else score("prequential_accuracy", one.accuracy),
            ]
            for one in found
        ],
    )
    print_note(*(f"{one.tenant}: {one.problem}" for one in found if one.problem is not None))


@examples("everlearn hub remove hubs/support initech --yes")
def remove(
    hub: HubPath,
    tenants: Tenants,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete tenants with everything that they learned; this cannot be undone."""
    from everlearn.runtime.commands.hub import remove_tenants

    if not yes:
        typer.confirm(f"Delete {', '.join(tenants)} from {hub} with everything learned?", abort=True)
    remove_tenants(hub, tenants)
    print_note(f"Removed {', '.join(tenants)}.")
