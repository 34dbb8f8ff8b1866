"""What a guarded run serves was examined, or chosen by somebody by its number, whatever is done to it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from everlearn.errors import StateError
from everlearn.runtime.commands.learn import LearnOutcome, LearnRequest, learn_stream
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.fold.served_learner import open_learner
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.lineage import blame_example, list_versions
from everlearn.runtime.history.rollback import rollback_run
from everlearn.runtime.history.verify import verify_run
from everlearn.runtime.interruption import StopFlag
from everlearn.types import Example

WriteCodes = Callable[..., Path]
Clustered = Callable[..., list[Example]]
Settings = dict[str, Any]

GUARD: Settings = {"guard.enabled": True, "guard.every": 100, "guard.share": 0.2, "stream.batch_size": 50}
NO_READMISSION: Settings = {"guard.readmit": False}


def learn(stream: Path, run: Path, given_settings: Settings | None = None) -> LearnOutcome:
    return learn_stream(LearnRequest(stream=str(stream), out=run, settings=given_settings or {}))


def permuted(examples: list[Example]) -> list[Example]:
    targets = [one.target for one in examples]
    random.Random(1).shuffle(targets)
    return [one.with_target(target) for one, target in zip(examples, targets, strict=True)]


def served_fingerprint(run: Path) -> str:
    folder, learner = open_learner(run)
    folder.close()
    return learner.fingerprint()


def guarded(run: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings) -> Path:
    """A run of two versions, after which some of another stream was learned that no exam has seen."""
    learn(write_codes("first.parquet", clustered(200)), run, small | GUARD)
    assert [one.version for one in list_versions(run).versions] == [1, 2]
    return run


@pytest.mark.parametrize("back", [("1", "head"), ("head",), ("1",)])
def test_what_no_exam_has_seen_is_neither_served_nor_lost_from_the_next_interval(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings, back: tuple[str, ...]
) -> None:
    run = guarded(tmp_path / "run", write_codes, clustered, small)
    bad = write_codes("bad.parquet", permuted(clustered(100, start=200)))
    stop = StopFlag()
    stop.requested = True  # after a batch of 50: the candidate is to come
    learn_stream(LearnRequest(stream=str(bad), out=run, settings=NO_READMISSION), stop=stop)
    newest = list_versions(run).versions[-1]
    unexamined = [f"message-{number}" for number in range(200, 250)]
    learned = [one for one in unexamined if blame_example(run, one).is_held]
    assert len(learned) > 20
    for one in back:
        number = None if one == "head" else int(one)
        outcome = rollback_run(run, number, keep_learned=number is not None)
        assert outcome.version == (number or newest.version)
        assert (
            served_fingerprint(run)
            == outcome.fingerprint
            == list_versions(run).versions[(number or newest.version) - 1].fingerprint
        )
    learn(bad, run)
    decision = next(one for one in reversed(list_versions(run).decisions) if one.kind == "guard")
    assert decision.verdict == "rejected"
    assert decision.numbers["recent"]["examples"]
    assert not [one for one in learned if blame_example(run, one).is_held]
    assert list_versions(run).serving == (1 if back[-1] == "1" else newest.version)
    assert verify_run(run).is_valid


def test_what_was_served_before_there_was_a_guard_is_what_its_first_candidate_is_compared_with(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    run = tmp_path / "run"
    learn(write_codes("first.parquet", clustered(300)), run, small)
    learn(
        write_codes("bad.parquet", permuted(clustered(200, start=300))),
        run,
        {"guard.enabled": True, "guard.every": 200, **NO_READMISSION},
    )
    assert [one.verdict for one in list_versions(run).decisions] == ["rejected"]
    # What was learned without a guard is not judged by it.
    assert blame_example(run, "message-7").is_held
    rollback_run(run, None)
    assert served_fingerprint(run) == list_versions(run).versions[0].fingerprint


def test_targets_that_come_later_by_themselves_are_examined_too(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    run = guarded(tmp_path / "run", write_codes, clustered, small)
    late = [one.with_target("label0") for one in clustered(200)[:60]]
    learn(write_codes("late.parquet", late), run)
    versions = list_versions(run)
    assert versions.decisions[-1].step > versions.versions[1].step
    # Nothing is new the second time.
    learn(tmp_path / "late.parquet", run)
    assert list_versions(run).decisions == versions.decisions


def test_after_a_deletion_candidates_are_compared_with_what_is_served(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    run = guarded(tmp_path / "run", write_codes, clustered, small)
    forget_in_run(run, ids=["message-7", "message-150"])
    learn(write_codes("bad.parquet", permuted(clustered(100, start=200))), run, NO_READMISSION)
    decision = list_versions(run).decisions[-1]
    assert decision.verdict == "rejected"
    assert decision.numbers["recent"]["live_accuracy"] > 0.7
    assert list_versions(run).serving == 2


def test_a_version_that_lost_everything_is_not_compared_with(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    run = guarded(tmp_path / "run", write_codes, clustered, small)
    forget_in_run(run, ids=[one.id for one in clustered(200)])
    learn(write_codes("more.parquet", clustered(100, start=200)), run)
    assert "no version before it that holds anything" in list_versions(run).decisions[-1].reason
    assert list_versions(run).serving == 3


def test_where_the_state_of_what_is_served_is_gone_its_nearest_ancestor_is_served(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    run = guarded(tmp_path / "run", write_codes, clustered, small)
    rollback_run(run, 2, keep_learned=True)
    with RunFolder.open_to_write(run) as folder:
        first, second = folder.history.versions()
        folder.history.write_version(replace(second, status="retired", file=None, reason="it was lost"))
    notes: list[str] = []
    folder, learner = open_learner(run, on_note=notes.append)
    folder.close()
    assert learner.fingerprint() == first.fingerprint
    assert notes == ["Version 1 is served in place of version 2, whose state is gone: it was lost."]
    with RunFolder.open_to_write(run) as folder:
        folder.history.write_version(replace(first, status="retired", file=None, reason="it was lost"))
    with pytest.raises(StateError, match=r"serves version 2, whose state is gone \(it was lost\), as are"):
        open_learner(run)
    rollback_run(run, None)
    assert served_fingerprint(run)
