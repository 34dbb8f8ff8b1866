"""From settings to a learner, and from a run's record to the same learner again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol, cast

import torch

from everlearn.config import RunConfig
from everlearn.errors import ConfigError, RunError
from everlearn.learning.closed_form import ClosedFormConfig, ClosedFormLearner
from everlearn.learning.gradient import GradientConfig, GradientLearner
from everlearn.learning.gradient.optimizers import ChangedRates
from everlearn.learning.language import LanguageLearner
from everlearn.learning.seq2seq import Seq2SeqLearner
from everlearn.methods.registry import create_method
from everlearn.models.encoder.coder import TextCoder
from everlearn.models.encoder.load import load_trunk
from everlearn.models.storage.dtype import choose_device
from everlearn.stream.files.codes import CodesSource
from everlearn.stream.source import Source
from everlearn.tasks.classification.label_limit import MOST_LABELS
from everlearn.tasks.classification.recorded_coder import RecordedCoder, load_text_coder
from everlearn.tasks.records import LearnerRecord
from everlearn.tasks.texts.learners import (
    TEXT_KINDS,
    method_settings,
    new_text_learner,
    optimization_settings,
    text_learner,
)
from everlearn.types import Boundary, Example, Json, Learner, Predictor, StepReport

__all__ = [
    "RunLearner",
    "build_learner",
    "build_learner_like",
    "change_learning_rates",
    "check_codes",
    "is_settled",
    "learner_for_coder",
    "learning_rate_of",
    "mark_boundary",
    "needs_resample",
    "rebuild_learner",
    "refresh",
    "relearn",
    "resample",
    "settle",
    "solve",
]


class RunLearner(Learner, Protocol):
    """A learner that a run can hold."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels known."""
        ...

    @property
    def num_examples(self) -> int:
        """Examples learned and not forgotten."""
        ...

    @property
    def reads_text(self) -> bool:
        """Whether it learns from texts; if not, from codes."""
        ...

    def fingerprint(self) -> str:
        """SHA-256 (hex) of what was learned."""
        ...

    def frozen(self) -> Predictor:
        """What it would predict now, and will go on predicting while the learner changes."""
        ...


def build_learner(config: RunConfig, source: Source) -> tuple[RunLearner, LearnerRecord]:
    """A fresh learner for a new run, and the record to build it again.

    Args:
        config: The run's settings.
        source: The first stream; a codes file says itself which model made it, and none is loaded.

    Raises:
        ConfigError: A setting is wrong, or does not fit the learner or the stream.
        ModelError: The model cannot be loaded.
    """
    reads_text = config.task != "classify" or config.learner.kind == "gradient"
    if reads_text and isinstance(source, CodesSource):
        raise ConfigError(
            f"{source.name} holds codes, which only the closed-form learner can learn from; give it the texts"
        )
    if config.task != "classify":
        made, record = new_text_learner(config)
        return cast(RunLearner, made), record
    if config.learner.kind == "gradient":
        record = LearnerRecord(kind="gradient", config=_gradient_settings(config))
        return _gradient_learner(config, record), record
    if isinstance(source, CodesSource):
        coder = _coder_of(
            source.coder_fingerprint, source.coder_config, source.dense_size, config, source.name
        )
    else:
        coder = RecordedCoder.loaded(load_text_coder(config.model))
    closed_form = _closed_form_config(config)
    record = LearnerRecord(
        kind="closed-form",
        config=closed_form.to_json(),
        coder_fingerprint=coder.fingerprint,
        coder_config=coder.config,
        dense_size=coder.dense_size,
    )
    return _closed_form_learner(config, coder, closed_form), record


