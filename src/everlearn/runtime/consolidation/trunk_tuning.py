"""The long part of a consolidation: tuning an adapter on a run's texts, beside a run that goes on learning.

Nothing of the run is changed. After each epoch everything is saved (``tuning_store``), so that the same
command goes on after an interruption, and comes to the same adapter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import cast

import numpy as np
import torch

from everlearn.errors import RunError, StoppedError
from everlearn.journal.standing.held import held_examples
from everlearn.learning.closed_form import ClosedFormLearner
from everlearn.learning.consolidation import ConsolidationConfig, EpochReport, TrunkTuning, require_peft
from everlearn.memory.hash_sample import hash_id
from everlearn.models.encoder.load import load_trunk
from everlearn.models.storage.adapters import read_adapter
from everlearn.models.tying.structure import tying_of
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.folder.tuning_store import TuningRecord, TuningStore
from everlearn.runtime.interruption import StopFlag
from everlearn.runtime.listener import Listener, Progress
from everlearn.types import Example, FloatArray, State

__all__ = ["TuningStoppedError", "check_can_consolidate", "check_history", "tune_trunk_of"]

_WORD_SCORES = "exam.word_scores"


class TuningStoppedError(StoppedError):
    """A stop was asked for; what is finished is saved."""

    def __init__(self) -> None:
        super().__init__("Stopped; what is finished is saved, and the same command goes on from there")


def tune_trunk_of(
    folder: RunFolder,
    store: TuningStore,
    config: ConsolidationConfig,
    listener: Listener,
    *,
    from_scratch: bool = False,
    stop: StopFlag | None = None,
    on_epoch: Callable[[EpochReport], None] = lambda _: None,
) -> TuningRecord:
    """Tune an adapter on everything that a run has learned; a tuning that was interrupted goes on.

    Args:
        folder: The run, open for reading; another process may go on learning there.
        store: Where the tuning is saved, locked.
        config: Settings.
        listener: Is told what happens.
        from_scratch: Start from the trunk as it was before any consolidation.
        stop: Asks for a stop.
        on_epoch: Is told of each epoch, those of an earlier sitting included.

    Returns:
        The record of the finished tuning.

    Raises:
        RunError: The run has nothing to tune on, or keeps no texts.
        TuningStoppedError: A stop was asked for.
        MissingExtraError: peft is not installed.
    """
    generation = 0 if from_scratch else folder.journal.generation
    known = store.read()
    if known is not None and not (
        known.is_same_task(config.to_json(), from_scratch, generation) and _still_holds(folder, known)
    ):
        known = None
    if known is not None and known.finished:
        for figures in known.history:
            on_epoch(EpochReport(**figures))
        return known
    require_peft()
    saved = store.load() if known is not None else None
    listener.stage("reading what was learned")
    if saved is None:
        record, word_scores_EC = _begun(folder, config, from_scratch)
        tuning = _tuning(folder, record, word_scores_EC, config)
    else:
        record, state = saved
        word_scores_EC = np.asarray(state.tensors[_WORD_SCORES].numpy())
        tuning = _tuning(folder, record, word_scores_EC, config)
        tuning.restore(state)
    for report in _epochs(tuning, record, word_scores_EC, store, listener, stop or StopFlag()):
        on_epoch(report)
        check_history(folder, store, record)
    record = _told(record, tuning).model_copy(update={"finished": True})
    store.finish(record, tuning.best, folder.config.model_name)
    return record


def check_can_consolidate(folder: RunFolder) -> None:
    """Refuse, before anything long is begun, a run that cannot be consolidated.

    Raises:
        RunError: Says why, and what helps.
    """
    if folder.record.learner.kind != "closed-form":
        raise RunError(
            f"{folder.path} has a {folder.record.learner.kind} learner, which tunes its trunk as it learns: "
            "there is nothing to consolidate"
        )
    folder.task.check_consolidates(str(folder.path))
    without_text = folder.journal.examples.num_without_text()
    if without_text:
        raise RunError(
            f"{folder.path} keeps no text of {without_text:,} examples, and a tuned trunk must encode all of "
            "them again; runs made with --keep-text can be consolidated"
        )


def check_history(folder: RunFolder, store: TuningStore, record: TuningRecord) -> None:
    """Refuse to go on with a tuning on examples that have been deleted or set aside since it began.

    Raises:
        RunError: History changed; what was tuned is thrown away.
    """
    if not _still_holds(folder, record):
        store.clear()
        raise RunError(
            f"examples of {folder.path} were deleted or set aside while its trunk was tuned on them; what "
            "was tuned is thrown away. Run the same command again."
        )


def _still_holds(folder: RunFolder, record: TuningRecord) -> bool:
    """Whether history up to the tuning's step is as it was: nothing deleted or set aside since."""
    with folder.snapshot():
        folder.journal.generations.look_again()
    is_generation = record.from_scratch or folder.journal.generation == record.generation
    is_there = folder.journal.last_step >= record.step
    return is_generation and is_there and folder.history.is_current(record.step, record.revision)


