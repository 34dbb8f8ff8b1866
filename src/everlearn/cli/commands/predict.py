"""``everlearn predict``."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from everlearn.cli import options
from everlearn.cli.examples import examples
from everlearn.cli.failures import print_error, print_note
from everlearn.cli.setting_options import given_settings, taking
from everlearn.cli.tables import print_json, result_console
from everlearn.errors import ConfigError, InputError

if TYPE_CHECKING:
    from everlearn.stream.source import Rejection
    from everlearn.tasks.answer import PredictedText

__all__ = ["PredictFile", "PredictTexts", "RejectedRecords", "predict", "print_answers", "texts_asked"]

PredictTexts = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[TEXT…|-]",
        help="Texts; or - for standard input: JSON lines, or one text a line.",
        show_default=False,
    ),
]
PredictFile = Annotated[
    str | None,
    typer.Option(
        "--file",
        metavar="FILE",
        help="Predict what is in a file, of any kind that learn reads. Default: none.",
        show_default=False,
    ),
]


@examples(
    'everlearn predict runs/desk "where is my invoice?" --top 5',
    "everlearn predict runs/desk --file new.csv --json",
    "cat new.jsonl | everlearn predict runs/desk - --json",
)
@taking("text_field", "id_field", "threads", "encoding", "delimiter")
def predict(
    run: options.RunPath,
    texts: PredictTexts = None,
    file: PredictFile = None,
    top: Annotated[int, typer.Option(metavar="K", help="Labels to name for each text.")] = 3,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object a text.")] = False,
    **settings: Any,
) -> None:
    """Predict texts by what a run has learned; nothing is learned. A run may be in use meanwhile.

    An encoder-decoder's run prints translations. What a language model writes: everlearn generate.
    """
    from everlearn.runtime.commands.predict import predict_stream, predict_texts

    rejected, given = RejectedRecords(), given_settings(settings)
    asked = texts_asked(texts, file, "everlearn predict RUN")
    if asked is None:
        predicted = predict_stream(
            run, file or "-", top=top, settings=given, on_rejected=rejected.take, on_note=print_note
        )
    else:
        predicted = iter(predict_texts(run, asked, top=top, settings=given, on_note=print_note))
    print_answers(predicted, rejected, file or "standard input", json_output=json_output)


def texts_asked(texts: list[str] | None, file: str | None, command: str) -> list[str] | None:
    """Texts that are given one by one; None: they are in a file, or come from standard input.

    Args:
        texts: As given.
        file: The same.
        command: What to type before ``--file``.

    Raises:
        ConfigError: Both are given.
    """
    if file is not None and texts:
        raise ConfigError("give texts or --file, not both")
    if file is not None or not texts or texts == ["-"]:
        if file is None and not texts and sys.stdin.isatty():
            print_note("Reading texts from the terminal, one a line; end with Ctrl-D.")
        return None
    for text in texts:
        if text != "-" and _is_file(text):
            name = shlex.quote(text)
            print_note(f"{text} is taken as a text. For what is in that file: {command} --file {name}")
    return texts


def print_answers(
    predicted: Iterator[PredictedText], rejected: RejectedRecords, source: str, *, json_output: bool
) -> None:
    """Print answers as they come; then what could not be used is an error, and that there was nothing."""
    console, is_empty = result_console(), True
    for answer in predicted:
        is_empty = False
        if json_output:
            print_json(answer.to_json())
            continue
        if answer.is_translation:
            print(answer.top[0][0], flush=True)
            continue
        console.print(line_of(answer))
    if rejected.first is not None:
        records = "record" if rejected.count == 1 else "records"
        first = f"{rejected.first.place}: {rejected.first.reason}"
        print_error(f"{rejected.count:,} {records} could not be used; the first: {first}")
        raise typer.Exit(InputError.exit_code)
    if is_empty:
        raise InputError(f"{source} is empty: there is no text to predict")


def line_of(answer: PredictedText) -> str:
    """What is said of a text, and the text, in markup."""
    flag = "  [yellow](unlike anything learned)[/]" if answer.is_outlier else ""
    shown = answer.id if answer.text is None else answer.text
    return f"{ranking_of(answer)}{flag}  [dim]{escape(shown)}[/]"


def ranking_of(answer: PredictedText) -> str:
    """The labels with their probabilities, in markup; of several, those that are predicted are bold."""
    shown = [(label, f"{escape(label)} {probability:.1%}") for label, probability in answer.top]
    if answer.labels is None:
        return f"[bold]{'  '.join(text for _, text in shown)}[/]"
    said = [text for label, text in shown if label in answer.labels]
    ranked = {label for label, _ in shown}
    said += [escape(label) for label in answer.labels if label not in ranked]
    others = "  ".join(text for label, text in shown if label not in answer.labels)
    return f"[bold]{'  '.join(said) or 'no label'}[/]" + (f"  [dim]({others})[/]" if others else "")


class RejectedRecords:
    """Records that could not be used: how many, and the first. A pipe may go on for ever."""

    def __init__(self) -> None:
        self.count = 0
        self.first: Rejection | None = None

    def take(self, rejection: Rejection) -> None:
        """Count one."""
        self.count += 1
        self.first = self.first or rejection


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # longer than any name, or with a character that no name has
        return False
