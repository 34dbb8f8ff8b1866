"""The closed-form learner of a run: from settings, from a record, for another trunk's codes."""

from __future__ import annotations

from everlearn.errors import ConfigError, RunError
from everlearn.learning.closed_form import ClosedFormConfig, ClosedFormLearner
from everlearn.learning.run_learner import RunLearner
from everlearn.models.encoder.coder import TextCoder
from everlearn.models.encoder.pool import ModelPool
from everlearn.models.storage.dtype import choose_device
from everlearn.settings import ClosedFormSettings, RunConfig
from everlearn.stream.files.codes import CodesSource
from everlearn.stream.source import Source
from everlearn.tasks.classification.label_limit import MOST_LABELS
from everlearn.tasks.classification.recorded_coder import RecordedCoder, load_text_coder
from everlearn.tasks.origin import Origin
from everlearn.tasks.records import LearnerRecord

__all__ = [
    "KIND",
    "closed_form_learner",
    "closed_form_like",
    "coder_of",
    "learner_for_coder",
    "new_closed_form_learner",
    "require_closed_form",
]

KIND = "closed-form"


Kind = type[ClosedFormLearner]
"""Which of the learners that have the same record."""


def new_closed_form_learner(
    config: RunConfig, source: Source | None, models: ModelPool, kind: Kind = ClosedFormLearner
) -> tuple[ClosedFormLearner, LearnerRecord]:
    """See ``Task.new_learner``."""
    if isinstance(source, CodesSource):
        coder = RecordedCoder(
            lambda: load_text_coder(config.model, models, source.coder_config),
            fingerprint=source.coder_fingerprint,
            config=source.coder_config,
            dense_size=source.dense_size,
            owner=source.name,
        )
    else:
        coder = RecordedCoder.loaded(load_text_coder(config.model, models))
    closed_form = _closed_form_config(config)
    record = LearnerRecord(
        kind=KIND,
        config=closed_form.to_json(),
        coder_fingerprint=coder.fingerprint,
        coder_config=coder.config,
        dense_size=coder.dense_size,
    )
    return _learner(config, coder, closed_form, kind), record


def closed_form_learner(
    config: RunConfig, record: LearnerRecord, origin: Origin, kind: Kind = ClosedFormLearner
) -> ClosedFormLearner:
    """See ``Task.learner``."""
    closed_form = ClosedFormConfig.from_json(record.config)
    return _learner(config, _recorded(config, record, origin), closed_form, kind)


def closed_form_like(config: RunConfig, record: LearnerRecord, origin: Origin) -> ClosedFormLearner:
    """One of the settings' own sizes over the codes (or texts) of an existing run; see ``Task.learner``."""
    if record.coder_fingerprint is None:
        coder = RecordedCoder.loaded(load_text_coder(config.model, origin.models))
    else:
        coder = _recorded(config, record, origin)
    return _learner(config, coder, _closed_form_config(config))


def learner_for_coder(config: RunConfig, record: LearnerRecord, coder: TextCoder) -> ClosedFormLearner:
    """A fresh learner like a run's own, for codes of a coder that is loaded."""
    return _learner(config, RecordedCoder.loaded(coder), ClosedFormConfig.from_json(record.config))


def coder_of(learner: RunLearner) -> RecordedCoder | None:
    """What makes the codes that a learner learns from; None: it needs none."""
    coder = learner.coder if isinstance(learner, ClosedFormLearner) else None
    return coder if isinstance(coder, RecordedCoder) else None


def require_closed_form(learner: RunLearner, owner: str) -> ClosedFormLearner:
    """A learner whose state is sums: it can be merged, and its trunk be tuned apart from it.

    Raises:
        RunError: It is another one.
    """
    if not isinstance(learner, ClosedFormLearner):
        raise RunError(f"{owner} has another learner than the closed-form one")
    return learner


def _recorded(config: RunConfig, record: LearnerRecord, origin: Origin) -> RecordedCoder:
    if record.coder_fingerprint is None or record.dense_size is None:
        raise RunError(
            f"{origin.owner} has a learner of kind {record.kind!r}, which this version does not know"
        )
    coder_config = record.coder_config or {}
    return RecordedCoder(
        lambda: load_text_coder(config.model, origin.models, coder_config, origin.adapter),
        fingerprint=record.coder_fingerprint,
        config=coder_config,
        dense_size=record.dense_size,
        owner=origin.owner,
    )


def _closed_form_config(config: RunConfig) -> ClosedFormConfig:
    settings = config.learner.closed_form.model_dump() | {"seed": config.seed}
    budget, usual = config.learner.memory_budget, ClosedFormSettings()
    if budget is not None:
        sizes = {name: settings.pop(name) for name in ("num_features", "gram_bits")}
        if any(value != getattr(usual, name) for name, value in sizes.items()):
            raise ConfigError(
                "learner.memory_budget chooses learner.closed_form.num_features and "
                "learner.closed_form.gram_bits itself; give the budget or the sizes"
            )
        return ClosedFormConfig.for_memory(budget, **settings)
    return ClosedFormConfig.of_size(**settings)


def _learner(
    config: RunConfig, coder: RecordedCoder, closed_form: ClosedFormConfig, kind: Kind = ClosedFormLearner
) -> ClosedFormLearner:
    device = choose_device(config.model.device)
    open_ended = closed_form.replace(max_classes=MOST_LABELS)
    return kind(coder, open_ended, device=device)