def rebuild_learner(
    config: RunConfig, record: LearnerRecord, owner: str, adapter: Path | None = None
) -> RunLearner:
    """The learner of an existing run, without its state. Models are loaded when they are needed.

    Args:
        config: The run's settings.
        record: What the run recorded of its learner.
        owner: The run's name, for messages.
        adapter: Folder of an adapter of the trunk, where codes are made with one.

    Raises:
        RunError: The record names a learner that this version does not know.
        ModelError: The model cannot be loaded.
    """
    if record.kind in TEXT_KINDS:
        return cast(RunLearner, text_learner(config, record))
    if record.kind == "gradient":
        return _gradient_learner(config, record)
    if record.kind != "closed-form" or record.coder_fingerprint is None or record.dense_size is None:
        raise RunError(f"{owner} has a learner of kind {record.kind!r}, which this version does not know")
    coder = _coder_of(
        record.coder_fingerprint, record.coder_config or {}, record.dense_size, config, owner, adapter
    )
    return _closed_form_learner(config, coder, ClosedFormConfig(**record.config))


def learner_for_coder(config: RunConfig, record: LearnerRecord, coder: TextCoder) -> ClosedFormLearner:
    """A fresh closed-form learner like a run's own, for codes of a coder that is loaded."""
    closed_form = ClosedFormConfig(**record.config)
    return cast(ClosedFormLearner, _closed_form_learner(config, RecordedCoder.loaded(coder), closed_form))


def build_learner_like(
    config: RunConfig, record: LearnerRecord, owner: str, adapter: Path | None = None
) -> RunLearner:
    """A fresh learner of other settings over the codes (or texts) of an existing run.

    Args:
        config: The settings.
        record: What the run recorded of its own learner.
        owner: The run's name, for messages.
        adapter: As of ``rebuild_learner``.

    Raises:
        ConfigError: A setting is wrong.
        RunError: The run keeps no codes, and this learner needs them.
        ModelError: The model cannot be loaded.
    """
    if config.task != "classify":
        return cast(RunLearner, new_text_learner(config)[0])
    if config.learner.kind == "gradient":
        return _gradient_learner(config, LearnerRecord(kind="gradient", config=_gradient_settings(config)))
    if record.coder_fingerprint is None or record.dense_size is None:
        coder = RecordedCoder.loaded(load_text_coder(config.model))
    else:
        coder = _coder_of(
            record.coder_fingerprint, record.coder_config or {}, record.dense_size, config, owner, adapter
        )
    return _closed_form_learner(config, coder, _closed_form_config(config))


def check_codes(source: Source, record: LearnerRecord, owner: str) -> None:
    """Refuse a codes file that another coder made.

    Raises:
        RunError: It does not fit the run.
    """
    if not isinstance(source, CodesSource):
        return
    if source.coder_fingerprint != record.coder_fingerprint:
        raise RunError(
            f"{source.name} holds codes of another model or other settings ({source.coder_config}) than "
            f"{owner} ({record.coder_config}); encode the texts again with the run's settings"
        )


def refresh(learner: Learner) -> None:
    """Let a closed-form learner solve now what the next prediction would make it solve."""
    if isinstance(learner, ClosedFormLearner):
        learner.refresh()


def solve(learner: Learner) -> None:
    """Let a closed-form learner predict by everything that it holds; others do, or are as they are."""
    if isinstance(learner, ClosedFormLearner):
        learner.settle()


def settle(learner: Learner) -> StepReport | None:
    """Let predictions use everything learned.

    A closed-form learner solves at full size; a language model learns the tokens that wait for a full step,
    and its report is returned.
    """
    solve(learner)
    return learner.settle() if isinstance(learner, LanguageLearner) and not learner.is_settled else None


def is_settled(learner: Learner) -> bool:
    """Whether ``settle`` would change nothing."""
    return learner.is_settled if isinstance(learner, ClosedFormLearner | LanguageLearner) else True


def relearn(learner: Learner, forgotten: Sequence[Example], learned: Sequence[Example]) -> StepReport:
    """Forget pairs that were corrected and learn others, as one step."""
    if not forgotten:
        return learner.learn(learned)
    if isinstance(learner, ClosedFormLearner):
        return learner.correct(forgotten, learned)
    learner.forget(forgotten)
    return learner.learn(learned)


