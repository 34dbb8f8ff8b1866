"""What a rejection set aside comes back batch by batch, after a crash too, but for what cannot be learned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.conftest import SMALL, clustered_examples, write_codes_file
from tests.runtime.test_guard import GUARD, held_ids, permuted
from tests.runtime.test_learn_stream import learn, rejected_of
from tests.runtime.text_runs import Crash

from everlearn.learning.closed_form import ClosedFormLearner
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.guard.guard import Guard
from everlearn.runtime.history.lineage import blame_example
from everlearn.runtime.history.verify import verify_run
from everlearn.types import Example

Settings = dict[str, Any]


def readmissions_of(run: Path) -> list[tuple[int, str, bool]]:
    """Steps that readmit, the ids, and whether an acceptance came before."""
    with RunFolder.open_to_read(run) as folder:
        verdicts = [(one.step, one.verdict) for one in folder.history.decisions() if one.kind == "guard"]
        rows = folder.journal.database.all(
            "SELECT c.step, e.id FROM changes c JOIN examples e ON e.offset = c.offset "
            "WHERE c.kind = 'readmitted' ORDER BY c.number"
        )
        return [
            (step, id_, [verdict for at, verdict in verdicts if at < step][-1] == "accepted")
            for step, id_ in rows
        ]


GUARDED: Settings = SMALL | GUARD | {"stream.batch_size": 20}


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bad interval, in which a label is right that comes for the first time: a later version knows it."""
    examples = clustered_examples(1_000)
    known = [one for one in examples if one.target != "label4"]
    middle = sum(one.target != "label4" for one in examples[:400])
    bad = {one.id: one for one in permuted(known, middle, middle + 160)}
    given = [*known[:middle], *examples[400:]]
    return write_codes_file(
        tmp_path_factory.mktemp("readmission") / "stream.parquet", [bad.get(one.id, one) for one in given]
    )


@pytest.fixture(scope="module")
def undisturbed(stream: Path) -> Path:
    learn(stream, stream.parent / "undisturbed", dict(GUARDED))
    return stream.parent / "undisturbed"


def test_what_comes_back_is_learned_batch_by_batch(undisturbed: Path) -> None:
    steps = [step for step, *_ in readmissions_of(undisturbed)]
    assert len(steps) > 40 > 2 * len(set(steps))
    assert max(steps.count(one) for one in set(steps)) == 20
    assert verify_run(undisturbed).is_valid


@pytest.mark.parametrize("accepted", [False, True])
def test_what_cannot_be_learned_again_is_left_out(
    tmp_path: Path, stream: Path, undisturbed: Path, accepted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = next(id_ for _, id_, was in readmissions_of(undisturbed) if was is accepted)
    run, times = tmp_path / "run", 0
    learn_all = ClosedFormLearner.learn

    def learn_once(self: ClosedFormLearner, batch: Sequence[Example]) -> Any:
        nonlocal times
        if bad in [one.id for one in batch]:
            times += 1
            if times > 1:
                raise ValueError("not a second time")
        return learn_all(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(ClosedFormLearner, "learn", learn_once)
        learn(stream, run, dict(GUARDED))
        told = [one for one in rejected_of(run) if "not a second time" in one["reason"]]
        assert [one["place"] for one in told] == [f"stream.parquet, id {bad!r}"]
    assert held_ids(run) == held_ids(undisturbed) - {bad}
    known = blame_example(run, bad)
    assert (known.role, known.is_held) == ("quarantined", False)
    assert verify_run(run).is_valid


@pytest.mark.parametrize("number", [1, 3])
def test_a_crash_before_it_comes_back_changes_nothing(
    tmp_path: Path, stream: Path, undisturbed: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, calls, readmissions = tmp_path / "run", 0, Guard.readmissions

    def crash(self: Guard) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            raise Crash
        return readmissions(self)

    with monkeypatch.context() as patch:
        patch.setattr(Guard, "readmissions", crash)
        with pytest.raises(Crash):
            learn(stream, run, dict(GUARDED))
    learn(stream, run, {})
    assert readmissions_of(run) == readmissions_of(undisturbed)
    assert held_ids(run) == held_ids(undisturbed)
    assert verify_run(run).is_valid
