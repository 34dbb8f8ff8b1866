"""``evaluate``: a run's scores on files, without learning them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from everlearn.runtime.fold.served_learner import open_learner, serve_by
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.folder.serving import served_generation
from everlearn.runtime.folder.useful_settings import check_fits_sources
from everlearn.runtime.threads import use_threads
from everlearn.stream.notes import reading_notes
from everlearn.stream.open import open_source
from everlearn.stream.source import Source
from everlearn.tasks.evaluation import EvaluationRequest
from everlearn.tasks.reading import check_codes
from everlearn.types import Json

__all__ = ["evaluate_run"]


def evaluate_run(
    run: Path,
    specs: Sequence[str],
    settings: Mapping[str, Any] | None = None,
    *,
    adapt: bool = False,
    forget_documents: bool = False,
    on_note: Callable[[str], None] = lambda _: None,
) -> dict[str, Json]:
    """Score a run on files; it is as before at the end.

    Args:
        run: The run folder; it may be in use.
        specs: The files; a classifier takes one.
        settings: Dotted settings in place of the run's, such as ``stream.text_field``.
        adapt: Dynamic evaluation: learn while reading (language models only).
        forget_documents: With ``adapt``: forget after each document.
        on_note: Is told what of the run was found damaged and passed over, and how the files were read.

    Returns:
        The task's figures, see ``Evaluation.figures``, and the ``fingerprint``.

    Raises:
        ConfigError: Something is asked for that the task does not have.
        InputError: A file cannot be read or has nothing to score.
        RunError: Not a usable run folder.
        StateError: The saved state is damaged.
    """
    # Files are read before the model is loaded: what is wrong with them is told at once.
    with RunFolder.open_to_read(run) as folder:
        config, task = folder.config.with_settings(settings or {}), folder.task
        record = folder.learner_record(served_generation(folder))

    sources: list[Source] = []

    def open_sources() -> list[Source]:
        sources[:] = [open_source(spec, task.source_config(config.stream)) for spec in specs]
        check_fits_sources(sources, settings or {})
        for source in sources:
            check_codes(source, record, str(run))
        return sources

    evaluation = task.evaluation(
        EvaluationRequest(
            run=str(run),
            specs=specs,
            open_sources=open_sources,
            config=config,
            adapt=adapt,
            forget_documents=forget_documents,
        )
    )
    folder, learner = open_learner(run, on_note=on_note)
    with folder:
        use_threads(config.run.threads)
        serve_by(folder, learner)
    for note in (note for source in sources for note in reading_notes(source)):
        on_note(note)
    return {**evaluation.figures(learner), "fingerprint": learner.fingerprint()}