def _begun(
    folder: RunFolder, config: ConsolidationConfig, from_scratch: bool
) -> tuple[TuningRecord, FloatArray]:
    checkpoint = folder.newest_checkpoint()
    learner = cast(ClosedFormLearner, folder.fresh_learner(checkpoint.generation))
    learner.restore(checkpoint.learner)
    size = learner.config.sample_size
    if learner.num_examples < 2 * size or len(learner.labels) < 2:
        raise RunError(
            f"{folder.path} has learned {learner.num_examples:,} examples of {len(learner.labels):,} labels; "
            f"a consolidation needs {2 * size:,} of two or more: {size:,} to examine it on, and as many "
            "again to tune on"
        )
    scores = learner.sample_scores()
    record = TuningRecord(
        config=config.to_json(),
        from_scratch=from_scratch,
        generation=0 if from_scratch else folder.journal.generation,
        step=checkpoint.step,
        revision=folder.history.last_revision,
        labels=list(scores.labels),
        exam_ids=list(scores.ids),
        num_tuned=min(config.max_examples, learner.num_examples - len(scores.ids)),
        last_offset=folder.journal.last_offset_of(checkpoint.step),
    )
    return record, scores.words_SC


def _tuning(
    folder: RunFolder, record: TuningRecord, word_scores_EC: FloatArray, config: ConsolidationConfig
) -> TrunkTuning:
    examples = _examples(folder, record, config.max_examples)
    learner = folder.learner_record(record.generation)
    coder_config = learner.coder_config or {}
    settings = folder.config.model
    # The bare trunk: an adapter that is in use already, or was given, is where tuning starts, not part of it.
    trunk = load_trunk(
        folder.config.model_name, dtype=coder_config.get("dtype", settings.dtype), device=settings.device
    )
    if tying_of(trunk.model.config) is not None:
        raise RunError(
            f"the layers of {trunk.name} share weights (everlearn tie): what is tuned cannot be merged into "
            "single ones, so runs on it are not consolidated"
        )
    adapter_folder = folder.adapter_folder(record.generation)
    start = None if adapter_folder is None else read_adapter(adapter_folder)
    return TrunkTuning(
        trunk,
        coder_config["layers"],
        examples,
        len(record.exam_ids),
        record.labels,
        word_scores_EC,
        config,
        start,
    )


def _examples(folder: RunFolder, record: TuningRecord, limit: int) -> list[Example]:
    """The exam in its order, then what is tuned on, in the journal's; with texts and codes."""
    exam = dict.fromkeys(record.exam_ids)
    hashes = sorted(
        hash_id(example.id)
        for _, example in held_examples(folder.journal, record.step, with_codes=False)
        if example.id not in exam
    )
    largest = hashes[min(limit, len(hashes)) - 1]
    tuned, found = [], {}
    for _, example in held_examples(folder.journal, record.step, generation=record.generation):
        if example.id in exam:
            found[example.id] = example
        elif hash_id(example.id) <= largest:
            tuned.append(example)
    return [*(found[id_] for id_ in record.exam_ids), *tuned]


def _epochs(
    tuning: TrunkTuning,
    record: TuningRecord,
    word_scores_EC: FloatArray,
    store: TuningStore,
    listener: Listener,
    stop: StopFlag,
) -> Iterator[EpochReport]:
    """Reports of the epochs that are done already, then of each one as it is done and saved."""
    yield from tuning.history
    if not tuning.history:
        listener.stage("taking the exam before tuning")
        yield tuning.examine()
    batch_size, total = tuning.config.batch_size, tuning.steps_an_epoch
    while not tuning.is_finished:
        epoch = len(tuning.history)
        listener.stage(f"tuning the trunk, epoch {epoch} of at most {tuning.config.epochs}")
        begun, first = time.perf_counter(), (epoch - 1) * total

        def on_step(step: int, begun: float = begun, first: int = first) -> None:
            if stop.requested:
                raise TuningStoppedError
            done = (step - first) * batch_size
            listener.progress(
                Progress(
                    examples=min(done, record.num_tuned),
                    total=record.num_tuned,
                    examples_per_second=done / max(time.perf_counter() - begun, 1e-9),
                    num_classes=len(record.labels),
                )
            )

        report = tuning.run_epoch(on_step)
        state = tuning.state()
        words = {_WORD_SCORES: torch.from_numpy(word_scores_EC)}
        store.save(_told(record, tuning), State({**state.tensors, **words}, state.data))
        yield report


def _told(record: TuningRecord, tuning: TrunkTuning) -> TuningRecord:
    history = [report.to_json() for report in tuning.history]
    return record.model_copy(update={"history": history, "best_epoch": tuning.best_epoch})
