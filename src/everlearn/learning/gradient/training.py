"""Everything of a learner that changes step by step: trained weights, optimizer, methods, counts.

Classifiers, language models and encoder-decoders are trained through it; what they predict and how they read
examples is their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Adagrad

from everlearn.errors import StateError
from everlearn.learning.batch import Batch
from everlearn.learning.gradient.averaged_weights import AveragedWeights
from everlearn.learning.gradient.config import GradientConfig
from everlearn.learning.gradient.growing_head import GrowingHead
from everlearn.learning.gradient.learner_state import (
    check_weights,
    methods_state,
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
from everlearn.learning.gradient.spike_guard import SpikeGuard
from everlearn.learning.gradient.stability import StabilityConfig
from everlearn.learning.gradient.step import Part, StepResult, gradient_step
from everlearn.learning.method import BoundaryContext, Method, StepContext
from everlearn.learning.objective import Objective
from everlearn.types import Boundary, State

__all__ = ["Training"]

_Context = TypeVar("_Context", StepContext, BoundaryContext)


class Training:
    """Trains the parameters of a model that require gradients, one step at a time.

    Args:
        model: Its parameters to be trained have ``requires_grad`` set, and are float32.
        objective: What a step minimizes.
        config: Optimizer, schedule, clipping.
        stability: Averaged weights, guard against loss spikes.
        methods: Continual-learning methods, in order; they are attached here, before the optimizer exists.
        head: A part of the model that gets a row for each new label, and has a learning rate of its own;
            None: there is none.

    Attributes:
        num_steps: Steps made, those that were refused included.
        num_examples: Fresh examples whose steps were made.
        rates: Peak learning rates; they may be changed between two steps.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        config: GradientConfig,
        stability: StabilityConfig,
        methods: Sequence[Method] = (),
        head: GrowingHead | None = None,
    ) -> None:
        self.model = model
        self.objective = objective
        self.config = config
        self.methods = tuple(methods)
        self.num_steps = 0
        self.num_examples = 0
        for method in self.methods:
            method.attach(model)
        self.parameters = {
            name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
        }
        self._head = head
        of_head = set() if head is None else {id(parameter) for parameter in head.parameters()}
        heads = {name: parameter for name, parameter in self.parameters.items() if id(parameter) in of_head}
        others = {name: parameter for name, parameter in self.parameters.items() if name not in heads}
        self.optimizer = build_optimizer(others, heads, config)
        self.rates = ChangedRates(self.optimizer, config)
        self._stability = stability
        self._heads = tuple(heads)
        self._average = AveragedWeights(self.parameters, stability.average_decay, self._heads)
        self._spikes = SpikeGuard(stability)
        self._added: tuple[str, ...] = ()
        self._alone_steps = 0

    def add_parameters(
        self, named: Mapping[str, nn.Parameter], learning_rate: float, alone_steps: int = 0
    ) -> None:
        """Train parameters that the model has got since, in a group of their own without weight decay.

        The guard against loss spikes starts anew, as what was usual may be so no longer.

        Args:
            named: By names that no parameter has yet.
            learning_rate: Their peak rate; it follows the schedule, without warm-up.
            alone_steps: In so many steps nothing else changes: no other weight, moment or average, to the
                bit.
        """
        group = {"params": list(named.values()), "lr": learning_rate, "peak_lr": learning_rate}
        self.optimizer.add_param_group({**group, "weight_decay": 0.0, "warms_up": False})
        if isinstance(self.optimizer, Adagrad):
            # It makes its moments when it is made itself, and none for what is added.
            for added in named.values():
                moments = {"step": torch.zeros((), device=added.device), "sum": torch.zeros_like(added)}
                self.optimizer.state[added] = moments
        self.parameters.update(named)
        self._average.include(named)
        self._spikes = SpikeGuard(self._stability)
        self._added, self._alone_steps = tuple(named), alone_steps

    def exchange_parameter(self, name: str, parameter: nn.Parameter) -> None:
        """Let a parameter of the same shape take another's place, with its moments and its average."""
        old = self.parameters[name]
        for group in self.optimizer.param_groups:
            group["params"] = [parameter if member is old else member for member in group["params"]]
        if old in self.optimizer.state:
            self.optimizer.state[parameter] = self.optimizer.state.pop(old)
        self.parameters[name] = parameter

    def remove_added_parameters(self) -> None:
        """Take back ``add_parameters``."""
        added = [self.parameters.pop(name) for name in self._added]
        self._average.leave_out(self._added)
        for parameter in added:
            self.optimizer.state.pop(parameter, None)
        self.optimizer.param_groups = [
            group
            for group in self.optimizer.param_groups
            if not any(member is parameter for member in group["params"] for parameter in added)
        ]
        self._added, self._alone_steps = (), 0

    def grow_head(self, num_labels: int) -> None:
        """Give the head rows for new labels; they are zero."""
        assert self._head is not None, "only a head grows"
        self._head.grow(num_labels, self.optimizer)
        self._average.grow(self.num_steps)
        # No model foresees a label that it does not know, so the loss jumps without anything being wrong, and
        # stays high until the label is learned. Refused as a spike it would hardly ever be: the guard starts
        # anew, as with other new parameters, and so refuses neither this step nor those of its warm-up.
        self._spikes = SpikeGuard(self._stability)

    def step(
        self, fresh: Batch, split: Callable[[Batch], Sequence[Sequence[Part]]] | None = None
    ) -> StepResult:
        """Make one step.

        Raises:
            ModelError: Training diverged; the weights are as before the step.
        """
        set_learning_rates(self.optimizer, self.config, self.num_steps)
        is_alone = self._alone_steps > 0
        with self._training_mode(), self._added_alone() if is_alone else nullcontext():
            result = gradient_step(
                fresh,
                self.methods,
                self.optimizer,
                self._context(StepContext),
                max_gradient_norm=self.config.max_gradient_norm,
                split=split,
                refuse=self._refuse if self._stability.spike_deviations is not None else None,
            )
        self.num_steps += 1
        self._alone_steps -= is_alone
        if result.skipped is None:
            self._average.update(self.num_steps, self._added if is_alone else None)
        return result

    @contextmanager
    def _added_alone(self) -> Iterator[None]:
        """Within the block only added parameters are trained."""
        others = [parameter for name, parameter in self.parameters.items() if name not in self._added]
        # Methods may change weights themselves, whatever takes gradients.
        kept = [parameter.detach().clone() for parameter in others] if self.methods else []
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter, before in zip(others, kept, strict=False):
                parameter.copy_(before)
            for parameter in others:
                parameter.requires_grad_(True)

    def _refuse(self, loss: float, norm: float) -> str | None:
        return self._spikes.refuse(loss)

    def averaged(self) -> AbstractContextManager[None]:
        """Within the block the model has the averaged weights, if they are averaged."""
        return self._average.applied()

    def on_boundary(self, boundary: Boundary) -> None:
        """Let the methods consolidate, in order."""
        context = self._context(BoundaryContext)
        for method in self.methods:
            method.on_boundary(boundary, context)

    def _context(self, kind: type[_Context]) -> _Context:
        return kind(
            model=self.model,
            objective=self.objective,
            parameters=self.parameters,
            step=self.num_steps,
            num_examples=self.num_examples,
            labels=self.objective.labels,
        )

    @contextmanager
    def _training_mode(self) -> Iterator[None]:
        if not self.config.train_mode:
            yield
            return
        device = next(self.model.parameters()).device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            # Dropout is a function of seed and step, so no generator has to be saved.
            torch.manual_seed((self.config.seed * 1_000_003 + self.num_steps) % 2**63)
            self.model.train()
            try:
                yield
            finally:
                self.model.eval()

    def state(self) -> State:
        """Trained weights, optimizer, averages, methods and counts; nothing that is frozen."""
        methods = methods_state(self.methods)
        weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in self._weights().items()}
        return State(
            {
                **with_prefix("weights", weights),
                **with_prefix("optimizer", optimizer_tensors(self.optimizer, self.parameters)),
                **with_prefix("average", self._average.tensors()),
                **with_prefix("methods", methods.tensors),
            },
            {
                "num_steps": self.num_steps,
                "num_examples": self.num_examples,
                **({"spikes": self._spikes.state()} if self._saves_spikes else {}),
                **({"alone_steps": self._alone_steps} if self._added else {}),
                **self.rates.state(),
                **methods.data,
            },
        )

    def restore(self, state: State, num_labels: int | None = None) -> None:
        """Replace the state.

        Args:
            state: Made by ``state``.
            num_labels: Rows of the head in it; None: there is no head.

        Raises:
            StateError: It is damaged, or of another model or other methods.
        """
        try:
            num_steps, num_examples = int(state.data["num_steps"]), int(state.data["num_examples"])
            spikes = state.data["spikes"] if self._saves_spikes else self._spikes.state()
            alone_steps = int(state.data.get("alone_steps", 0))
            methods = State(without_prefix("methods", state.tensors), {"methods": state.data["methods"]})
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"the saved learner is damaged: {error!r}") from error
        weights = without_prefix("weights", state.tensors)
        check_weights(weights, self._weights(), num_labels)
        restore_methods(self.methods, methods)
        if self._head is not None and num_labels is not None:
            self._head.resize(num_labels)
            self._average = AveragedWeights(self.parameters, self._stability.average_decay, self._heads)
        load_optimizer_tensors(self.optimizer, self.parameters, without_prefix("optimizer", state.tensors))
        self._average.load(without_prefix("average", state.tensors))
        self._spikes.restore(spikes)
        self.rates.restore(state.data)
        with torch.no_grad():
            for name, tensor in self._weights().items():
                tensor.copy_(weights[name])
        self.num_steps, self.num_examples = num_steps, num_examples
        self._alone_steps = alone_steps

    @property
    def _saves_spikes(self) -> bool:
        # Saved states of classifiers without a guard have no entry for it, those of texts have an empty one.
        return self._head is None or self._stability.spike_deviations is not None

    def _weights(self) -> dict[str, Tensor]:
        weights: dict[str, Tensor] = dict(self.parameters)
        if self._head is not None and self.config.train_mode:
            # Running norm statistics, which models of texts do not have, change in train() mode only.
            weights.update(self.model.named_buffers())
        return weights
