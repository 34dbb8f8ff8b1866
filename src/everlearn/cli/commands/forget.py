"""``everlearn forget``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everlearn.cli import options
from everlearn.cli.examples import examples
from everlearn.cli.failures import print_error, print_note
from everlearn.cli.tables import number, print_json, print_table
from everlearn.errors import ConfigError, RunError

if TYPE_CHECKING:
    from everlearn.runtime.deletion.forget import ForgetPlan

__all__ = ["forget"]


def _field_and_value(text: str) -> tuple[str, str]:
    field, separator, value = text.partition("=")
    if not separator or not field:
        raise typer.BadParameter(f"{text!r} is not of the form field=value")
    return field, value


def _cost(plan: ForgetPlan) -> str:
    if not plan.num_folded_again:
        return "nothing is learned again"
    begin = f"the checkpoint after step {plan.from_step:,}" if plan.from_step else "the beginning"
    return (
        f"{plan.num_folded_again:,} examples are learned again from {begin}, about {plan.seconds:.0f} seconds"
    )


def _verification(run: Path, certificate: Path | None) -> str:
    return shlex.join(["everlearn", "verify", str(run), "--certificate", str(certificate)])


def _reissue(run: Path, json_output: bool) -> None:
    from everlearn.runtime.deletion.forget import reissue_in_run
    from everlearn.runtime.folder.run_settings import use_threads_of

    use_threads_of(run)
    written, notes, num_pending = reissue_in_run(run)
    print_note(*notes)
    if json_output:
        print_json({"certificates": [str(path) for path in written], "certificates_pending": num_pending})
    elif written:
        print_table([("certificate", str(path)) for path in written])
    elif not num_pending:
        print_note("Every certificate is where it was written.")
    if num_pending:
        raise typer.Exit(RunError.exit_code)


@examples(
    "everlearn forget runs/desk --id m-0017 --id m-0018",
    "everlearn forget runs/desk --where customer=c42 --dry-run",
    "everlearn forget runs/desk --reissue  (certificates that a crash has held up)",
)
def forget(
    run: options.RunPath,
    ids: Annotated[
        list[str] | None, typer.Option("--id", metavar="ID", help="An example's id; may be given many times.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="All examples with this value in this field. If given several times, all must be true. A "
            "field is a field of the file by its name there, or id, target (label), domain or time. Text "
            "must be exactly equal; true equals True, 1 equals 1.0. A field that no record has is an error.",
        ),
    ] = None,
    approximate: Annotated[
        bool,
        typer.Option(
            "--approximate",
            help="Gradient learner: only remove them from journal and replay memory. The weights keep what "
            "they learned; the certificate does not claim otherwise.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be deleted, and the cost.")
    ] = False,
    reissue: Annotated[
        bool,
        typer.Option(
            "--reissue",
            help="Delete nothing new: finish deletions that a crash or a reader of the journal interrupted, "
            "and write their certificates and those whose files are missing.",
        ),
    ] = False,
    json_output: options.Json = False,
) -> None:
    """Delete examples from a run: what was learned from them, their codes, ids, texts and predictions.

    They are removed from the state, the journal, checkpoints and versions, and rejected if they arrive again.
    The run then equals, to the bit, a run that never saw them. The closed-form learner subtracts them. The
    gradient learner goes back to the last checkpoint before the first of them and learns the rest again.
    A certificate is written, and the command that checks it is printed. While another process reads the
    journal, deleted text may still be in its write-ahead log. After half a minute the certificate then stays
    pending, as after a crash; the next command that writes the run issues it, or --reissue.
    """
    from everlearn.runtime.deletion.forget import forget_in_run
    from everlearn.runtime.fold.certificates import pending_note
    from everlearn.runtime.folder.run_settings import use_threads_of

    if reissue:
        if ids or where or approximate or dry_run:
            raise ConfigError("--reissue forgets nothing: give it alone")
        _reissue(run, json_output)
        return
    plans: list[ForgetPlan] = []

    def on_plan(plan: ForgetPlan) -> bool:
        plans.append(plan)
        if plan.num_folded_again and not dry_run:
            print_note(_cost(plan))
        return True

    use_threads_of(run)
    outcome = forget_in_run(
        run,
        ids=ids or (),
        where=[_field_and_value(condition) for condition in where or ()],
        approximate=approximate,
        dry_run=dry_run,
        on_plan=on_plan,
    )
    print_note(*outcome.notes)
    if dry_run and plans:
        if json_output:
            print_json(plans[0].to_json())
        else:
            print_table([("would forget", number(plans[0].num_examples)), ("cost", _cost(plans[0]))])
        if outcome.unknown_ids:
            print_note(f"not in the run: {', '.join(outcome.unknown_ids)}")
        return
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
                ("certificate", str(outcome.certificate or "pending")),
            ]
        )
        if outcome.certificate is not None:
            print_note(f"Check it with: {_verification(run, outcome.certificate)}")
    problem = None
    if outcome.num_forgotten and outcome.certificate is None:
        problem = pending_note(run, outcome.num_pending)
    elif outcome.unknown_ids:
        done = "; the others are forgotten" if outcome.num_forgotten else ""
        problem = f"not in the run: {', '.join(outcome.unknown_ids)}{done}"
    elif where and not outcome.num_forgotten:
        problem = f"no example of the run has {' and '.join(where)}"
    if problem is not None:
        print_error(problem)
        raise typer.Exit(RunError.exit_code)
