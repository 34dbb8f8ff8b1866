"""``demo``: twelve weeks of messages to a support desk, learned in the order in which they came."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from everlearn.demo_data import support_desk_stream, support_desk_test
from everlearn.errors import RunError
from everlearn.runtime.commands.learn import LearnOutcome, LearnRequest, learn_stream
from everlearn.runtime.commands.predict import predict_texts
from everlearn.runtime.deletion.forget import ForgetOutcome, forget_in_run
from everlearn.runtime.fold.refold import fold_without_state
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.folder.run_settings import new_folder_name
from everlearn.runtime.interruption import StopFlag
from everlearn.runtime.listener import SILENT, Listener
from everlearn.tasks.answer import PredictedText
from everlearn.tasks.batch_result import BatchResult
from everlearn.types import Example

__all__ = ["RENAMING_WEEK", "DemoOutcome", "Week", "run_demo"]

RENAMING_WEEK = 7
"""In this week the product of the demo's company gets another name."""

_BATCH_SIZE = 16
_MESSAGES = (
    "I forgot my password and the mail for setting a new one never arrives",
    "two clients turned up for the same haircut at ten o'clock",
    "Who on earth is Almanara and why are they charging my card?",
    "what would you cook with red lentils and half a pumpkin?",
)


@dataclass(slots=True)
class Week:
    """A week of the stream, counted from 1.

    Attributes:
        number: Which.
        first_day: Its Monday.
        messages: Messages that came.
        right: Messages whose true intent was predicted before they were learned.
        wrong_labels: Messages that were filed under a wrong intent, and learned so.
        flagged: Messages flagged as unlike anything learned.
        new_labels: Intents seen for the first time.
    """

    number: int
    first_day: date
    messages: int = 0
    right: int = 0
    wrong_labels: int = 0
    flagged: int = 0
    new_labels: list[str] = field(default_factory=list)

    @property
    def accuracy(self) -> float:
        """Share of messages predicted right, 0…1."""
        return self.right / self.messages if self.messages else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOutcome:
    """What the demo showed.

    Attributes:
        run: How the learning ended.
        weeks: The stream week by week.
        customer: Whose messages were forgotten.
        forgotten: What was forgotten.
        forgetting_is_proved: Whether learning the other messages alone, from nothing, gives the same
            fingerprint.
        predictions: Of a few new messages.
    """

    run: LearnOutcome
    weeks: list[Week]
    customer: str
    forgotten: ForgetOutcome
    forgetting_is_proved: bool
    predictions: list[PredictedText]


def run_demo(
    out: Path | None = None, *, listener: Listener = SILENT, stop: StopFlag | None = None
) -> DemoOutcome | LearnOutcome:
    """Learn the data set that ships with everlearn, then forget a customer and predict new messages.

    Args:
        out: The run folder; None: a new one under ``runs/``.
        listener: Is told what happens.
        stop: Asks for an early end.

    Returns:
        What it showed; only how the learning ended where it was stopped early.

    Raises:
        RunError: ``out`` exists.
        ModelError: The encoder cannot be loaded.
        StorageError: ``out`` cannot be written.
    """
    out = out if out is not None else new_folder_name("demo")
    if out.exists():
        raise RunError(f"{out} exists; the demo begins anew, so give it another folder with --out")
    diary = _Diary()
    request = LearnRequest(
        stream=str(support_desk_stream()),
        out=out,
        test=str(support_desk_test()),
        settings={"stream.batch_size": _BATCH_SIZE, "run.keep_text": True},
    )
    run = learn_stream(request, listener=listener, stop=stop, observers=(diary,))
    if run.interrupted:
        return run
    customer, _ = diary.customers.most_common(1)[0]
    listener.stage("forgetting a customer")
    forgotten = forget_in_run(out, where=[("customer", customer)])
    listener.stage("learning the others from nothing, to compare")
    proved = _fingerprint_of_remaining(out) == forgotten.fingerprint_after
    run.summary["peak_memory_mb"] = _reported_memory(out)
    listener.stage("predicting new messages")
    return DemoOutcome(
        run=run,
        weeks=list(diary.weeks.values()),
        customer=customer,
        forgotten=forgotten,
        forgetting_is_proved=proved,
        predictions=predict_texts(out, _MESSAGES, top=2),
    )


class _Diary:
    """Keeps what happened in each week; an Observer."""

    def __init__(self) -> None:
        self.weeks: dict[int, Week] = {}
        self.customers: Counter[str] = Counter()
        self._labels: set[str] = set()

    def __call__(self, result: BatchResult) -> None:
        for example, prediction in zip(result.examples, result.predictions, strict=True):
            week = self._week(example)
            truth = example.fields.get("correct_label", example.target)
            week.messages += 1
            week.right += prediction.label == truth
            week.wrong_labels += truth != example.target
            week.flagged += prediction.is_outlier
            if truth is not None and truth not in self._labels:
                self._labels.add(truth)
                week.new_labels.append(truth)
            if "customer" in example.fields:
                self.customers[str(example.fields["customer"])] += 1

    def _week(self, example: Example) -> Week:
        day = date.fromisoformat((example.time or "")[:10])
        monday = day - timedelta(days=day.weekday())
        first = next(iter(self.weeks.values())).first_day if self.weeks else monday
        number = (monday - first).days // 7 + 1
        return self.weeks.setdefault(number, Week(number=number, first_day=monday))


def _reported_memory(run: Path) -> float:
    """The peak that the report gives, which was written anew after forgetting."""
    with RunFolder.open_to_read(run) as folder:
        return float(folder.newest_checkpoint().run["summary"]["peak_memory_mb"])


def _fingerprint_of_remaining(run: Path) -> str:
    with RunFolder.open_to_read(run) as folder:
        journal = folder.journal
        return fold_without_state(folder, journal.last_step, journal.generation).fingerprint()
