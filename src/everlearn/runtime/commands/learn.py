"""``learn``: one stream into one run, from where it stands to the stream's end or an interruption."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from everlearn.errors import InputError, StoppedError
from everlearn.models.encoder.pool import ModelPool
from everlearn.runtime.commands.learn_notes import no_example_message, no_target_message, sitting_notes
from everlearn.runtime.fold.failed_steps import is_out_of_memory, out_of_memory
from everlearn.runtime.folder.rebuild_report import write_reader_files
from everlearn.runtime.folder.run_folder import GENERAL_FILE, RunFolder, is_run_folder
from everlearn.runtime.folder.run_settings import new_folder_name, settings_for, settings_in_file, with_task
from everlearn.runtime.folder.stream_keys import source_key
from everlearn.runtime.folder.useful_settings import check_fits_codes, check_fits_sources, check_useful
from everlearn.runtime.interruption import StopFlag
from everlearn.runtime.listener import SILENT, Listener, Progress
from everlearn.runtime.loop.session import BrokenStreamError, FullError, LearnSession
from everlearn.runtime.loop.stream_place import StreamPlace
from everlearn.runtime.threads import use_threads
from everlearn.stream.files.codes import CodesSource
from everlearn.stream.notes import reading_notes
from everlearn.stream.open import open_source
from everlearn.stream.rejections import share_lost
from everlearn.stream.source import EndOfStream, Source
from everlearn.tasks.batch_result import Observer
from everlearn.tasks.origin import Origin
from everlearn.tasks.reading import check_codes
from everlearn.tasks.scores import Tested
from everlearn.tasks.table import task_of
from everlearn.tasks.texts.general_text import GeneralText
from everlearn.types import Json

__all__ = ["LearnOutcome", "LearnRequest", "learn_stream"]

_IDLE_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnRequest:
    """What is asked of a ``learn``.

    Attributes:
        stream: A file, "-" or a dataset's name.
        out: The run folder; None: a new one under ``runs/``.
        settings: Settings given for this time, by dotted path.
        config_file: YAML with further settings; those in ``settings`` win.
        test: A held-out set.
        max_examples: Most examples that the run may hold; what follows is not taken. None: no bound.
        general: Other text, of which the summary says how much worse the model became at it (language models
            and encoder-decoders).
    """

    stream: str
    out: Path | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    config_file: Path | None = None
    test: str | None = None
    general: str | None = None
    max_examples: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnOutcome:
    """How a ``learn`` ended.

    Attributes:
        folder: The run folder.
        summary: Its figures.
        interrupted: Whether it was asked to stop before the stream's end.
        notes: What the user should know, in sentences.
        loss: What of the stream is missing, in a sentence: more records were rejected than
            ``stream.max_rejected`` allows, or the run may hold no more.
    """

    folder: Path
    summary: dict[str, Json]
    interrupted: bool
    notes: Sequence[str]
    loss: str | None = None


def learn_stream(
    request: LearnRequest,
    *,
    listener: Listener = SILENT,
    stop: StopFlag | None = None,
    observers: Sequence[Observer] = (),
    on_ready: Callable[[], None] = lambda: None,
    models: ModelPool | None = None,
) -> LearnOutcome:
    """Predict and learn a stream, and save everything in a run folder.

    A run that exists is continued: after the last example saved if the stream is one it knows, with
    the new stream on top if not.

    Args:
        request: What is asked for.
        listener: Is told what happens.
        stop: Asks for an early end, with everything saved.
        observers: Look at every step beside the run's own.
        on_ready: Is called when everything is loaded, before the first batch.
        models: Gives encoders; None: the run has its own.

    Raises:
        ConfigError: A setting is wrong, or differs from the run's.
        InputError: The stream cannot be read to its end; what was learned until then is saved. Or it
            gave nothing to learn from; then no new folder stays, and a run that exists is as before.
        ModelError: The model cannot be loaded.
        RunError: The folder is in use, of another format version, or not a run.
        StateError: The saved state is damaged.
        StoppedError: A stop was asked for before the first example; all is as before.
        StorageError: Saving failed; what was saved before is intact.
    """
    started = time.perf_counter()
    out = request.out if request.out is not None else new_folder_name(request.stream)
    folder = RunFolder.open_to_write(out) if is_run_folder(out) else None
    is_new = folder is None
    session = None
    try:
        key = source_key(request.stream)
        in_file = settings_in_file(request.config_file)
        given = {**in_file, **request.settings}
        if folder is None:
            given = with_task(given, request.stream)
        config = settings_for(given, folder, key)
        keeps_texts = folder is not None and folder.journal.examples.keep_texts
        check_useful(config, request.settings, in_file, keeps_texts=keeps_texts)
        use_threads(config.run.threads)
        task = task_of(config)
        reading = task.source_config(config.stream)
        # A later stream, or a later record, may bring targets for examples that came without.
        source = open_source(request.stream, task.source_config(config.stream, text_optional=True))
        if isinstance(source, CodesSource):
            check_fits_codes(source, config, request.settings, in_file)
        test = None if request.test is None else open_source(request.test, reading)
        other = None if request.general is None else open_source(request.general, reading)
        read = [stream for stream in (source, test, other) if stream is not None]
        check_fits_sources(read, request.settings, in_file)
        held_out = None if test is None else task.held_out(test, config)
        general = None if other is None else task.general_text(other, config)
        listener.stage("loading the model")
        if folder is None:
            origin = Origin(owner=str(out), models=models or ModelPool())
            learner, record = task.new_learner(config, source, origin)
            if test is not None:
                check_codes(test, record, request.stream)
            folder = RunFolder.create(out, config, record)
        else:
            for stream in (source, *([] if test is None else [test])):
                check_codes(stream, folder.learner_record(), str(out))
            folder.models = models or folder.models
            learner = folder.learner_to_go_on(config)
        if general is not None:
            listener.stage("reading the general text")
            general.begin(learner, folder.path / GENERAL_FILE)
        listener.stage("bringing the run back" if not is_new else "opening the stream")
        place = StreamPlace(folder, config, source, key)
        session = LearnSession(folder, config, learner, place, started, held_out, observers)
        session.change_learning_rates({**in_file, **request.settings})
        on_ready()
        return _run(session, place, listener, stop or StopFlag(), general, read[1:], request.max_examples)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise out_of_memory(error, str(out)) from error
    finally:
        if session is not None:
            session.close()
        if folder is not None:
            if is_new and not folder.journal.last_step:
                folder.remove()
            folder.close()


def _run(
    session: LearnSession,
    place: StreamPlace,
    listener: Listener,
    stop: StopFlag,
    general: GeneralText | None,
    others: Sequence[Source],
    max_examples: int | None,
) -> LearnOutcome:
    before = session.progress.examples
    without_target = session.live.scores.counts.without_target
    listener.stage("learning")
    interrupted, full = False, None
    try:
        interrupted = _learn(session, listener, stop, max_examples)
    except FullError as error:
        if session.progress.examples == before:
            raise
        full = str(error)
    except BrokenStreamError as error:
        if session.is_fruitless:
            session.undo()
            raise
        _finish(session, None, listener, goes_on=True)
        raise InputError(
            f"{error}. The {session.progress.examples:,} examples before it are learned and saved "
            f"in {session.folder.path}"
        ) from error
    if not session.progress.examples:
        session.undo()
        if interrupted:
            raise StoppedError(f"Stopped before the first example of {session.place.name} was learned.")
        raise InputError(no_example_message(session))
    if session.is_fruitless and not interrupted:
        has_examples = session.live.scores.counts.examples
        text = no_target_message(session, place) if has_examples else no_example_message(session)
        session.undo()
        raise InputError(text)
    tested = None
    if session.held_out is not None and not interrupted:
        listener.stage("testing on the held-out set")
        tested = session.test()
    if general is not None and not interrupted:
        listener.stage("testing on the general text")
        session.settle()
        with session.live.fold.clock.measure("evaluate"):
            figures = {} if tested is None else tested.figures
            tested = Tested(figures={**figures, **general.figures(session.live.learner)})
    session.settle(goes_on=interrupted)  # before the notes, as what waits may turn out not to be learnable
    without_target = session.live.scores.counts.without_target - without_target
    notes = sitting_notes(session, place, before, without_target, interrupted=interrupted)
    notes += [note for other in others for note in reading_notes(other)]
    summary = _finish(session, tested, listener, notes, goes_on=interrupted)
    return LearnOutcome(
        folder=session.folder.path,
        summary=summary,
        interrupted=interrupted,
        notes=notes,
        loss=full or _loss(session),
    )


def _loss(session: LearnSession) -> str | None:
    """What to say of a stream most of which could not be used; None where that is not so."""
    told = share_lost(
        session.place.name,
        session.rejections.num_records,
        session.rejections.num_lost,
        session.rejections.first,
        session.config.stream.max_rejected,
    )
    return told and (
        f"{told}. What could be used is learned and saved in {session.folder.path}, where rejected.jsonl "
        "lists the rest"
    )


def _learn(
    session: LearnSession, listener: Listener, stop: StopFlag, max_examples: int | None = None
) -> bool:
    """Take batches until the stream ends (False) or a stop is asked for (True)."""
    total = session.total()
    while True:
        try:
            num_records = session.step(max_examples)
        except EndOfStream:
            return False
        scores = session.live.scores
        listener.progress(
            Progress(
                examples=scores.counts.examples,
                total=total,
                rolling_accuracy=scores.rolling_accuracy,
                rolling_text=scores.rolling_text,
                examples_per_second=scores.examples_per_second,
                num_classes=len(scores.labels),
                memory_mb=scores.memory_mb,
            )
        )
        if stop.requested:
            return True
        if not session.is_fruitless and session.saving.is_due:
            session.saving.save()
        if not num_records:
            time.sleep(_IDLE_SECONDS)


def _finish(
    session: LearnSession,
    tested: Tested | None,
    listener: Listener,
    notes: Sequence[str] = (),
    *,
    goes_on: bool = False,
) -> dict[str, Json]:
    """Save, write the report and return the figures."""
    listener.stage("saving")
    session.settle(goes_on=goes_on)
    with session.live.fold.clock.measure("save"):
        fingerprint = session.live.learner.fingerprint()
    # Saved first: were the report to fail, nothing learned would be lost.
    summary = session.summary(fingerprint=fingerprint, tested=tested)
    session.saving.save(summary)
    session.publishing.end_sitting(summary)
    listener.stage("writing the report")
    with session.live.fold.clock.measure("evaluate"):
        comparison = write_reader_files(
            session.folder,
            session.live.scores,
            summary,
            title=session.place.name,
            confusion=None if tested is None else tested.confusion,
            notes=notes,
        )
    # The figures of the report, whose writing takes time and memory as well.
    return summary | ({} if comparison is None else {"baselines": comparison.to_json()})