def mark_boundary(learner: Learner, name: str, num_examples: int) -> None:
    """Tell a gradient learner's methods that an experience has ended."""
    if isinstance(learner, GradientLearner | LanguageLearner | Seq2SeqLearner):
        learner.on_boundary(Boundary(reason="experience", num_examples=num_examples, name=name))


def learning_rate_of(learner: Learner, name: str) -> float | None:
    """A peak learning rate as it is now; None where nothing is learned by gradients.

    Args:
        learner: The learner.
        name: "learning_rate" (below the head) or "head_learning_rate".
    """
    rates = _rates_of(learner)
    return None if rates is None else rates[name]


def change_learning_rates(learner: Learner, rates: Mapping[str, float]) -> None:
    """Let a learner that trains by gradients go on with other peak learning rates."""
    found = _rates_of(learner)
    if found is not None:
        found.change(rates)


def _rates_of(learner: Learner) -> ChangedRates | None:
    if isinstance(learner, GradientLearner):
        return learner.rates
    return learner.training.rates if isinstance(learner, LanguageLearner | Seq2SeqLearner) else None


def needs_resample(learner: Learner) -> bool:
    """Whether so much was forgotten that a closed-form learner's sample lacks members."""
    return isinstance(learner, ClosedFormLearner) and learner.needs_resample


def resample(learner: Learner, remaining: Iterable[Example]) -> None:
    """Let a closed-form learner choose its sample anew from everything it holds."""
    if isinstance(learner, ClosedFormLearner):
        learner.resample(remaining)


def _coder_of(
    fingerprint: str,
    coder_config: dict[str, Json],
    dense_size: int,
    config: RunConfig,
    owner: str,
    adapter: Path | None = None,
) -> RecordedCoder:
    return RecordedCoder(
        lambda: load_text_coder(config.model, coder_config, adapter),
        fingerprint=fingerprint,
        config=coder_config,
        dense_size=dense_size,
        owner=owner,
    )


def _closed_form_config(config: RunConfig) -> ClosedFormConfig:
    settings = {
        name: value for name, value in config.learner.closed_form.model_dump().items() if value is not None
    }
    settings["seed"] = config.seed
    num_features = settings.pop("num_features", None)
    budget = config.learner.memory_budget
    if budget is not None:
        if num_features is not None or "gram_bits" in settings:
            raise ConfigError(
                "learner.memory_budget chooses learner.closed_form.num_features and "
                "learner.closed_form.gram_bits itself; give the budget or the sizes"
            )
        return ClosedFormConfig.for_memory(budget, **settings)
    return (
        ClosedFormConfig(**settings)
        if num_features is None
        else ClosedFormConfig.of_size(num_features, **settings)
    )


def _closed_form_learner(
    config: RunConfig, coder: RecordedCoder, closed_form: ClosedFormConfig
) -> RunLearner:
    device: torch.device = choose_device(config.model.device)
    open_ended = replace(closed_form, max_classes=MOST_LABELS)
    return cast(RunLearner, ClosedFormLearner(coder, open_ended, device=device))


def _gradient_settings(config: RunConfig) -> dict[str, Any]:
    settings = optimization_settings(config) | {"max_length": config.model.max_length}
    return {"learner": asdict(GradientConfig(**settings)), "methods": method_settings(config)}


def _gradient_learner(config: RunConfig, record: LearnerRecord) -> RunLearner:
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in record.config["learner"].items()
    }
    methods = [create_method(name, values) for name, values in record.config["methods"].items()]
    # Weights that were rounded once stay rounded; the configuration says what products run in.
    trunk = load_trunk(config.model_name, dtype="float32", device=config.model.device)
    learner = GradientLearner.for_text(trunk, GradientConfig(**settings), methods)
    learner.max_classes = MOST_LABELS  # the configuration is part of the state
    return cast(RunLearner, learner)
