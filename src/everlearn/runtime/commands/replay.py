"""``replay``: another learner folded over the same journal, and compared with what the run said then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from everlearn.errors import ConfigError, RunError
from everlearn.evaluation.prequential import PrequentialScores
from everlearn.journal.rows.counts import num_lacking_text
from everlearn.runtime.fold.fold import Fold, recorded_prediction, step_that_counts
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.folder.useful_settings import check_fits_sources, check_useful
from everlearn.runtime.listener import SILENT, Listener, Progress
from everlearn.runtime.outcomes import figures_of
from everlearn.runtime.threads import use_threads
from everlearn.settings import RunConfig
from everlearn.stream.open import open_source
from everlearn.tasks.reading import check_codes
from everlearn.types import Json

__all__ = ["ReplayOutcome", "replay_run"]

# What makes another learner, and what its figures are taken over. How many labels there may be is a limit for
# what comes in, and everything journaled is in.
_OF_A_REPLAY = ("seed", "model.", "learner.", "run.threads", "run.rolling_window")
_OF_WHAT_COMES_IN = ("learner.closed_form.max_classes", "learner.gradient.max_classes")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOutcome:
    """Two learners over the same steps.

    Attributes:
        num_examples: Examples with a target that both predicted before learning them.
        recorded: Scores of the predictions in the journal.
        replayed: Scores of the other learner.
        test_accuracy: Of the other learner on the held-out set; None without one.
        seconds: That it took to predict and learn.
        fingerprint: Of the other learner.
    """

    num_examples: int
    recorded: Mapping[str, Json]
    replayed: Mapping[str, Json]
    test_accuracy: float | None
    seconds: float
    fingerprint: str

    def to_json(self) -> dict[str, Json]:
        """As printed by ``replay --json``."""
        names = ("accuracy", "macro_f1", "log_loss", "calibration_error")
        return figures_of(self) | {
            "recorded": {name: self.recorded[name] for name in names},
            "replayed": {name: self.replayed[name] for name in names},
            "seconds": round(self.seconds, 3),
        }


def replay_run(
    run: Path, settings: Mapping[str, Any], *, test: str | None = None, listener: Listener = SILENT
) -> ReplayOutcome:
    """Fold another learner over a run's journal. The run stays as it is.

    Args:
        run: The run folder; it may be in use.
        settings: Dotted settings in place of the run's.
        test: A held-out set.
        listener: Is told what happens.

    Raises:
        ConfigError: A setting is wrong.
        RunError: Not a run folder, or the other learner needs texts that the journal does not keep.
        StateError: The journal is damaged.
    """
    with RunFolder.open_to_read(run) as folder:
        journal = folder.journal
        config = folder.config.with_settings(settings)
        task = folder.task
        task.check_replays(str(run))
        _check_useful(config, settings, test)
        config = config.with_settings({"learner.closed_form.max_classes": None})
        use_threads(config.run.threads)
        listener.stage("loading the model")
        learner = task.learner_like(config, folder.learner_record(), folder.origin())
        if learner.reads_text:
            missing = num_lacking_text(journal)
            if missing:
                raise RunError(
                    f"this learner needs texts, and {run} keeps none of {missing:,} examples; runs made with "
                    "--keep-text do"
                )
        fold = Fold(learner)
        recorded = PrequentialScores(config.run.rolling_window)
        replayed = PrequentialScores(config.run.rolling_window)
        listener.stage("folding the journal again")
        total, done = journal.num_examples(), 0
        for step in journal.steps_after(0):
            made = step_that_counts(journal, step)
            examples = [arrival.example for arrival in made.arrivals]
            predictions = fold.predict(examples) if examples else []
            if step.set_aside is None:  # the other learner has not seen what was set aside either
                targets = [example.target for example in examples]
                replayed.update(predictions, targets)
                recorded.update([recorded_prediction(arrival) for arrival in made.arrivals], targets)
            fold.make(made, predictions)
            done += len(examples)
            clock = fold.clock.seconds
            listener.progress(
                Progress(
                    examples=done,
                    total=total,
                    rolling_accuracy=replayed.summary()["rolling_accuracy"],
                    examples_per_second=done / max(clock["predict"] + clock["learn"], 1e-9),
                    num_classes=len(learner.labels),
                )
            )
        seconds = sum(fold.clock.seconds.values())
        tested = None
        if test is not None:
            listener.stage("testing on the held-out set")
            source = open_source(test, task.source_config(config.stream))
            check_fits_sources([source], settings)
            check_codes(source, folder.learner_record(), str(run))
            held_out = task.held_out(source, config)
            learner.solve()
            tested = held_out.test(learner).figures["test_accuracy"]
    if not replayed.num_examples:
        raise ConfigError(f"{run} holds no example with a target: there is nothing to compare")
    return ReplayOutcome(
        num_examples=replayed.num_examples,
        recorded=recorded.summary(),
        replayed=replayed.summary(),
        test_accuracy=tested,
        seconds=seconds,
        fingerprint=learner.fingerprint(),
    )


def _check_useful(config: RunConfig, settings: Mapping[str, Any], test: str | None) -> None:
    """Refuse settings that change nothing of a replay.

    Raises:
        ConfigError: Names the setting.
    """
    taken = _OF_A_REPLAY if test is None else (*_OF_A_REPLAY, "stream.")
    for path in sorted(settings):
        if path in _OF_WHAT_COMES_IN or not path.startswith(taken):
            raise ConfigError(f"{path} has no effect on a replay; leave it out")
    check_useful(config, settings)
