"""``everlearn replay``."""

from __future__ import annotations

from typing import Annotated

import typer

from everlearn.cli import options
from everlearn.cli.display import ProgressDisplay
from everlearn.cli.tables import number, percent, print_columns, print_json, print_table

__all__ = ["replay"]

EPILOG = """
[bold]Examples[/bold]

  [cyan]everlearn replay runs/desk --features 1024[/]

  [cyan]everlearn replay runs/desk --learner gradient --train head --test test.jsonl[/]
"""


def replay(
    context: typer.Context,
    run: options.RunPath,
    test: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Held-out examples with targets; never learned. Default: none."),
    ] = None,
    json_output: options.Json = False,
    learner: options.LearnerKind = None,
    memory_budget: options.MemoryBudget = None,
    features: options.NumFeatures = None,
    seed: options.Seed = None,
    optimizer: options.Optimizer = None,
    learning_rate: options.LearningRate = None,
    head_learning_rate: options.HeadLearningRate = None,
    train: options.Train = None,
    lora_rank: options.LoraRank = None,
    replay: options.Replay = None,
    threads: options.Threads = None,
) -> None:
    """Fold another learner over a run's journal, step by step, and compare with what was predicted then.

    The run stays as it is. A gradient learner needs the texts (learn --keep-text).
    """
    from everlearn.runtime.commands.replay import replay_run

    with ProgressDisplay() as display:
        outcome = replay_run(run, options.given_settings(context), test=test, listener=display)
    if json_output:
        print_json(outcome.to_json())
        return
    names = (
        ("accuracy", "prequential accuracy"),
        ("macro_f1", "macro F1"),
        ("calibration_error", "calibration error"),
    )
    rows = [
        [title, percent(outcome.recorded[name]), percent(outcome.replayed[name])] for name, title in names
    ]
    rows.append(["log loss", f"{outcome.recorded['log_loss']:.3f}", f"{outcome.replayed['log_loss']:.3f}"])
    print_columns(("", "then", "this learner"), rows)
    print_table(
        [
            ("examples", number(outcome.num_examples)),
            ("test accuracy", percent(outcome.test_accuracy)),
            ("seconds", f"{outcome.seconds:,.1f}"),
            ("fingerprint", f"{outcome.fingerprint[:32]}…"),
        ]
    )


replay.epilog = EPILOG  # type: ignore[attr-defined]
