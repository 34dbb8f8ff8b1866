"""What is sent to the service, and what it answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from everlearn.service.asked_body import AskedBody

__all__ = [
    "Answered",
    "CorrectRequest",
    "ExampleIn",
    "ExamplesIn",
    "FeedbackRequest",
    "FeedbackResponse",
    "ForgetRequest",
    "ForgetResponse",
    "LabelShare",
    "LearnResponse",
    "LearnedExample",
    "PredictRequest",
    "PredictResponse",
    "PredictedText",
    "ReviewItem",
    "ReviewRequest",
    "ReviewResponse",
    "RollbackRequest",
    "RollbackResponse",
]

Name = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]
Text = Annotated[str, StringConstraints(min_length=1)]
Target = Name | list[Name]
"""A label, a target text; or a list of labels, where examples may have several."""


class _Asked(AskedBody, BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class _Told(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class Answered(_Told):
    """What every answer bears."""

    tenant: str
    version: int | None = None
    """The version that answered; null: the newest state."""
    step: int
    """The step of the journal that it goes up to."""
    fingerprint: str | None = None
    """SHA-256 of what was learned in it; null where it has not been computed yet, see /v1/fingerprint."""


class PredictRequest(_Asked):
    """Texts to predict: one, or several."""

    text: Text | None = None
    texts: list[Text] | None = Field(None, min_length=1)
    tenant: Name | None = None
    """Whom to ask; may be left out where there is one only."""
    version: int | None = Field(None, ge=1, le=2**53)
    """A version to ask, in place of what is served."""
    top: int = Field(3, ge=1, le=1_000)
    """How many labels to name for each text."""
    remember: bool = True
    """Keep text and answer for a while, so that feedback can name them."""


class LabelShare(_Told):
    """A label and its probability."""

    label: str
    probability: float


class PredictedText(_Told):
    """What is said of a text."""

    id: str | None
    """For feedback; null where it is not remembered."""
    label: str | None = None
    """The most probable label; null where nothing was learned, or where there may be several."""
    probability: float | None = None
    labels: list[str] | None = None
    """All that are predicted, where there may be several."""
    translation: str | None = None
    """What an encoder-decoder writes."""
    top: list[LabelShare] = []
    outlier_score: float | None = None
    """How far the text is from everything learned; higher is farther."""
    is_outlier: bool = False


class PredictResponse(Answered):
    """What is said of texts, in their order."""

    predictions: list[PredictedText]


class ExampleIn(_Asked):
    """An example to learn."""

    text: Text | None = None
    """The text; left out where only the target for a known id is given."""
    target: Target | None = None
    id: Name | None = None
    """Names it for ever after: for a correction, a deletion, or the same again, which does no harm."""
    domain: Name | None = None
    time: Name | None = None
    """ISO 8601."""
    fields: dict[str, Any] = {}
    """Whatever else is known of it, for selection when forgetting."""
    tenant: Name | None = None


class ExamplesIn(_Asked):
    """Examples to learn, as one batch."""

    examples: list[ExampleIn] = Field(min_length=1)
    tenant: Name | None = None


class LearnedExample(_Told):
    """What became of an example."""

    id: str
    status: Literal[
        "learned",
        "waiting",
        "unlabelled",
        "exam",
        "held",
        "thinned",
        "known",
        "set_aside",
        "corrected",
        "rejected",
        "unlearnable",
    ]
    """``learned``; ``waiting`` for its turn; ``unlabelled``: its target may come later; ``exam``: kept to
    candidates on; ``held`` for review; ``known``: the same as before; ``set_aside``: so, too, but not
    learned, as a rollback or the guard has set it aside; ``corrected``: another target; ``rejected``: see
    reason; ``unlearnable``: left out, as it cannot be learned."""
    offset: int | None = None
    """Its place in the journal: it is durable."""
    predicted: str | None = None
    """What was said of it before it was learned."""
    confidence: float | None = None
    reason: str | None = None


class LearnResponse(Answered):
    """What became of examples. All that has an offset is durable."""

    results: list[LearnedExample]
    journal_step: int
    """The journal's newest step, which holds them; ``step`` is that of what answers."""
    new_version: int | None = None
    """The version that the guard has just accepted."""
    notes: list[str] = []


