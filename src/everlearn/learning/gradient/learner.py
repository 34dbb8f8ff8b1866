"""A classifier that learns from a stream by gradient steps, one a batch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict

import torch
from torch import Tensor, nn

from everlearn.errors import InputError, StateError
from everlearn.learning.batch import Batch
from everlearn.learning.gradient.body import Body, Classifier, VectorBody, sha256_of_tensors
from everlearn.learning.gradient.config import GradientConfig
from everlearn.learning.gradient.learner_state import (
    check_weights,
    methods_state,
    most_forgotten,
    restore_methods,
    with_prefix,
    without_prefix,
)
from everlearn.learning.gradient.optimizers import (
    ChangedRates,
    build_optimizer,
    load_optimizer_tensors,
    optimizer_tensors,
    set_learning_rates,
)
from everlearn.learning.gradient.predictor import GradientPredictor, predict_inputs
from everlearn.learning.gradient.step import gradient_step
from everlearn.learning.gradient.text_body import TextBody
from everlearn.learning.gradient.trainable import select_trainable_parameters
from everlearn.learning.method import BoundaryContext, Method, StepContext
from everlearn.learning.objective import ClassificationObjective
from everlearn.learning.run_learner import RunLearner
from everlearn.memory import ModelExample
from everlearn.models.encoder.load import Trunk
from everlearn.models.storage.dtype import choose_dtype
from everlearn.types import Boundary, Example, ForgetReport, Json, Prediction, State, StepReport

__all__ = ["GradientLearner"]

_FORMAT_VERSION = 1


class GradientLearner(RunLearner):
    """A body with a linear head, trained online: one call of ``learn`` is one step.

    The head grows by a row for each new label. The class implements ``everlearn.types.Learner``.

    On one thread the learner is a function of its settings and of the batches it was given, to the
    bit; the global random generators are neither read nor changed.

    Args:
        body: What is below the head; see ``for_text`` and ``for_vectors``.
        config: Optimizer, schedule, what is trained.
        methods: Continual-learning methods, in order.

    Attributes:
        max_classes: Labels beyond this many are refused. Nothing learned depends on it, so it may be set.
        rates: Peak learning rates; they may be changed between two steps.

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
        self, body: Body, config: GradientConfig | None = None, methods: Sequence[Method] = ()
    ) -> None:
        self.config = config if config is not None else GradientConfig()
        self.max_classes = self.config.max_classes
        self.methods = tuple(methods)
        self._num_examples = 0
        self.num_steps = 0
        select_trainable_parameters(body.network, body.num_layers, self.config)
        self._body = body
        self._identity = body.identity()
        self._objective = ClassificationObjective()
        self.model = Classifier(body).eval()
        for method in self.methods:
            method.attach(self.model)
        self._parameters = {
            name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad
        }
        is_head = {id(parameter) for parameter in self.model.head.parameters()}
        self.optimizer = build_optimizer(
            {name: weight for name, weight in self._parameters.items() if id(weight) not in is_head},
            {name: weight for name, weight in self._parameters.items() if id(weight) in is_head},
            self.config,
        )
        self.rates = ChangedRates(self.optimizer, self.config)

    @classmethod
    def for_text(
        cls, trunk: Trunk, config: GradientConfig | None = None, methods: Sequence[Method] = ()
    ) -> GradientLearner:
        """A learner of texts over a copy of a pretrained encoder.

        Load the trunk in float32; ``config.dtype`` then says what matrix products run in.
        """
        config = config if config is not None else GradientConfig()
        dtype = choose_dtype(config.dtype, trunk.device)
        return cls(TextBody(trunk, config.max_length, _reduced(dtype)), config, methods)

    @classmethod
    def for_vectors(
        cls,
        network: nn.Module,
        feature_size: int,
        config: GradientConfig | None = None,
        methods: Sequence[Method] = (),
    ) -> GradientLearner:
        """A learner of vectors over a copy of any module from (B, F) to (B, feature_size)."""
        config = config if config is not None else GradientConfig()
        # "auto" leaves a module as it is: small networks are not faster in reduced precision.
        reduced = torch.bfloat16 if config.dtype == "bfloat16" else None
        return cls(VectorBody(network, feature_size, reduced), config, methods)

    @property
    def labels(self) -> tuple[str, ...]:
        """Known labels in order of appearance."""
        return self._objective.labels

    @property
    def num_examples(self) -> int:
        """Examples that were learned."""
        return self._num_examples

    @property
    def reads_text(self) -> bool:
        """True: nothing is computed once, so texts are needed to learn them again."""
        return True

    def prepare(self, examples: Sequence[Example]) -> Sequence[Example]:
        """The same examples: nothing is computed once, as every step changes what could be kept."""
        return examples

    def reading_problem(self, example: Example) -> str | None:
        """Why an example cannot be read; None: it can."""
        return self._body.reading_problem(example)

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Probabilities over the labels known now, by a forward pass of its own.

        Raises:
            InputError: An example lacks what the body reads.
        """
        return predict_inputs(self.model, self._body.to_inputs(examples), self.labels)

    def frozen(self) -> GradientPredictor:
        """The classifier as it is now; it stays so while the learner goes on."""
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
        set_learning_rates(self.optimizer, self.config, self.num_steps)
        with self._training():
            result = gradient_step(
                fresh,
                self.methods,
                self.optimizer,
                self._step_context(),
                max_gradient_norm=self.config.max_gradient_norm,
            )
        self.num_steps += 1
        self._num_examples += len(known)
        return StepReport(
            num_learned=len(known),
            num_without_target=without_target,
            new_labels=new_labels,
            loss=result.loss,
            num_replayed=len(result.batch) - result.batch.num_fresh,
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
            self.model.head.grow(num_labels, self.optimizer)
        return new_labels

    @contextmanager
    def _training(self) -> Iterator[None]:
        if not self.config.train_mode:
            yield
            return
        device = self.model.head.weight.device
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            # Dropout is a function of seed and step, so no generator has to be saved.
            torch.manual_seed((self.config.seed * 1_000_003 + self.num_steps) % 2**63)
            self.model.train()
            try:
                yield
            finally:
                self.model.eval()

    def learning_rates(self) -> dict[str, float]:
        """Peak learning rates as they are now."""
        return self.rates.peaks()

    def change_learning_rates(self, rates: Mapping[str, float]) -> None:
        """Go on with other peak learning rates."""
        self.rates.change(rates)

    def on_boundary(self, boundary: Boundary) -> None:
        """Let the methods consolidate, in order."""
        context = BoundaryContext(
            model=self.model,
            objective=self._objective,
            parameters=self._parameters,
            step=self.num_steps,
            num_examples=self.num_examples,
            labels=self.labels,
        )
        for method in self.methods:
            method.on_boundary(boundary, context)

    def _step_context(self) -> StepContext:
        return StepContext(
            model=self.model,
            objective=self._objective,
            parameters=self._parameters,
            step=self.num_steps,
            num_examples=self.num_examples,
            labels=self.labels,
        )

    def forget(self, examples: Sequence[Example]) -> ForgetReport:
        """Remove examples from the methods' memories, so that they are never replayed again.

        The weights keep what they learned from them, and the report says so: ``exact`` is False, and
        ``num_forgotten`` counts the examples that were in the memories. Use the closed-form learner where
        deletion must be exact.
        """
        ids = {example.id for example in examples}
        return ForgetReport(
            num_forgotten=most_forgotten(self.methods, ids), exact=self.num_examples == 0 or not ids
        )

    def state(self) -> State:
        """Trained weights, optimizer, methods and counts; not the frozen part of the trunk."""
        methods = methods_state(self.methods)
        weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in self._weights().items()}
        return State(
            {
                **with_prefix("weights", weights),
                **with_prefix("optimizer", optimizer_tensors(self.optimizer, self._parameters)),
                **with_prefix("methods", methods.tensors),
            },
            {
                **self._description(),
                "labels": list(self.labels),
                "num_steps": self.num_steps,
                "num_examples": self.num_examples,
                **self.rates.state(),
                **methods.data,
            },
        )

    def restore(self, state: State) -> None:
        """Replace the state.

        Raises:
            StateError: The state is damaged, or of a learner with another body, configuration or
                other methods.
        """
        for key, expected in self._description().items():
            if state.data.get(key) != expected:
                raise StateError(
                    f"the state has {key} {state.data.get(key)!r}, this learner {expected!r}; "
                    "make the learner as it was when the state was saved"
                )
        try:
            labels = [str(label) for label in state.data["labels"]]
            num_steps, num_examples = int(state.data["num_steps"]), int(state.data["num_examples"])
            methods = State(without_prefix("methods", state.tensors), {"methods": state.data["methods"]})
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"the saved learner is damaged: {error!r}") from error
        weights = without_prefix("weights", state.tensors)
        check_weights(weights, self._weights(), len(labels))
        restore_methods(self.methods, methods)
        self.model.head.resize(len(labels))
        load_optimizer_tensors(self.optimizer, self._parameters, without_prefix("optimizer", state.tensors))
        with torch.no_grad():
            for name, tensor in self._weights().items():
                tensor.copy_(weights[name])
        self._objective.set_labels(labels)
        self.rates.restore(state.data)
        self.num_steps, self._num_examples = num_steps, num_examples

    def fingerprint(self) -> str:
        """SHA-256 of weights, optimizer and methods: equal for learners that go on equally."""
        state = self.state()
        digest = hashlib.sha256(sha256_of_tensors(dict(state.tensors)).encode())
        digest.update(json.dumps(state.data, sort_keys=True).encode())
        return digest.hexdigest()

    def _weights(self) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = dict(self._parameters.items())
        if self.config.train_mode:
            # Running norm statistics change in train() mode only.
            weights.update(self.model.named_buffers())
        return weights

    def _description(self) -> dict[str, Json]:
        # Through JSON, so that it compares equal to what was read from a file (tuples become lists).
        config: Json = json.loads(json.dumps(asdict(self.config)))
        return {
            "kind": "gradient",
            "format_version": _FORMAT_VERSION,
            "body": self._identity,
            "config": config,
        }


def _reduced(dtype: torch.dtype) -> torch.dtype | None:
    return None if dtype == torch.float32 else dtype
