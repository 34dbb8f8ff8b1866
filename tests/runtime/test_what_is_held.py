"""Whatever happens to a run, it holds each example at most once, and just what its journal says."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everlearn.journal.fold_steps import fold_step
from everlearn.journal.records import Change, NewStep
from everlearn.journal.standing.held import held_examples
from everlearn.journal.standing.learnable import unlearned_since
from everlearn.runtime.commands.learn import LearnOutcome, LearnRequest, learn_stream
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.fold.live_run import recovered_run
from everlearn.runtime.fold.served_learner import open_learner
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.lineage import list_versions
from everlearn.runtime.history.review import flagged_examples, review_run
from everlearn.runtime.history.rollback import rollback_run
from everlearn.runtime.history.verify import verify_run
from everlearn.runtime.interruption import StopFlag
from everlearn.tasks.batch_result import BatchResult
from everlearn.types import Example

WriteCodes = Callable[..., Path]
Clustered = Callable[..., list[Example]]
Settings = dict[str, Any]

GUARD: Settings = {
    "guard.enabled": True,
    "guard.every": 40,
    "guard.share": 0.15,
    "guard.level": 0.2,
    "guard.confidence": 0.6,
    "stream.batch_size": 10,
}


class Crash(BaseException):
    """Stands for the end of a process in the middle of a step."""


def wrong(examples: Sequence[Example], chance: random.Random) -> list[Example]:
    """The examples with each other's targets."""
    targets = [one.target for one in examples]
    chance.shuffle(targets)
    return [one.with_target(target) for one, target in zip(examples, targets, strict=True)]


def folded_by_hand(run: Path) -> Counter[tuple[str, str]]:
    """What the steps of a journal that count have learned and taken out, read row by row."""
    database = sqlite3.connect(run / "journal.sqlite")
    try:
        examples = {
            offset: (id_, role, target)
            for offset, id_, role, target in database.execute("SELECT offset, id, role, target FROM examples")
        }
        changes = database.execute(
            "SELECT step, offset, kind, previous, target FROM changes ORDER BY number"
        ).fetchall()
        steps = database.execute("SELECT step, learned_first, learned_last, set_aside FROM steps").fetchall()
    finally:
        database.close()
    held: Counter[tuple[str, str]] = Counter()
    for step, first, last, set_aside in steps:
        if set_aside is not None:
            continue
        for offset in range(first or 1, (last or 0) + 1):
            id_, role, target = examples.get(offset, ("", "deleted", None))
            for at, changed, kind, _, later in changes:
                if (changed, kind) == (offset, "pending") and at <= step:
                    target = later
            if role == "learn" and target is not None:
                held[id_, target] += 1
        for changed in dict.fromkeys(one[1] for one in changes if one[0] == step and one[2] != "pending"):
            of_one = [one for one in changes if one[:2] == (step, changed) and one[2] != "pending"]
            id_ = examples[changed][0]
            if of_one[0][2] == "correction":
                assert held[id_, of_one[0][3]] == 1, "what is corrected must be held"
                del held[id_, of_one[0][3]]
            held[id_, of_one[-1][4]] += 1
    return held


def check(run: Path) -> None:
    """The run holds each example at most once, its state is the fold of just these, and it verifies."""
    by_hand = folded_by_hand(run)
    ids = Counter(id_ for id_, _ in by_hand.elements())
    assert not [id_ for id_, count in ids.items() if count > 1]
    with recovered_run(run) as opened:
        folder = opened.folder
        pairs = [one for _, one in held_examples(folder.journal)]
        assert Counter((one.id, str(one.target)) for one in pairs) == by_hand
        fresh = folder.fresh_learner()
        fresh.learn(pairs)
        assert opened.learner.fingerprint() == fresh.fingerprint()
        for offset, id_, role, target in folder.journal.database.all(
            "SELECT offset, id, role, target FROM examples"
        ):
            standing = folder.journal.standings.of(offset, role, target)
            assert (standing.is_held, standing.is_waiting).count(True) <= 1
            assert standing.is_held == (id_ in ids)
            waits = role == "learn" and offset > folder.journal.standings.last_learned_in_turn
            assert standing.is_waiting == waits
    found = verify_run(run)
    assert found.is_valid, found.failed


