"""The words of everlearn as types: examples go in, predictions and reports come out.

Everything here is a plain value. Nothing in this module reads files, runs a
model or keeps state, so every other module may import it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch

from everlearn.errors import InputError

__all__ = [
    "Boundary",
    "Code",
    "Cursor",
    "Example",
    "FloatArray",
    "ForgetReport",
    "Int8Array",
    "Json",
    "Learner",
    "Prediction",
    "Predictor",
    "State",
    "StepReport",
    "TextLoss",
    "VocabularyGrowth",
]

Json = Any
"""A value that ``json.dumps`` writes without help: dict, list, str, int, float, bool or None."""

Cursor = Mapping[str, Json]
"""Where a source stands. Opaque to everybody but the source that made it; JSON, so it can be stored."""

Int8Array = npt.NDArray[np.int8]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Code:
    """What a learner keeps of an example instead of its text: small integers, computed once.

    Attributes:
        dense: int8 vector (D,): the pooled hidden states of the trunk, rounded.
        gram_ids: uint32 vector (K,), strictly increasing: hashes of the word 1-2-grams.
        gram_values: uint8 vector (K,): unit-length log(1 + count) of each gram, times 255, rounded.
    """

    dense: Int8Array
    gram_ids: npt.NDArray[np.uint32]
    gram_values: npt.NDArray[np.uint8]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Code)
            and np.array_equal(self.dense, other.dense)
            and np.array_equal(self.gram_ids, other.gram_ids)
            and np.array_equal(self.gram_values, other.gram_values)
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """One item of the stream.

    Attributes:
        id: Unique in the stream; deletion and delayed targets refer to it.
        text: The text, or None where only a vector or a code is kept.
        target: A label or a target text; None where it is not known (yet).
        domain: A name for where the example comes from, if there is one.
        time: ISO 8601 date or date-time, as the source gave it.
        vector: Float features (F,) for learners over any features, instead of a text.
        code: Filled in at ingestion by a learner that works on codes.
        fields: Other fields of the source's record, for selection (``forget --where``).

    Raises:
        InputError: A field is of another type, or holds half a surrogate pair, which neither a tokenizer nor
            a file takes later. Strings of a class of their own (numpy's, enumerations) become plain ones.
    """

    id: str
    text: str | None = None
    target: str | None = None
    domain: str | None = None
    time: str | None = None
    vector: npt.NDArray[np.floating[Any]] | None = None
    code: Code | None = None
    fields: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # An example is made for every record, so what is as it should be costs next to nothing here.
        if type(self.id) is not str or not self.id.isascii():
            _take_string(self, "id")
        if self.text is not None and (type(self.text) is not str or not self.text.isascii()):
            _take_string(self, "text")
        if self.target is not None and (type(self.target) is not str or not self.target.isascii()):
            _take_string(self, "target")
        if self.domain is not None and (type(self.domain) is not str or not self.domain.isascii()):
            _take_string(self, "domain")
        if self.time is not None and (type(self.time) is not str or not self.time.isascii()):
            _take_string(self, "time")
        if type(self.fields) is not dict and not isinstance(self.fields, Mapping):
            raise InputError(f"Example.fields must be a mapping, not {_shown(self.fields)}")
        if self.vector is not None and not isinstance(self.vector, np.ndarray):
            raise InputError(f"Example.vector must be a numpy array, not {_shown(self.vector)}")
        if self.code is not None and not isinstance(self.code, Code):
            raise InputError(f"Example.code must be a Code, not {_shown(self.code)}")

    def with_code(self, code: Code) -> Example:
        """The same example with its code."""
        return replace(self, code=code)

    def with_target(self, target: str | None) -> Example:
        """The same example with another target (or none)."""
        return replace(self, target=target)


def _take_string(example: Example, name: str) -> None:
    """Make a field a plain string that can be encoded. Raises InputError where it is none."""
    value = getattr(example, name)
    if not isinstance(value, str):
        optional = "" if name == "id" else " or None"
        raise InputError(f"Example.{name} must be a string{optional}, not {_shown(value)}")
    if type(value) is not str:
        value = str.__str__(value)
        object.__setattr__(example, name, value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"Example.{name} is not valid Unicode, it holds half a surrogate pair: {_shown(value)}"
        ) from None


def _shown(value: object) -> str:
    text = ascii(value)
    return f"{text if len(text) <= 80 else text[:77] + '...'} ({type(value).__name__})"


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What a learner says of one example before it is told the target.

    Attributes:
        label: The most probable label, or None while no label is known.
        labels: All labels known at that moment, in the order of ``probabilities``. Shared
            between the predictions of one call.
        probabilities: float64 vector (C,), sums to 1; empty while no label is known.
        outlier_score: How far the input is from everything learned; higher is farther. None where
            the learner has no such score.
        is_outlier: Whether the score is above the threshold set from the stream.
    """

    label: str | None
    labels: Sequence[str]
    probabilities: FloatArray
    outlier_score: float | None = None
    is_outlier: bool = False

    @property
    def confidence(self) -> float:
        """Probability of ``label``; 0.0 while no label is known."""
        return float(self.probabilities.max()) if len(self.probabilities) else 0.0

    def probability_of(self, label: str) -> float:
        """Probability of ``label``; 0.0 for a label not known at that moment."""
        try:
            return float(self.probabilities[self.labels.index(label)])
        except ValueError:
            return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TextLoss:
    """What a language model lost on text that it was shown for the first time, before it learned it.

    Bits per byte are ``nats / ln 2 / bytes``: they do not depend on how the text is cut into tokens.

    Attributes:
        domain: Where the text comes from, if that has a name.
        nats: Sum of -ln p over the tokens that were predicted.
        tokens: Number of them.
        bytes: UTF-8 bytes that they stand for.
    """

    domain: str | None
    nats: float
    tokens: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VocabularyGrowth:
    """What a language model's vocabulary has gained, once it has watched enough of its stream.

    Attributes:
        words: The new words, in the order in which they were added; none were worth it where it is empty.
        num_rows: Tokens that are new; some tokenizers reach a word over others.
        num_bytes: UTF-8 bytes that were watched.
        tokens_before: Tokens of that text before.
        tokens_after: And with the new words.
        tokens_per_word: By domain, before; texts without one are under "".
    """

    words: tuple[str, ...]
    num_rows: int
    num_bytes: int
    tokens_before: int
    tokens_after: int
    tokens_per_word: Mapping[str, float]

    @property
    def share_saved(self) -> float:
        """Share of the tokens that are saved, from 0 to 1."""
        return 1.0 - self.tokens_after / self.tokens_before if self.tokens_before else 0.0

    def to_json(self) -> dict[str, Json]:
        """All of it."""
        return asdict(self) | {"words": list(self.words), "tokens_per_word": dict(self.tokens_per_word)}

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> VocabularyGrowth:
        """Invert ``to_json``; raises TypeError or KeyError where it does not fit."""
        return cls(**{**value, "words": tuple(value["words"])})

    def __str__(self) -> str:
        unnamed = "text " if len(self.tokens_per_word) > 1 else ""
        figures = ", ".join(
            f"{f'{name} ' if name else unnamed}{value:.2f}" for name, value in self.tokens_per_word.items()
        )
        before = (
            f"; tokens a word (or character, in scripts without spaces) were {figures}" if figures else ""
        )
        if not self.words:
            return f"no word of the {self.num_bytes:,} bytes that were watched is worth adding{before}"
        count = "1 word" if len(self.words) == 1 else f"{len(self.words):,} words"
        return (
            f"vocabulary grown by {count}: {self.share_saved:.0%} fewer tokens on the {self.num_bytes:,} "
            f"bytes that were watched{before}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What one call of ``learn`` changed.

    Attributes:
        num_learned: Examples that were learned.
        num_without_target: Examples passed over because their target is None.
        new_labels: Labels seen for the first time, in order of appearance.
        loss: Mean training loss of the step in nats, before the update; None for closed-form learners.
        num_replayed: Examples drawn from memory beside the fresh ones.
        text_losses: Language models only: the prequential loss of the fresh text, by domain.
        num_tokens: Tokens learned; replayed ones are not counted.
        gradient_norm: Total norm of the gradients before clipping; None where there are none.
        skipped: Why the update was left out, if it was.
        grown: Language models only: what the vocabulary gained, at the step at which it was to grow.
    """

    num_learned: int
    num_without_target: int = 0
    new_labels: tuple[str, ...] = ()
    loss: float | None = None
    num_replayed: int = 0
    text_losses: tuple[TextLoss, ...] = ()
    num_tokens: int = 0
    gradient_norm: float | None = None
    skipped: str | None = None
    grown: VocabularyGrowth | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetReport:
    """What one call of ``forget`` changed.

    Attributes:
        num_forgotten: Examples of which something was taken away: of closed-form learners all that they
            learned of them, of others what they kept of them (``exact`` tells).
        removed_labels: Labels that no remaining example carries.
        exact: Whether the state now equals that of a learner that never saw them.
    """

    num_forgotten: int
    removed_labels: tuple[str, ...] = ()
    exact: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """A point of the stream at which methods consolidate.

    Attributes:
        reason: "experience", "drift", "schedule" or "request".
        num_examples: Examples seen before it.
        name: Name of what ended, if it has one.
    """

    reason: str
    num_examples: int
    name: str | None = None


@dataclass(frozen=True, slots=True)
class State:
    """Everything a learner needs to go on: tensors by name and JSON. Never pickle.

    Attributes:
        tensors: Dense tensors by dotted name; saved as safetensors.
        data: JSON beside them.
    """

    tensors: Mapping[str, torch.Tensor]
    data: Mapping[str, Json]


class Predictor(Protocol):
    """Predicts, and does not learn: what a version serves."""

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """One prediction an example, in order."""
        ...


@runtime_checkable
class Learner(Protocol):
    """A state that predicts, learns and forgets: ``state = fold(update, initial_state, stream)``."""

    def prepare(self, examples: Sequence[Example]) -> Sequence[Example]:
        """Compute what is computed once an example (its code), so that predict and learn share it."""
        ...

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Predict without learning; one prediction an example, in order."""
        ...

    def learn(self, examples: Sequence[Example]) -> StepReport:
        """Learn one batch. Examples without target are passed over."""
        ...

    def forget(self, examples: Sequence[Example]) -> ForgetReport:
        """Undo the influence of examples that were learned, targets included."""
        ...

    def state(self) -> State:
        """A copy of the state; restoring it elsewhere gives the same learner."""
        ...

    def restore(self, state: State) -> None:
        """Replace the state. Raises StateError where it does not fit."""
        ...
