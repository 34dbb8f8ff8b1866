"""``everlearn replay``."""

from __future__ import annotations

from typing import Any

from everlearn.cli import options
from everlearn.cli.display import ProgressDisplay
from everlearn.cli.examples import examples
from everlearn.cli.setting_options import given_settings, taking
from everlearn.cli.tables import number, percent, print_columns, print_json, print_table

__all__ = ["replay"]


@examples(
    "everlearn replay runs/desk --features 1024",
    "everlearn replay runs/desk --learner gradient --train head --test test.jsonl",
)
@taking(
    *("learner", "memory_budget", "features", "seed"),
    *("optimizer", "learning_rate", "head_learning_rate", "train", "lora_rank", "replay", "threads"),
)
def replay(
    run: options.RunPath, test: options.Test = None, json_output: options.Json = False, **settings: Any
) -> None:
    """Learn a run's journal with another learner, step by step, and compare with the predictions made then.

    The run does not change. A gradient learner needs the texts (learn --keep-text).
    """
    from everlearn.runtime.commands.replay import replay_run

    with ProgressDisplay() as display:
        outcome = replay_run(run, given_settings(settings), test=test, listener=display)
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
