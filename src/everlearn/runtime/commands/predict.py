"""``predict``: what a run says of texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from everlearn.errors import ConfigError, InputError
from everlearn.learning.run_learner import RunLearner
from everlearn.models.encoder.pool import ModelPool
from everlearn.runtime.commands.reading import read_batches
from everlearn.runtime.fold.served_learner import open_learner, serve_by
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.folder.serving import served_generation
from everlearn.runtime.folder.useful_settings import check_fits_sources
from everlearn.runtime.threads import use_threads
from everlearn.settings import RunConfig
from everlearn.stream.notes import reading_notes
from everlearn.stream.open import open_source
from everlearn.stream.source import Rejection
from everlearn.tasks.answer import PredictedText
from everlearn.tasks.reading import check_codes
from everlearn.types import Example

__all__ = ["predict_stream", "predict_texts"]

_BATCH_SIZE = 256


def predict_texts(
    run: Path,
    texts: Sequence[str],
    *,
    top: int = 3,
    settings: Mapping[str, Any] | None = None,
    on_note: Callable[[str], None] = lambda _: None,
    models: ModelPool | None = None,
) -> list[PredictedText]:
    """Predict texts by a run, with everything it has learned.

    Args:
        run: The run folder; it may be in use.
        texts: The texts.
        top: How many labels to name for each.
        settings: Dotted settings in place of the run's; none of how records are read.
        on_note: Is told what of the run was found damaged and passed over.
        models: Gives encoders; None: the run has its own.

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
    with _served(run, settings or {}, on_note, models) as (folder, _, learner):
        task = folder.task
        serve_by(folder, learner)
    examples = learner.prepare([Example(id=str(k), text=text) for k, text in enumerate(texts, start=1)])
    return [
        task.answer(example, prediction, top)
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
    models: ModelPool | None = None,
) -> Iterator[PredictedText]:
    """Predict a stream (a file, or "-" for standard input) as it comes. Raises as ``predict_texts``.

    Args:
        run: The run folder; it may be in use.
        spec: The stream.
        top: How many labels to name for each.
        settings: Dotted settings in place of the run's, such as ``stream.text_field``.
        on_rejected: Is told of each record that could not be used.
        on_note: Is told what of the run was found damaged and passed over, and how the stream was read.
        models: Gives encoders; None: the run has its own.
    """
    _check_top(top)
    with _served(run, settings or {}, on_note, models) as (folder, config, learner):
        task = folder.task
        source = open_source(spec, task.source_config(config.stream, with_targets=False))
        check_fits_sources([source], settings or {})
        check_codes(source, folder.learner_record(served_generation(folder)), str(run))
        serve_by(folder, learner)
    for batch, rejected in read_batches(source, _BATCH_SIZE):
        for rejection in rejected:
            on_rejected(rejection)
        if batch:
            examples = learner.prepare(batch)
            for example, prediction in zip(examples, learner.predict(examples), strict=True):
                yield task.answer(example, prediction, top)
    for note in reading_notes(source):
        on_note(note)


@contextmanager
def _served(
    run: Path,
    settings: Mapping[str, Any],
    on_note: Callable[[str], None],
    models: ModelPool | None = None,
) -> Iterator[tuple[RunFolder, RunConfig, RunLearner]]:
    """The run, open for the time of the block, its settings with others in their place, and its learner."""
    with RunFolder.open_to_read(run) as folder:
        folder.task.check_predicts(str(run))  # before anything is loaded
    folder, learner = open_learner(run, on_note=on_note, models=models)
    with folder:
        config = folder.config.with_settings(settings)
        use_threads(config.run.threads)
        yield folder, config, learner


def _check_top(top: int) -> None:
    if top < 1:
        raise ConfigError(f"top must be at least 1, not {top}")