class FeedbackRequest(_Asked):
    """What is right of a prediction."""

    id: Name
    """The prediction's."""
    target: Target | None = None
    """What is right."""
    right: bool | None = None
    """Whether the prediction is right, in place of a target."""


class FeedbackResponse(Answered):
    """What became of feedback."""

    id: str
    status: Literal[
        "learned",
        "waiting",
        "exam",
        "held",
        "thinned",
        "known",
        "set_aside",
        "noted",
        "rejected",
        "unlearnable",
        "corrected",
    ]
    """As of an example; ``noted``: it is wrong, and what is right is for the review queue to say."""
    offset: int | None = None
    reason: str | None = None


class CorrectRequest(_Asked):
    """Other targets for examples, by id."""

    targets: dict[Name, Target] = Field(min_length=1)
    tenant: Name | None = None


class ForgetRequest(_Asked):
    """Examples to delete: by id, by field, or both (then all must hold)."""

    ids: list[Name] = []
    where: dict[Name, str] = {}
    """Values by field."""
    approximate: bool = False
    """Let a learner that trains by gradients only drop them from its memories."""
    tenant: Name | None = None


class ForgetResponse(Answered):
    """What was deleted, with the proof."""

    forgotten: int
    predictions_forgotten: int
    """Predictions that were remembered under these ids."""
    unknown_ids: list[str]
    removed_labels: list[str]
    exact: bool
    """Whether the state equals that of a run which never saw the examples."""
    fingerprint_before: str
    fingerprint_after: str
    certificate: dict[str, Any] | None
    """What is written of it in the run; null: nothing was deleted, or it is pending."""
    notes: list[str] = []


class RollbackRequest(_Asked):
    """Serve an earlier version. Without ``keep_learned``, what was learned since is set aside for good."""

    version: int | None = Field(None, ge=1, le=2**53)
    """Its number; null: the newest again."""
    keep_learned: bool = False
    """Only serving goes back: nothing is set aside, and a rollback to null serves the newest again."""
    tenant: Name | None = None


class RollbackResponse(Answered):
    """What a rollback did; ``version``, ``step`` and ``fingerprint`` are those of what answers from then."""

    went_back_to: int | None
    """The version that was asked for; null: the newest again."""
    serving: int | None
    """As of ``/v1/versions``; null: the newest state, which begins as the version unless ``keep_learned`` is
    set."""
    steps_set_aside: int
    """Steps that no longer count."""
    examples_set_aside: int
    """Examples that they had learned, or learned with another target; it cannot be undone."""


class SetAsideResponse(_Told):
    """What a rollback without ``keep_learned`` would set aside."""

    tenant: str
    examples_set_aside: int
    """As of ``RollbackResponse``."""


class ReviewItem(_Told):
    """Something that a person should look at."""

    id: str
    kind: Literal["suspicious", "unsure", "unfamiliar", "wrong"]
    text: str | None
    predicted: str | None
    target: str | None = None
    """Its target, where it has one."""
    score: float | None
    """Why it is here: the confidence of what contradicts it, the probability, or how far away it is."""
    reason: str | None = None


class ReviewRequest(_Asked):
    """Decisions on what is in the review queue."""

    accept: list[Name] = []
    """Ids of suspicious examples whose targets are right."""
    reject: list[Name] = []
    """Ids whose flags are settled."""
    readmit: int | None = Field(None, ge=1, le=2**53)
    """A decision of the guard whose interval is learned after all."""
    dismiss: list[Name] = []
    """Ids of predictions that need no feedback."""
    tenant: Name | None = None


class ReviewResponse(Answered):
    """What a review changed."""

    accepted: int = 0
    rejected: int = 0
    learned: int = 0
    dismissed: int = 0
    still_learned: list[str] = []
