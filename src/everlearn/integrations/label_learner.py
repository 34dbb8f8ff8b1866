"""What both adapters share: a closed-form learner over texts or vectors, with labels of any plain type.

Shapes: N examples, F features, C labels.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch

from everlearn.errors import ConfigError, InputError
from everlearn.integrations.encoders import SharedCoder, shared_coder
from everlearn.integrations.label_names import Label, LabelNames, is_missing
from everlearn.learning.closed_form import ClosedFormConfig, ClosedFormLearner
from everlearn.models import VectorCoder
from everlearn.models.storage.dtype import DtypeName
from everlearn.types import Example, FloatArray, Json, State

__all__ = ["InputSpec", "LabelLearner", "closed_form_config", "plain_setting"]

_TEXT_FEATURES = 5120
_MOST_VECTOR_FEATURES = 4096
_VECTOR_FEATURES = 512
_NO_GRAMS = 8  # vectors have no words, so the table of the naive Bayes expert is as small as it can be


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """What a learner's inputs are, so that its coder can be made again.

    Attributes:
        model: Encoder of texts, as ``everlearn.models.load_trunk`` takes it; None where inputs are vectors.
        max_length: Most tokens of a text.
        dtype: Number format of the encoder; "auto" is what the processor does well.
        num_inputs: F; where inputs are vectors.
        scale: What vectors are multiplied by before they are squashed, see ``VectorCoder``.
    """

    model: str | None = None
    max_length: int = 256
    dtype: DtypeName = "auto"
    num_inputs: int = 0
    scale: float = 1.0

    @property
    def are_texts(self) -> bool:
        """Whether inputs are texts, and not vectors."""
        return self.model is not None

    def coder(self) -> SharedCoder | VectorCoder:
        """What encodes such inputs. Encoders are loaded once a process and shared."""
        if self.model is not None:
            return shared_coder(self.model, self.max_length, self.dtype)
        return VectorCoder(self.num_inputs, normalize=False, scale=self.scale)


def closed_form_config(
    spec: InputSpec, num_features: int | None, seed: int, **settings: Any
) -> ClosedFormConfig:
    """A configuration for these inputs.

    Args:
        spec: The inputs.
        num_features: Features of the ridge expert. None: 5,120 for texts; for vectors 512, or twice
            the number of columns rounded up to a multiple of 512, at most 4,096.
        seed: Seed of the random projection.
        **settings: Other fields of ``ClosedFormConfig``.

    Raises:
        ConfigError: A setting out of range or of another type.
    """
    for name, value in (("num_features", num_features), ("seed", seed)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | np.integer)):
            raise ConfigError(f"{name} must be a whole number, not {value!r}")
    if num_features is None:
        fitting = -(-2 * (spec.num_inputs + 1) // _VECTOR_FEATURES) * _VECTOR_FEATURES
        num_features = _TEXT_FEATURES if spec.model is not None else min(fitting, _MOST_VECTOR_FEATURES)
    if spec.model is None:
        settings["gram_bits"] = _NO_GRAMS
    return ClosedFormConfig.of_size(int(num_features), seed=int(seed), **settings)


def plain_setting(name: str, value: object) -> Json:
    """A setting of an adapter as JSON. Raises InputError where it is none."""
    plain = value.item() if isinstance(value, np.generic) else value
    if plain is not None and type(plain) not in (str, int, float, bool):
        raise InputError(f"{name}={value!r} cannot be saved; give a string or a number")
    return plain


class LabelLearner:
    """A ``ClosedFormLearner`` that takes bare inputs and labels and numbers its examples itself.

    Examples are known by their position in the stream. The sums do not depend on the order; beyond
    ``sample_size`` examples, which of them the settings are chosen on does.

    Pickles and deep copies hold the learner's state and name its encoder; they do not hold the
    encoder.

    Args:
        spec: What the inputs are.
        config: Sizes.
    """

    _kind: ClassVar[type[ClosedFormLearner]] = ClosedFormLearner

    def __init__(self, spec: InputSpec, config: ClosedFormConfig) -> None:
        coder = spec.coder()
        # Another processor is to make the same codes of what is saved or pickled here.
        self.spec = replace(spec, dtype=coder.dtype) if isinstance(coder, SharedCoder) else spec
        self.config = config
        self.learner = self._kind(coder, config)
        self._names = LabelNames()
        self._num_seen = 0

    def learn(self, inputs: Sequence[str] | FloatArray, labels: Sequence[Label | None]) -> None:
        """Learn texts or vectors (N, F) with their labels; those whose label is missing are passed over."""
        targets = [None if is_missing(label) else self._names.name_of(label) for label in labels]
        self.learner.learn(self._examples(inputs, targets))
        self._num_seen += len(targets)

    def predict(self, inputs: Sequence[str] | FloatArray) -> tuple[list[Label], FloatArray]:
        """Labels (C) and probabilities (N, C); they use everything learned."""
        known = self.learner.labels
        if len(known) == 1:  # whatever the input is: no need to read it, nor to solve anything
            return [self._names.label_of(known[0])], np.ones((len(inputs), 1))
        predictions = self.learner.predict(self._examples(inputs, [None] * len(inputs)))
        if not predictions:
            return [], np.zeros((0, 0))
        labels = [self._names.label_of(name) for name in predictions[0].labels]
        return labels, np.stack([prediction.probabilities for prediction in predictions])

    def settle(self) -> None:
        """Solve anew, so that predictions use everything learned."""
        self.learner.settle()

    def description(self) -> dict[str, Json]:
        """All but the learner's state, to be given to ``restored``.

        Raises:
            InputError: A label is of a type that JSON does not have.
        """
        return {
            "inputs": asdict(self.spec),
            "config": self.config.to_json(),
            "labels": self._names.to_json(),
            "num_seen": self._num_seen,
        }

    @classmethod
    def restored(cls, described: Mapping[str, Json], state: State) -> Self:
        """The learner of a description and a state.

        Raises:
            StateError: They do not fit together, or another encoder has that name here.
            ModelError: The encoder cannot be found or loaded.
            KeyError, TypeError, ValueError: It is no such description.
        """
        spec, config = InputSpec(**described["inputs"]), ClosedFormConfig.from_json(described["config"])
        learner = cls(spec, config)
        learner._names = LabelNames.from_json(described["labels"])
        learner._num_seen = int(described["num_seen"])
        learner.learner.restore(state)
        return learner

    def _examples(self, inputs: Sequence[str] | FloatArray, targets: Sequence[str | None]) -> list[Example]:
        numbered = enumerate(zip(inputs, targets, strict=True), start=self._num_seen)
        if self.spec.model is not None:
            return [Example(id=str(k), text=str(text), target=target) for k, (text, target) in numbered]
        return [
            Example(id=str(k), vector=np.asarray(vector, np.float64), target=target)
            for k, (vector, target) in numbered
        ]

    def __getstate__(self) -> dict[str, Any]:
        saved = self.learner.state()
        parts = {name: value for name, value in self.__dict__.items() if name != "learner"}
        parts["tensors"] = {name: tensor.numpy() for name, tensor in saved.tensors.items()}
        parts["data"] = copy.deepcopy(dict(saved.data))
        return parts

    def __setstate__(self, parts: Mapping[str, Any]) -> None:
        kept = dict(parts)
        tensors = {name: torch.from_numpy(array.copy()) for name, array in kept.pop("tensors").items()}
        data = kept.pop("data")
        self.__dict__.update(kept)
        self.learner = self._kind(self.spec.coder(), self.config)
        self.learner.restore(State(tensors, data))