def check_served(run: Path) -> None:
    """What is served is a version, with the very state that it was accepted with but for deletions."""
    found = list_versions(run)
    (served,) = (one for one in found.versions if one.version == found.serving)
    folder, learner = open_learner(run)
    with folder:
        held = [one for _, one in held_examples(folder.journal, served.step, revision=served.revision)]
        fresh = folder.fresh_learner()
    assert not folder.notes
    fresh.learn(held)
    assert learner.fingerprint() == served.fingerprint == fresh.fingerprint()


class History:
    """A run, and what is done to it.

    Args:
        folder: For streams and the run.
        write_codes: Writes a stream.
        examples: To be learned, in order.
        given_settings: Of every sitting.
        seed: Of what is chosen.
    """

    def __init__(
        self,
        folder: Path,
        write_codes: WriteCodes,
        examples: Sequence[Example],
        given_settings: Settings,
        seed: int,
    ) -> None:
        self.run = folder / "run"
        self._folder = folder
        self._write = write_codes
        self._coming = list(examples)
        self._settings = given_settings
        self._chance = random.Random(seed)
        self._known: list[Example] = []
        self._streams = 0
        self._open: tuple[Path, bool] | None = None

    def learn(self, *, count: int, is_wrong: bool, ending: str) -> None:
        """A stream of new examples, some without target, with corrections and late targets among them."""
        if self._open is None or self._chance.random() < 0.3:
            fresh, self._coming = self._coming[:count], self._coming[count:]
            sent = wrong(fresh, self._chance) if is_wrong else list(fresh)
            bare = {one.id for one in self._chance.sample(fresh, len(fresh) // 8)}
            records = [one.with_target(None) if one.id in bare else one for one in sent]
            known = [*self._known, *fresh]
            for one in self._chance.sample(known, len(known) // 6):
                at = self._chance.randrange(len(records) // 2, len(records) + 1)
                target = one.target if self._chance.random() < 0.7 else self._chance.choice(known).target
                records.insert(at, one.with_target(target))
            self._known = known
            self._streams += 1
            # A codes file under a name of its own is a stream of its own.
            self._open = (self._write(f"stream{self._streams}.parquet", records), False)
        path, _ = self._open
        stop, left = StopFlag(), self._chance.randrange(2, 9)

        def watch(_: BatchResult) -> None:
            nonlocal left
            left -= 1
            if left == 0 and ending == "stop":
                stop.requested = True
            if left == 0 and ending == "crash":
                raise Crash

        request = LearnRequest(stream=str(path), out=self.run, settings=self._settings)
        try:
            outcome = learn_stream(request, stop=stop, observers=[watch])
        except Crash:
            return
        if not outcome.interrupted:
            self._open = None

    def forget(self) -> None:
        """A few examples, whatever they are: they leave no copy."""
        with RunFolder.open_to_read(self.run) as folder:
            ids = [row[0] for row in folder.journal.database.rows("SELECT id FROM examples ORDER BY offset")]
        gone = set(self._chance.sample(ids, min(len(ids), 4)))
        outcome = forget_in_run(self.run, ids=sorted(gone))
        assert outcome.num_forgotten == len(gone)
        self._known = [one for one in self._known if one.id not in gone]
        assert not {id_ for id_, _ in folded_by_hand(self.run)} & gone

    def review(self) -> None:
        """Somebody accepts what is flagged, and overrules a decision."""
        flagged = [one.id for one in flagged_examples(self.run)]
        if flagged:
            review_run(self.run, accept=self._chance.sample(flagged, min(len(flagged), 3)))
        rejected = [one for one in list_versions(self.run).decisions if one.verdict == "rejected"]
        if rejected:
            review_run(self.run, readmit=self._chance.choice(rejected).decision)

    def roll_back(self) -> None:
        """To a version that can be served, or to the head."""
        found = list_versions(self.run)
        usable = [one.version for one in found.versions if found.status_of(one) == "can be served"]
        if usable and self._chance.random() < 0.7:
            rollback_run(self.run, self._chance.choice(usable), keep_learned=self._chance.random() < 0.5)
        elif usable:
            rollback_run(self.run, None)

    def close(self) -> None:
        """Learn what is left of an open stream."""
        if self._open is not None:
            learn_stream(LearnRequest(stream=str(self._open[0]), out=self.run, settings=self._settings))


_DOINGS = st.lists(
    st.one_of(
        st.tuples(st.just("learn"), st.booleans(), st.sampled_from(["end", "stop", "stop", "crash"])),
        st.sampled_from([("forget",), ("review",), ("roll back",)]),
    ),
    min_size=3,
    max_size=7,
)


@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    doings=_DOINGS,
    seed=st.integers(0, 1_000),
    delay=st.sampled_from([0, 7, 25]),
    readmit=st.sampled_from([True, True, False]),
    suspicious=st.sampled_from(["flag", "hold", "weigh"]),
    is_guarded=st.sampled_from([True, True, True, False]),
)
def test_everything_is_held_once(
    tmp_path_factory: pytest.TempPathFactory,
    write_codes: WriteCodes,
    clustered: Clustered,
    small: Settings,
    doings: list[tuple[Any, ...]],
    seed: int,
    delay: int,
    readmit: bool,
    suspicious: str,
    is_guarded: bool,
) -> None:
    folder = tmp_path_factory.mktemp("held")
    guard = GUARD | {"guard.readmit": readmit, "guard.suspicious": suspicious} if is_guarded else {}
    given_settings = small | {"stream.batch_size": 10, "stream.delay": delay} | guard
    history = History(folder, write_codes, clustered(1_200, seed=seed), given_settings, seed)
    history.learn(count=100, is_wrong=False, ending="end")
    for what, *how in doings:
        if what == "learn":
            history.learn(count=60, is_wrong=how[0], ending=how[1])
        elif what == "forget":
            history.forget()
        elif what == "review":
            history.review()
        else:
            history.roll_back()
        assert max(Counter(id_ for id_, _ in folded_by_hand(history.run).elements()).values()) == 1
    check(history.run)  # with what waits still
    history.close()
    check(history.run)
    if is_guarded:
        check_served(history.run)
    with RunFolder.open_to_read(history.run) as opened:
        assert not unlearned_since(opened.journal, opened.journal.standings.last_learned_in_turn + 1)


def learn(stream: Path, run: Path, given_settings: Settings) -> LearnOutcome:
    return learn_stream(LearnRequest(stream=str(stream), out=run, settings=given_settings))


def interrupted(stream: Path, run: Path, given_settings: Settings, *, after: int) -> None:
    """Learn a stream as far as ``after`` batches; what waits goes on waiting."""
    stop, left = StopFlag(), after

    def watch(_: BatchResult) -> None:
        nonlocal left
        left -= 1
        stop.requested = left <= 0

    learn_stream(
        LearnRequest(stream=str(stream), out=run, settings=given_settings), stop=stop, observers=[watch]
    )


def test_what_waits_when_its_interval_is_rejected_is_learned_once(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = clustered(700)
    stream = [*examples[:300], *wrong(examples[300:400], random.Random(1)), *examples[400:]]
    run = tmp_path / "run"
    given_settings = small | GUARD | {"guard.every": 50, "stream.delay": 30}
    learn(write_codes("stream.parquet", stream), run, given_settings)
    decisions = list_versions(run).decisions
    assert "rejected" in {one.verdict for one in decisions}
    with RunFolder.open_to_read(run) as folder:
        readmitted = folder.journal.database.one("SELECT COUNT(*) FROM changes WHERE kind = 'readmitted'")[0]
        held = Counter(one.id for _, one in held_examples(folder.journal))
    assert readmitted
    assert max(held.values()) == 1
    found = verify_run(run)
    assert found.is_valid, found.failed
    assert "every example is held at most once" in found.passed
    gone = [f"message-{number}" for number in range(250, 450)]
    forget_in_run(run, ids=gone)
    rest = learn(
        write_codes("rest.parquet", [one for one in stream if one.id in held.keys() - set(gone)]),
        tmp_path / "rest",
        small,
    )
    with recovered_run(run) as opened:
        assert opened.learner.fingerprint() == rest.summary["fingerprint"]


def test_what_came_with_an_accepted_interval_and_was_learned_in_a_rejected_one_comes_back(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = clustered(500)
    stream = [*examples[:200], *wrong(examples[200:320], random.Random(1)), *examples[320:]]
    run = tmp_path / "run"
    given_settings = small | GUARD | {"guard.every": 100, "stream.delay": 40, "guard.suspicious": "off"}
    learn(write_codes("stream.parquet", stream), run, given_settings | {"guard.readmit": False})
    rejected = [one for one in list_versions(run).decisions if one.verdict == "rejected"]
    assert rejected
    for one in rejected:
        review_run(run, readmit=one.decision)
    with RunFolder.open_to_read(run) as folder:
        to_learn = folder.journal.database.all("SELECT id FROM examples WHERE role = 'learn'")
        held = {one.id for _, one in held_examples(folder.journal)}
    assert held == {row[0] for row in to_learn}
    assert verify_run(run).is_valid


def test_nobody_readmits_what_waits_for_its_turn(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = clustered(400)
    odd = [one.with_target("label0") if k in range(180, 200) else one for k, one in enumerate(examples)]
    run = tmp_path / "run"
    given_settings = small | GUARD | {"guard.every": 10_000, "stream.delay": 60, "guard.share": 0.01}
    stream = write_codes("stream.parquet", odd)
    interrupted(stream, run, given_settings, after=20)
    waiting = [one.id for one in flagged_examples(run) if not one.is_learned]
    assert waiting
    assert review_run(run, accept=waiting).num_learned == 0
    learn(stream, run, {})
    check(run)


def test_a_correction_that_was_set_aside_is_overruled_too(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = clustered(320)
    late = examples[7].with_target("label9")
    stream = [*examples[:160], *wrong(examples[160:230], random.Random(1)), late, *examples[230:]]
    stream[3] = examples[3].with_target(None)
    stream.insert(200, examples[3])
    run = tmp_path / "run"
    given_settings = small | GUARD | {"guard.every": 80, "guard.readmit": False, "guard.share": 0.1}
    learn(write_codes("stream.parquet", stream), run, given_settings)
    with RunFolder.open_to_read(run) as folder:
        before = {one.id: one.target for _, one in held_examples(folder.journal)}
    (rejected,) = (one for one in list_versions(run).decisions if one.verdict == "rejected")
    assert (before["message-7"], before.get("message-3")) == (examples[7].target, None)
    review_run(run, readmit=rejected.decision)
    with RunFolder.open_to_read(run) as folder:
        after = {one.id: one.target for _, one in held_examples(folder.journal)}
    assert (after["message-7"], after["message-3"]) == ("label9", examples[3].target)
    check(run)


def test_a_journal_that_learned_something_twice_is_told_and_mended(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = clustered(60)
    run = tmp_path / "run"
    learn(write_codes("stream.parquet", examples), run, small)
    with recovered_run(run) as opened:
        # As a run of an earlier everlearn may hold it.
        journal = opened.folder.journal
        change = Change(5, "readmitted", None, str(examples[4].target))
        step = journal.append(NewStep(changes=[change]), keep_text=False)
        opened.learner.learn(fold_step(journal, step).learned)
        opened.folder.save(opened.learner.state(), opened.status(opened.learner))
    (told,) = verify_run(run).failed
    assert "1 examples were learned more than once" in told
    assert "'message-4'" in told
    rest = [one for one in examples if one.id != "message-4"]
    never = learn(write_codes("rest.parquet", rest), tmp_path / "never", small)
    assert forget_in_run(run, ids=["message-4"]).fingerprint_after == never.summary["fingerprint"]
    assert verify_run(run).is_valid
