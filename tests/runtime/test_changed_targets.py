"""Targets that come later than their example, or another one: in the same batch, twice, while it waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from everlearn.journal.fold_steps import fold_step
from everlearn.runtime.commands.learn import LearnRequest, learn_stream
from everlearn.runtime.fold.fold import Fold
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.verify import verify_run
from everlearn.types import Example

WriteCodes = Callable[..., Path]
Clustered = Callable[..., list[Example]]
Settings = dict[str, Any]

NONE, NEW, OTHER = None, "never seen before", "label1"


def _learned(stream: Path, run: Path, settings: Settings) -> tuple[str, int]:
    outcome = learn_stream(LearnRequest(stream=str(stream), out=run, settings=settings))
    found = verify_run(run)
    assert found.is_valid, found.failed
    return str(outcome.summary["fingerprint"]), int(str(outcome.summary["learned"]))


@pytest.mark.parametrize("delay", [0, 1, 40])
@pytest.mark.parametrize("gap", [1, 45, 100])
@pytest.mark.parametrize(
    "targets",
    [
        (NONE, OTHER),
        (NEW, OTHER),
        (NONE, NEW, OTHER),
        (OTHER, NEW, "label2"),
        ("label0", OTHER, "label0"),
        (NONE, NEW, OTHER, "label3"),
    ],
)
def test_the_last_target_counts_and_counts_once(
    tmp_path: Path,
    write_codes: WriteCodes,
    clustered: Clustered,
    small: Settings,
    targets: Sequence[str | None],
    gap: int,
    delay: int,
) -> None:
    # The changes come right after the example, or (within one batch all of them) some time later.
    examples = clustered(200)
    changed = examples[20]
    first, *later = [changed.with_target(target) for target in targets]
    stream = [*examples[:20], first, *examples[21 : 20 + gap], *later, *examples[20 + gap :]]
    plain = [*examples[:20], changed.with_target(targets[-1]), *examples[21:]]
    fingerprint, _ = _learned(
        write_codes("stream.parquet", stream), tmp_path / "run", small | {"stream.delay": delay}
    )
    expected, _ = _learned(write_codes("plain.parquet", plain), tmp_path / "plain", small)
    assert fingerprint == expected


@pytest.mark.parametrize("delay", [0, 70])
def test_steps_made_again_predict_what_they_predicted(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings, delay: int
) -> None:
    # Whole batches without a new example: nothing is predicted there, so nothing is solved either.
    examples = clustered(600)
    corrected = [one.with_target("label4") for one in examples[:90]]
    stream = [*examples[:150], *corrected, *examples[150:400], *examples[:70], *examples[400:]]
    path = write_codes("stream.parquet", stream)
    learn_stream(
        LearnRequest(stream=str(path), out=tmp_path / "run", settings=small | {"stream.delay": delay})
    )
    with RunFolder.open_to_read(tmp_path / "run") as folder:
        learner = folder.fresh_learner()
        fold, without_example = Fold(learner), 0
        for step in folder.journal.steps_after(0):
            arrivals = fold_step(folder.journal, step).arrivals
            without_example += not arrivals
            predictions = fold.predict([one.example for one in arrivals]) if arrivals else []
            for made, again in zip(arrivals, predictions, strict=True):
                assert made.prediction is not None
                assert made.prediction.label == again.label
                assert made.prediction.outlier_score == again.outlier_score
                if again.label is not None:
                    assert made.prediction.confidence == again.probability_of(again.label)
            fold.make_again(folder.journal, step.step - 1, step.step)
        assert without_example >= 4
