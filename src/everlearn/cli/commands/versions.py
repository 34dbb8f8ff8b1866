"""``everlearn versions``, ``diff``, ``blame`` and ``rollback``: a run's history, and going back in it."""

from __future__ import annotations

from typing import Annotated

import typer

from everlearn.cli import options
from everlearn.cli.examples import examples
from everlearn.cli.failures import print_note
from everlearn.cli.tables import (
    number,
    print_columns,
    print_json,
    print_result,
    print_table,
    score,
    score_name,
    short_time,
)

__all__ = ["blame", "diff", "rollback", "versions"]


@examples("everlearn versions runs/desk", "everlearn versions runs/desk --decisions")
def versions(
    run: options.RunPath,
    decisions: Annotated[
        bool, typer.Option("--decisions", help="Also list what was decided, and on what figures.")
    ] = False,
    json_output: options.Json = False,
) -> None:
    """List the versions of a run: accepted states, with lineage, scores and fingerprint.

    Without guard, a version is made at the end of every learn; with guard, of every candidate that is
    not worse than the version before.
    """
    from everlearn.runtime.history.lineage import list_versions

    found = list_versions(run)
    if json_output:
        print_json(found.to_json())
        return
    rows = []
    for version in found.versions:
        is_served = version.version == found.serving
        scores = ", ".join(
            f"{score_name(name)} {score(name, value)}" for name, value in version.scores.items()
        )
        rows.append(
            [
                f"{version.version}{' *' if is_served else ''}",
                "" if version.parent is None else str(version.parent),
                number(version.num_examples),
                scores,
                version.fingerprint[:12],
                short_time(version.time),
                found.status_of(version),
            ]
        )
    if not rows:
        print_note("There are no versions yet.")
    are_accuracies = all(name.endswith("_accuracy") for version in found.versions for name in version.scores)
    scores_are = "accuracy" if are_accuracies else "scores"
    print_columns(("version", "parent", "learned", scores_are, "fingerprint", "time (UTC)", "status"), rows)
    if found.serving is None:
        print_note("The newest state is served.")
    else:
        print_note(f"Version {found.serving} (*) is served.")
    if decisions:
        print_columns(
            ("decision", "steps", "kind", "verdict", "reason"),
            [
                [
                    str(decision.decision),
                    f"{decision.first_step}-{decision.step}",
                    decision.kind,
                    decision.verdict,
                    decision.reason,
                ]
                for decision in found.decisions
            ],
        )


@examples("everlearn diff runs/desk 3 5")
def diff(
    run: options.RunPath,
    first: Annotated[int, typer.Argument(metavar="VERSION", help="A version.", show_default=False)],
    second: Annotated[int, typer.Argument(metavar="VERSION", help="Another one.", show_default=False)],
    json_output: options.Json = False,
) -> None:
    """Compare two versions: their scores, and the examples that only one of them holds."""
    from everlearn.runtime.history.lineage import diff_versions

    found = diff_versions(run, first, second)
    if json_output:
        print_json(found.to_json())
        return
    rows = [
        (name, f"{score(name, a) or '-'} → {score(name, b) or '-'}") for name, (a, b) in found.scores.items()
    ]
    for title, labels, ids in (
        ("learned", found.learned, found.learned_ids),
        ("unlearned", found.unlearned, found.unlearned_ids),
    ):
        total = sum(labels.values())
        rows.append((title, f"{total:,} examples" if total else "nothing"))
        if total:
            most = ", ".join(f"{label} {count:,}" for label, count in list(labels.items())[:10])
            rows.append(("", most))
            rows.append((f"{title} ids", ", ".join(ids) + (" …" if total > len(ids) else "")))
    print_table([row for row in rows if row[1]])


@examples("everlearn blame runs/desk --id m-0017")
def blame(
    run: options.RunPath,
    id_: Annotated[str, typer.Option("--id", metavar="ID", help="The example's id.", show_default=False)],
    json_output: options.Json = False,
) -> None:
    """Tell where an example came from, what was predicted for it, and which versions learned it."""
    from everlearn.runtime.history.lineage import blame_example

    found = blame_example(run, id_)
    learned = [f"step {step}" + (" (set aside)" if aside else "") for step, aside in found.learned]
    predicted = ""
    if found.predicted is not None:
        predicted = f"{found.predicted[0] or 'nothing yet'} ({found.predicted[1]:.1%})"
    rows = [
        ("id", found.id),
        ("arrived", f"step {found.arrived[0]:,}, {found.arrived[1][:19]}"),
        ("target", found.target or "none yet"),
        ("predicted then", predicted),
        ("learned in", ", ".join(learned) or "no step"),
        ("versions with it", ", ".join(map(str, found.versions)) or "none"),
        ("in the newest state", "yes" if found.is_held else "no"),
    ]
    print_result(found.to_json(), rows, as_json=json_output)


@examples(
    "everlearn rollback runs/desk 3  (serve version 3, learn on from there)",
    "everlearn rollback runs/desk 3 --keep-learned  (only serve it; learning goes on from the head)",
    "everlearn rollback runs/desk head  (serve the newest state again; with a guard, version)",
)
def rollback(
    run: options.RunPath,
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="A version, or head.", show_default=False)
    ],
    keep_learned: Annotated[
        bool,
        typer.Option(
            "--keep-learned", help="Only serve it; learning goes on from the newest state. Default: no."
        ),
    ] = False,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Is kept in the journal with the decision.")
    ] = "on request",
    json_output: options.Json = False,
) -> None:
    """Serve an earlier version again, at once.

    What was learned since is set aside, and learning continues from that version. The journal keeps
    everything, but this cannot be undone. To try a version first, add --keep-learned: then
    `everlearn rollback RUN head` brings everything back.

    With a guard, the version is served until a candidate is not worse than it, and head is the version
    accepted last. A state that no exam has tested is not served; the next candidate includes it.
    """
    from everlearn.runtime.folder.run_settings import use_threads_of
    from everlearn.runtime.history.rollback import rollback_run

    if version != "head" and not version.isdecimal():
        raise typer.BadParameter(f"{version!r} is neither a version's number nor head")
    use_threads_of(run)
    outcome = rollback_run(
        run, None if version == "head" else int(version), keep_learned=keep_learned, reason=reason
    )
    if json_output:
        print_json(outcome.to_json())
        return
    print_table(
        [
            ("serving", "the newest state" if outcome.version is None else f"version {outcome.version}"),
            (
                "set aside",
                f"{outcome.num_examples:,} examples in {outcome.num_set_aside:,} steps"
                if outcome.num_set_aside
                else "",
            ),
            ("fingerprint", f"{outcome.fingerprint[:32]}…"),
        ]
    )
    if outcome.num_set_aside:
        print_note(
            "What was set aside stays in the journal (`everlearn journal export`), but is not learned again "
            "from its streams: their records are known."
        )
