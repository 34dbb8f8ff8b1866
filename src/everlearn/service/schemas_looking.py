"""What is asked of the service to look closely, and what it answers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from everlearn.service.asked_body import AskedBody
from everlearn.service.schemas import Answered, Name, PredictedText, Text

__all__ = [
    "ConfusedWith",
    "ExamplesResponse",
    "ExplainRequest",
    "ExplainResponse",
    "HistoryPoint",
    "HistoryResponse",
    "Job",
    "JobsResponse",
    "LabelCounts",
    "LabelSummary",
    "LabelsResponse",
    "NearExample",
    "RejectedLine",
    "RenameRequest",
    "RenameResponse",
    "ShownExample",
    "TellingWord",
]


class _Asked(AskedBody, BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class _Told(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class ShownExample(_Told):
    """An example of the journal."""

    id: str
    offset: int
    """Its place in the journal."""
    step: int
    """The step that it came with."""
    time: str
    """When that was (ISO 8601)."""
    text: str | None
    """null where texts are not kept."""
    target: str | None
    """Its present target."""
    predicted: str | None
    """What was said of it before it was learned."""
    confidence: float | None
    outlier_score: float | None
    is_outlier: bool
    status: Literal["learned", "waiting", "unlabelled", "exam", "held", "thinned", "unlearnable", "set_aside"]
    """As of ``/v1/learn``; ``set_aside``: its step was, by the guard or a rollback."""
    domain: str | None
    fields: dict[str, Any]


class ExamplesResponse(_Told):
    """A page of examples."""

    tenant: str
    items: list[ShownExample]
    next: int | None
    """Where the next page goes on (as ``after``); null: there is nothing more. A page may be short, or
    empty, and go on all the same: for each a bounded part of the journal is read."""


class ConfusedWith(_Told):
    """What was predicted in place of a label."""

    label: str
    count: int


class LabelSummary(_Told):
    """A label."""

    label: str
    examples: int
    """That are learned now."""
    arrived: int
    """That were predicted before they were learned, and have a target."""
    right: int
    """Of these: rightly predicted."""
    confused_with: list[ConfusedWith]
    """What was predicted in its place, most often first; at most five."""


class LabelsResponse(_Told):
    """All labels, the most frequent first."""

    tenant: str
    labels: list[LabelSummary]


class RenameRequest(_Asked):
    """Another name for a label."""

    label: Name = Field(alias="from")
    """The label."""
    name: Name = Field(alias="to")
    """Its name from now on; where there is a label of this name, the two become one."""
    tenant: Name | None = None


class RenameResponse(Answered):
    """How many examples have another target now."""

    renamed: int
    not_renamed: int = 0
    """Those that could not be corrected; ``reason`` says why the first was not."""
    reason: str | None = None


class ExplainRequest(_Asked):
    """A text whose prediction is to be explained."""

    text: Text
    tenant: Name | None = None
    nearest: int = Field(5, ge=0, le=50)
    """How many learned examples to name."""
    top: int = Field(3, ge=1, le=1_000)
    """How many labels to name."""


class NearExample(_Told):
    """A learned example that is like a text."""

    id: str
    text: str | None
    target: str
    similarity: float
    """Cosine of the codes of the encoder's last layer, from -1 to 1."""


class TellingWord(_Told):
    """A word of a text."""

    word: str
    weight: float
    """By how much the probability of the predicted label drops without it; negative: it speaks against."""


class ExplainResponse(Answered):
    """A prediction, and why."""

    prediction: PredictedText
    nearest: list[NearExample]
    words: list[TellingWord]
    """Those that weigh most first."""
    words_left_out: int = 0
    """Words beyond those that are looked at."""


class HistoryPoint(_Told):
    """The run at the end of a step."""

    step: int
    time: str
    examples: int
    """That had arrived; those deleted since are among them."""
    rolling_accuracy: float | None
    """Of the newest examples of then, by their present targets."""
    labels: int
    """That were known."""


class LabelCounts(_Told):
    """What arrived between two points."""

    time: str
    """Of the latter."""
    counts: dict[str, int]
    """By label; at most twelve, and ``other``."""


class HistoryResponse(_Told):
    """How a run went."""

    tenant: str
    points: list[HistoryPoint]
    label_counts: list[LabelCounts]
    """One a point."""
    decisions: list[dict[str, Any]]
    """Of the guard and of people, the newest ones, oldest first."""


class RejectedLine(_Told):
    """A line of a file that gave no example."""

    line: int
    """Its number, from 1."""
    reason: str
    """Why it gave none."""
    id: str | None = None
    """Of the example that is known under its id, where that is the reason."""


class Job(_Told):
    """A file that is learned."""

    id: str
    tenant: str
    state: Literal["waiting", "running", "done", "failed", "stopped"]
    lines: int
    """Of the file."""
    taken: int
    """Lines that were dealt with."""
    learned: int
    """Examples that are learned."""
    known: int
    """Examples that were known before, with the same target."""
    statuses: dict[str, int]
    """Examples by what became of them, as of ``/v1/learn``."""
    num_rejected: int
    """Lines that gave no example."""
    rejected: list[RejectedLine]
    """The first of them."""
    first_offset: int | None
    """Where the first example is in the journal that came with it; null: none did."""
    last_offset: int | None
    """Where the last one is. What came from elsewhere meanwhile is between them, too."""
    error: str | None
    """Why it has failed; or, while it runs, what it is waiting for."""
    by: str
    """Whose key it was."""
    time: float
    """When it was uploaded, in seconds since 1970."""


class JobsResponse(_Told):
    """Jobs, the newest first."""

    jobs: list[Job]
