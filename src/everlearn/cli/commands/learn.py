"""``everlearn learn``."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everlearn.cli import options
from everlearn.cli.collector import passed_over_objects
from everlearn.cli.display import ProgressDisplay
from everlearn.cli.examples import example_text
from everlearn.cli.failures import STOPPED_EXIT_CODE, print_error, print_note
from everlearn.cli.setting_options import given_settings, taking
from everlearn.cli.tables import print_result, summary_rows
from everlearn.errors import InputError

if TYPE_CHECKING:
    from everlearn.runtime.commands.learn import LearnOutcome

__all__ = ["learn", "show_outcome"]

_EXAMPLES = {
    "classify": (
        "everlearn learn messages.jsonl --out runs/desk  (again: goes on)",
        "everlearn learn train.csv --text-field body --target-field topic --test test.csv",
        "everlearn learn train.jsonl.gz --order by-class --experiences 10 --test test.jsonl.gz --json",
        "tail -f live.jsonl | everlearn learn - --out runs/live --batch-size 32",
        "everlearn learn train.jsonl --learner gradient --train lora --replay 1500",
        "everlearn learn messages.jsonl --out runs/desk --guard --guard-every 2000",
    ),
    "multilabel": (
        "everlearn learn comments.jsonl --out runs/comments  (label: a list; again: goes on)",
        "everlearn learn comments.jsonl --task multilabel --test test.jsonl",
    ),
    "lm": (
        "everlearn learn corpus.txt --task lm --out runs/novel --replay 2000",
        "everlearn learn poems.txt --task lm --out runs/poems --grow-vocabulary 250",
    ),
    "seq2seq": ("everlearn learn pairs.jsonl --task seq2seq --model models/en-de",),
}


@taking("*")
def learn(
    context: typer.Context,
    stream: Annotated[
        str,
        typer.Argument(
            metavar="STREAM",
            help="JSON, CSV, TSV, text (also .gz, .zst), Parquet, Arrow, a codes file, "
            "hf:NAME[:SPLIT], or - for standard input.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Run folder; one that exists is continued. Default: a new one in runs/."
        ),
    ] = None,
    test: options.Test = None,
    general: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Other text (or pairs), never learned, to show forgetting. The summary says how well the "
            "model knew it before the run and how well it does now. Default: none.",
            rich_help_panel="Language model (--task lm)",
        ),
    ] = None,
    config: options.ConfigFile = None,
    json_output: options.Json = False,
    **settings: Any,
) -> None:
    """Predict and learn a stream in batches, and save a run folder with a report.

    Each batch is predicted before it is learned, so the scores shown are honest. Ctrl-C finishes the
    batch and saves; the same command goes on.
    """
    from everlearn.runtime.commands.learn import LearnRequest, learn_stream
    from everlearn.runtime.interruption import stop_on_signals

    request = LearnRequest(
        stream=stream,
        out=out,
        settings=given_settings(settings),
        config_file=config,
        test=test,
        general=general,
    )
    with (
        ProgressDisplay() as display,
        stop_on_signals(display.stopping) as stop,
        passed_over_objects() as pass_over,
    ):
        outcome = learn_stream(request, listener=display, stop=stop, on_ready=pass_over)
    again = options.command_again(context, out=str(outcome.folder))
    piped = " What is piped counts as new text: pipe what was not read yet." if stream == "-" else ""
    show_outcome(outcome, f"Go on with: {again}{piped}", json_output=json_output)


def show_outcome(outcome: LearnOutcome, how_to_go_on: str, *, json_output: bool) -> None:
    """Print how a ``learn`` ended, and end the program as it ended."""
    print_note(*outcome.notes)
    rows = [*summary_rows(outcome.summary), ("report", str(outcome.folder / "report.html"))]
    figures = outcome.summary | {"run": str(outcome.folder), "interrupted": outcome.interrupted}
    print_result(figures, rows, as_json=json_output)
    if outcome.interrupted:
        print_note(f"Stopped. Everything up to here is saved in {outcome.folder}. {how_to_go_on}")
        raise typer.Exit(STOPPED_EXIT_CODE)
    if outcome.loss is not None:
        print_error(outcome.loss)
        raise typer.Exit(InputError.exit_code)


learn.epilog = example_text(chain(*_EXAMPLES.values()))  # type: ignore[attr-defined]
learn.examples = {task: example_text(lines[:1]) for task, lines in _EXAMPLES.items()}  # type: ignore[attr-defined]
