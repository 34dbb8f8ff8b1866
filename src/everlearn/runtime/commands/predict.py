"""``predict``: what a run says of texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from everlearn.config import TaskName
from everlearn.errors import ConfigError, InputError, RunError
from everlearn.runtime.commands.evaluate import task_of
from everlearn.runtime.fold.opened_run import open_learner
from everlearn.runtime.folder.useful_settings import check_fits_sources
from everlearn.runtime.threads import use_threads
from everlearn.stream.open import open_source
from everlearn.stream.source import EndOfStream, Rejection
from everlearn.tasks.learners import check_codes, settle
from everlearn.tasks.reading import source_config
from everlearn.types import Example, Json, Prediction

__all__ = ["PredictedText", "predict_stream", "predict_texts", "ranked"]

_BATCH_SIZE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedText:
    """A text and what a run says of it.

    Attributes:
        id: The example's id.
        text: The text, where there is one.
        target: What the record said, if anything.
        top: Labels and their probabilities, most probable first.
        outlier_score: How far the text is from everything learned; None where the learner has no such score.
        is_outlier: Whether the score is above the threshold set from the stream.
        is_translation: Whether the only label is a text that was written for this one; its probability is
            the geometric mean of those of its tokens.
    """

    id: str
    text: str | None
    target: str | None
    top: tuple[tuple[str, float], ...]
    outlier_score: float | None
    is_outlier: bool
    is_translation: bool = False

    def to_json(self) -> dict[str, Json]:
        """As printed by ``predict --json``."""
        if self.is_translation:
            (translation, probability), *_ = self.top
            return {
                "id": self.id,
                "text": self.text,
                "translation": translation,
                "probability": probability,
            }
        return {
            "id": self.id,
            "text": self.text,
            "label": self.top[0][0] if self.top else None,
            "probability": self.top[0][1] if self.top else None,
            "top": [{"label": label, "probability": probability} for label, probability in self.top],
            "outlier_score": self.outlier_score,
            "is_outlier": self.is_outlier,
        }


def predict_texts(
    run: Path,
    texts: Sequence[str],
    *,
    top: int = 3,
    settings: Mapping[str, Any] | None = None,
    on_note: Callable[[str], None] = lambda _: None,
) -> list[PredictedText]:
    """Predict texts by a run, with everything it has learned.

    Args:
        run: The run folder; it may be in use.
        texts: The texts.
        top: How many labels to name for each.
        settings: Dotted settings in place of the run's; none of how records are read.
        on_note: Is told what of the run was found damaged and passed over.

    Raises:
        RunError: Not a usable run folder, or a language model's.
        StateError: The saved state is damaged.
        ModelError: The run's model cannot be loaded.
        ConfigError: ``top`` is below 1, or a setting is of no use.
        InputError: A text is empty.
    """
    _check_top(top)
    useless = next((path for path in settings or {} if path.startswith("stream.")), None)
    if useless is not None:
        raise ConfigError(f"{useless} has no effect where the texts are given one by one; leave it out")
    empty = next((k for k, text in enumerate(texts, start=1) if not text.strip()), None)
    if empty is not None:
        raise InputError(f"text {empty} is empty: there is nothing to predict")
    _refuse_documents(run)
    folder, learner = open_learner(run, on_note=on_note)
    with folder:
        config = folder.config.with_settings(settings or {})
        use_threads(config.run.threads)
    settle(learner)
    examples = learner.prepare([Example(id=str(k), text=text) for k, text in enumerate(texts, start=1)])
    return [
        ranked(example, prediction, top, config.task)
        for example, prediction in zip(examples, learner.predict(examples), strict=True)
    ]


def predict_stream(
    run: Path,
    spec: str,
    *,
    top: int = 3,
    settings: Mapping[str, Any] | None = None,
    on_rejected: Callable[[Rejection], None] = lambda _: None,
    on_note: Callable[[str], None] = lambda _: None,
) -> Iterator[PredictedText]:
    """Predict a stream (a file, or "-" for standard input) as it comes. Raises as ``predict_texts``.

    Args:
        run: The run folder; it may be in use.
        spec: The stream.
        top: How many labels to name for each.
        settings: Dotted settings in place of the run's, such as ``stream.text_field``.
        on_rejected: Is told of each record that could not be used.
        on_note: Is told what of the run was found damaged and passed over.
    """
    _check_top(top)
    _refuse_documents(run)
    folder, learner = open_learner(run, on_note=on_note)
    with folder:
        config = folder.config.with_settings(settings or {})
        use_threads(config.run.threads)
        source = open_source(spec, source_config(config.stream, task=config.task, with_targets=False))
        check_fits_sources([source], settings or {})
        check_codes(source, folder.learner_record(folder.served_generation), str(run))
    settle(learner)
    reader = source.open()
    try:
        while True:
            batch = reader.next_batch(_BATCH_SIZE)
            for one in reader.take_rejected():
                on_rejected(one)
            if batch:
                examples = learner.prepare(batch)
                for example, prediction in zip(examples, learner.predict(examples), strict=True):
                    yield ranked(example, prediction, top, config.task)
    except EndOfStream:
        for one in reader.take_rejected():
            on_rejected(one)
    finally:
        reader.close()


def ranked(example: Example, prediction: Prediction, top: int, task: TaskName = "classify") -> PredictedText:
    """The ``top`` most probable labels of a prediction."""
    order = np.argsort(-prediction.probabilities, kind="stable")[:top]
    return PredictedText(
        id=example.id,
        text=example.text,
        target=example.target,
        top=tuple((prediction.labels[k], float(prediction.probabilities[k])) for k in order),
        outlier_score=prediction.outlier_score,
        is_outlier=prediction.is_outlier,
        is_translation=task == "seq2seq",
    )


def _refuse_documents(run: Path) -> None:
    if task_of(run) == "lm":
        raise RunError(
            f"{run} holds a language model, which has no labels to predict; `everlearn generate` writes with "
            "it, `everlearn evaluate` says how well it predicts a text"
        )


def _check_top(top: int) -> None:
    if top < 1:
        raise ConfigError(f"top must be at least 1, not {top}")
