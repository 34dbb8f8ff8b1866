"""A classifier that learns from a stream by gradient steps, one a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.optim import Optimizer

from everlearn.errors import InputError, StateError
from everlearn.learning.batch import Batch
from everlearn.learning.gradient.body import Body, Classifier, VectorBody
from everlearn.learning.gradient.config import GradientConfig
from everlearn.learning.gradient.learner_state import (
    check_description,
)
from everlearn.learning.gradient.optimizers import ChangedRates
from everlearn.learning.gradient.predictor import GradientPredictor, predict_inputs
from everlearn.learning.gradient.stability import StabilityConfig
from everlearn.learning.gradient.text_body import TextBody
from everlearn.learning.gradient.trainable import select_trainable_parameters
from everlearn.learning.gradient.trained_learner import TrainedLearner
from everlearn.learning.gradient.training import Training
from everlearn.learning.method import Method
from everlearn.learning.objective import ClassificationObjective
from everlearn.memory import ModelExample
from everlearn.models.encoder.load import Trunk
from everlearn.models.storage.dtype import choose_dtype
from everlearn.types import Example, Json, Prediction, State, StepReport

__all__ = ["GradientLearner"]

_FORMAT_VERSION = 1


class GradientLearner(TrainedLearner):
    """A body with a linear head, trained online: one call of ``learn`` is one step.

    The head grows by a row for each new label. The class implements ``everlearn.types.Learner``.

    On one thread the learner is a function of its settings and of the batches it was given, to the
    bit; the global random generators are neither read nor changed.

    Args:
        body: What is below the head; see ``for_text`` and ``for_vectors``.
        config: Optimizer, schedule, what is trained.
        methods: Continual-learning methods, in order.
        stability: Averaged weights, which predictions are made with then; guard against loss spikes.

    Attributes:
        max_classes: Labels beyond this many are refused. Nothing learned depends on it, so it may be set.

    Raises:
        ConfigError: The body has no such part as ``config.trainable`` names.
        MissingExtraError: ``trainable="lora"`` without peft.

    Example:
        >>> import numpy as np
        >>> from torch import nn
        >>> learner = GradientLearner.for_vectors(nn.Identity(), 2, GradientConfig(optimizer="sgd"))
        >>> north = Example(id="1", target="north", vector=np.array([0.0, 1.0]))
        >>> east = Example(id="2", target="east", vector=np.array([1.0, 0.0]))
        >>> learner.learn([north, east]).new_labels
        ('north', 'east')
        >>> [prediction.label for prediction in learner.predict([east, north])]
        ['east', 'north']
    """

    def __init__(
        self,
        body: Body,
        config: GradientConfig | None = None,
        methods: Sequence[Method] = (),
        *,
        stability: StabilityConfig | None = None,
    ) -> None:
        self.config = config if config is not None else GradientConfig()
        self.max_classes = self.config.max_classes
        self.stability = stability if stability is not None else StabilityConfig()
        select_trainable_parameters(body.network, body.num_layers, self.config)
        self._body = body
        self._identity = body.identity()
        self._objective = ClassificationObjective()
        self.model = Classifier(body).eval()
        self.training = Training(
            self.model, self._objective, self.config, self.stability, methods, self.model.head
        )

    @classmethod
    def for_text(
        cls,
        trunk: Trunk,
        config: GradientConfig | None = None,
        methods: Sequence[Method] = (),
        *,
        stability: StabilityConfig | None = None,
    ) -> GradientLearner:
        """A learner of texts over a copy of a pretrained encoder.

        Load the trunk in float32; ``config.dtype`` then says what matrix products run in.
        """
        config = config if config is not None else GradientConfig()
        dtype = choose_dtype(config.dtype, trunk.device)
        body = TextBody(trunk, config.max_length, None if dtype == torch.float32 else dtype)
        return cls(body, config, methods, stability=stability)

    @classmethod
    def for_vectors(
        cls,
        network: nn.Module,
        feature_size: int,
        config: GradientConfig | None = None,
        methods: Sequence[Method] = (),
        *,
        stability: StabilityConfig | None = None,
    ) -> GradientLearner:
        """A learner of vectors over a copy of any module from (B, F) to (B, feature_size)."""
        config = config if config is not None else GradientConfig()
        # "auto" leaves a module as it is: small networks are not faster in reduced precision.
        reduced = torch.bfloat16 if config.dtype == "bfloat16" else None
        return cls(VectorBody(network, feature_size, reduced), config, methods, stability=stability)

    @property
    def labels(self) -> tuple[str, ...]:
        """Known labels in order of appearance."""
        return self._objective.labels

    @property
    def num_steps(self) -> int:
        """Steps made, those that were refused included."""
        return self.training.num_steps

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer of body and head."""
        return self.training.optimizer

    @property
    def rates(self) -> ChangedRates:
        """Peak learning rates; they may be changed between two steps."""
        return self.training.rates

    def reading_problem(self, example: Example) -> str | None:
        """Why an example cannot be read; None: it can."""
        return self._body.reading_problem(example)

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Probabilities over the labels known now, by the averaged weights where weights are averaged.

        Raises:
            InputError: An example lacks what the body reads.
        """
        with self.training.averaged():
            return predict_inputs(self.model, self._body.to_inputs(examples), self.labels)

    def frozen(self) -> GradientPredictor:
        """The classifier as it predicts now; it stays so while the learner goes on."""
        with self.training.averaged():
            return GradientPredictor(self.model, self.labels)

    def learn(self, examples: Sequence[Example]) -> StepReport:
        """Make one step on the examples that have a target, and on what the methods add.

        Raises:
            InputError: An example lacks what the body reads, or there are more labels than
                ``config.max_classes``; nothing was learned.
            ModelError: Training diverged; the weights are as before the step.
        """
        known = [(example, example.target) for example in examples if example.target is not None]
        without_target = len(examples) - len(known)
        if not known:
            return StepReport(num_learned=0, num_without_target=without_target)
        inputs = self._body.to_inputs([example for example, _ in known])
        fresh = Batch(
            tuple(
                ModelExample(example.id, target, array, example.domain)
                for (example, target), array in zip(known, inputs, strict=True)
            ),
            len(known),
        )
        new_labels = self._add_labels([target for _, target in known])
        result = self.training.step(fresh)
        self.training.num_examples += len(known)
        return StepReport(
            num_learned=len(known),
            num_without_target=without_target,
            new_labels=new_labels,
            loss=result.loss,
            num_replayed=len(result.batch) - result.batch.num_fresh,
            gradient_norm=result.gradient_norm,
            skipped=result.skipped,
        )

    def _add_labels(self, targets: Sequence[str]) -> tuple[str, ...]:
        new_labels = self._objective.new_labels(targets)
        num_labels = len(self.labels) + len(new_labels)
        if num_labels > self.max_classes:
            raise InputError(
                f"label {new_labels[-1]!r} would be the {num_labels}th, more than max_classes="
                f"{self.max_classes}; raise it, or map rare labels to one"
            )
        if new_labels:
            self._objective.add_labels(new_labels)
            self.training.grow_head(num_labels)
        return new_labels

    def state(self) -> State:
        """Trained weights, optimizer, methods and counts; not the frozen part of the trunk."""
        training = self.training.state()
        return State(training.tensors, {**self._description(), "labels": list(self.labels), **training.data})

    def restore(self, state: State) -> None:
        """Replace the state.

        Raises:
            StateError: The state is damaged, or of a learner with another body, configuration or
                other methods.
        """
        check_description(state, {"stability": None, **self._description()})
        try:
            labels = [str(label) for label in state.data["labels"]]
        except (KeyError, TypeError) as error:
            raise StateError(f"the saved learner is damaged: {error!r}") from error
        self.training.restore(state, len(labels))
        self._objective.set_labels(labels)

    def _description(self) -> dict[str, Json]:
        description: dict[str, Json] = {
            "kind": "gradient",
            "format_version": _FORMAT_VERSION,
            "body": self._identity,
            "config": self.config.to_json(),
        }
        if self.stability != StabilityConfig():
            # Saved states of learners without it have no such entry, and keep their fingerprints.
            description["stability"] = self.stability.to_json()
        return description
