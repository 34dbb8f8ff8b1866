"""The closed-form learner of a run: from settings, from a record, for another trunk's codes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from everlearn.config import RunConfig
from everlearn.errors import ConfigError, RunError
from everlearn.learning.closed_form import ClosedFormConfig, ClosedFormLearner
from everlearn.learning.run_learner import RunLearner
from everlearn.models.encoder.coder import TextCoder
from everlearn.models.storage.dtype import choose_device
from everlearn.stream.files.codes import CodesSource
from everlearn.stream.source import Source
from everlearn.tasks.classification.label_limit import MOST_LABELS
from everlearn.tasks.classification.recorded_coder import RecordedCoder, load_text_coder
from everlearn.tasks.records import LearnerRecord
from everlearn.types import Json

__all__ = [
    "KIND",
    "closed_form_learner",
    "closed_form_like",
    "learner_for_coder",
    "new_closed_form_learner",
    "require_closed_form",
]

KIND = "closed-form"


def new_closed_form_learner(config: RunConfig, source: Source) -> tuple[ClosedFormLearner, LearnerRecord]:
    """See ``Task.new_learner``."""
    if isinstance(source, CodesSource):
        coder = _coder_of(
            source.coder_fingerprint, source.coder_config, source.dense_size, config, source.name
        )
    else:
        coder = RecordedCoder.loaded(load_text_coder(config.model))
    closed_form = _closed_form_config(config)
    record = LearnerRecord(
        kind=KIND,
        config=closed_form.to_json(),
        coder_fingerprint=coder.fingerprint,
        coder_config=coder.config,
        dense_size=coder.dense_size,
    )
    return _learner(config, coder, closed_form), record


def closed_form_learner(
    config: RunConfig, record: LearnerRecord, owner: str, adapter: Path | None = None
) -> ClosedFormLearner:
    """See ``Task.learner``."""
    return _learner(config, _recorded(config, record, owner, adapter), ClosedFormConfig(**record.config))


def closed_form_like(
    config: RunConfig, record: LearnerRecord, owner: str, adapter: Path | None = None
) -> ClosedFormLearner:
    """One of the settings' own sizes over the codes (or texts) of an existing run; see ``Task.learner``."""
    if record.coder_fingerprint is None:
        coder = RecordedCoder.loaded(load_text_coder(config.model))
    else:
        coder = _recorded(config, record, owner, adapter)
    return _learner(config, coder, _closed_form_config(config))


def learner_for_coder(config: RunConfig, record: LearnerRecord, coder: TextCoder) -> ClosedFormLearner:
    """A fresh learner like a run's own, for codes of a coder that is loaded."""
    return _learner(config, RecordedCoder.loaded(coder), ClosedFormConfig(**record.config))


def require_closed_form(learner: RunLearner, owner: str) -> ClosedFormLearner:
    """A learner whose state is sums: it can be merged, and its trunk be tuned apart from it.

    Raises:
        RunError: It is another one.
    """
    if not isinstance(learner, ClosedFormLearner):
        raise RunError(f"{owner} has another learner than the closed-form one")
    return learner


def _recorded(config: RunConfig, record: LearnerRecord, owner: str, adapter: Path | None) -> RecordedCoder:
    if record.coder_fingerprint is None or record.dense_size is None:
        raise RunError(f"{owner} has a learner of kind {record.kind!r}, which this version does not know")
    return _coder_of(
        record.coder_fingerprint, record.coder_config or {}, record.dense_size, config, owner, adapter
    )


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


def _learner(config: RunConfig, coder: RecordedCoder, closed_form: ClosedFormConfig) -> ClosedFormLearner:
    device = choose_device(config.model.device)
    open_ended = replace(closed_form, max_classes=MOST_LABELS)
    return ClosedFormLearner(coder, open_ended, device=device)
