"""``everlearn consolidate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from everlearn.cli import options
from everlearn.cli.display import ProgressDisplay
from everlearn.cli.examples import examples
from everlearn.cli.failures import print_note
from everlearn.cli.setting_options import given_in, taking
from everlearn.cli.tables import number, percent, print_columns, print_json, print_table
from everlearn.settings.consolidation import ConsolidationSettings

if TYPE_CHECKING:
    from everlearn.learning.consolidation import EpochReport
    from everlearn.runtime.consolidation.consolidate import ConsolidateOutcome

__all__ = ["consolidate"]

_STOPPING = "Stopping. Whole epochs are saved; what was begun after the last one is done again."


@examples(
    "everlearn consolidate runs/desk",
    "everlearn consolidate runs/desk --epochs 3 --threads 8   quicker",
    "everlearn rollback runs/desk 4   back to a version from before it, with the old encoder",
    note="It needs the texts (learn with --keep-text from the beginning) and 2,048 examples, half of which "
    "are used for\ntesting only. While all texts are encoded again, at the end, no other process can learn. "
    "It takes minutes for\nshort texts and hours for many long ones. After Ctrl-C the same command continues "
    "after the last whole epoch.",
)
@taking("threads", own=ConsolidationSettings)
def consolidate(
    run: options.RunPath,
    from_scratch: Annotated[
        bool,
        typer.Option(
            "--from-scratch",
            help="Start from the original encoder, not from that of an earlier consolidation. Then no trace "
            "is left of examples deleted since.",
        ),
    ] = False,
    json_output: options.Json = False,
    **settings: Any,
) -> None:
    """Train the encoder of a run on the texts that the run has learned. Slow; for quiet hours.

    It trains LoRA adapters of the encoder on the journaled texts, encodes every text again and rebuilds the
    head. The result is adopted only if it is better on examples that were not trained on, and not worse on
    the guard's exams. Until then the run is served as before. While the adapters are trained, another process
    may go on learning.
    """
    from everlearn.learning.consolidation import ConsolidationConfig
    from everlearn.runtime.consolidation.consolidate import consolidate_run
    from everlearn.runtime.interruption import stop_on_signals

    config = ConsolidationConfig(**given_in(ConsolidationSettings, settings))
    with ProgressDisplay() as display, stop_on_signals(lambda: display.stopping(_STOPPING)) as stop:
        outcome = consolidate_run(
            run,
            config,
            from_scratch=from_scratch,
            threads=settings["threads"],
            listener=display,
            stop=stop,
            on_epoch=(lambda _: None) if display.is_shown else _print_epoch,
        )
    print_note(*outcome.notes)
    if json_output:
        print_json(outcome.to_json())
        return
    print_columns(
        ("epoch", "loss", "exam loss", "exam accuracy", "seconds"),
        [_epoch_row(report, outcome.best_epoch) for report in outcome.epochs],
    )
    _print_outcome(outcome)


def _print_epoch(report: EpochReport) -> None:
    """For logs, where no progress is shown."""
    print_note(
        f"epoch {report.epoch}: exam loss {report.exam_loss:.4f}, exam accuracy {report.exam_accuracy:.1%}, "
        f"{report.seconds:,.0f} s"
    )


def _epoch_row(report: EpochReport, best: int) -> list[str]:
    return [
        f"{report.epoch}{' *' if report.epoch == best else ''}",
        "" if report.train_loss is None else f"{report.train_loss:.3f}",
        f"{report.exam_loss:.4f}",
        percent(report.exam_accuracy),
        f"{report.seconds:,.0f}",
    ]


def _print_outcome(outcome: ConsolidateOutcome) -> None:
    own = outcome.numbers.get("own")
    rows = [
        ("tuned on", f"{number(outcome.num_tuned)} examples"),
        ("adopted", f"as version {outcome.version}" if outcome.is_adopted else "no: the run is as before"),
        ("because", outcome.reason),
    ]
    if own:
        rows += [
            ("exam accuracy", f"{own['live_accuracy']:.2%} before, {own['candidate_accuracy']:.2%} after"),
            ("exam log loss", f"{own['live_log_loss']:.4f} before, {own['candidate_log_loss']:.4f} after"),
        ]
    rows.append(("fingerprint", f"{outcome.fingerprint_after[:32]}…"))
    print_table(rows)
