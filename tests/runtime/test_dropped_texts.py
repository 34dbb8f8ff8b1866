"""Runs of which texts were dropped: whatever is asked of them is done, or refused before anything changes."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.runtime.conftest import digest_of, status_of
from tests.runtime.text_runs import (
    Crash,
    crash_at_step,
    documents,
    language_settings,
    learn,
    translation_settings,
    write_jsonl,
    write_language_model,
    write_pairs,
    write_translator,
)
from tests.runtime.word_pairs import write_encoder, write_texts

from everlearn.errors import EverlearnError, RunError, StateError
from everlearn.journal.deletion.dropped_texts import TextRule, drop_texts
from everlearn.journal.digest import content_digest
from everlearn.journal.journal import Journal
from everlearn.journal.records import NO_TARGET, Arrival, NewStep
from everlearn.journal.repair.soundness import find_problem
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.fold.live_run import recovered_run
from everlearn.runtime.fold.served_learner import open_learner
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.journal_views import compact_run
from everlearn.runtime.history.lineage import blame_example, list_versions
from everlearn.runtime.history.review import flagged_examples, review_run
from everlearn.runtime.history.rollback import rollback_run
from everlearn.runtime.history.verify import verify_run
from everlearn.tasks.exam_rows import hash_share
from everlearn.types import Example

Record = dict[str, Any]
Settings = dict[str, Any]
OTHER = {"same": "different", "different": "same"}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("models") / "encoder")


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("models") / "tiny")


def settings_of(encoder: Path, **more: object) -> Settings:
    values: Settings = {
        "learner.kind": "gradient",
        "model.name": str(encoder),
        "run.threads": 1,
        "stream.batch_size": 8,
    }
    return values | {name.replace("__", "."): value for name, value in more.items()}


def texts(folder: Path, count: int, start: int = 0) -> list[Record]:
    path = write_texts(folder / "texts.jsonl", count, start=start)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def drop_first(run: Path, count: int) -> None:
    with RunFolder.open_to_write(run) as folder:
        assert drop_texts(folder.journal, count, TextRule()) == count


def fingerprint_of(run: Path) -> str:
    folder, learner = open_learner(run)
    folder.close()
    return learner.fingerprint()


def flagging(encoder: Path) -> Settings:
    """Whatever differs from the prediction is held back."""
    return settings_of(
        encoder,
        guard__enabled=True,
        guard__suspicious="hold",
        guard__every=1_000,
        guard__readmit=False,
        guard__confidence=0.05,
        stream__batch_size=4,
    )


@pytest.mark.parametrize("way", ["correction", "target", "readmitted", "delayed"])
def test_what_needs_a_dropped_text_to_be_learned_again_is_not_forgotten_exactly(
    tmp_path: Path, encoder: Path, way: str
) -> None:
    run, old, new = tmp_path / "run", texts(tmp_path, 16), texts(tmp_path, 16, start=100)
    come: list[Record] = []
    chosen = flagging(encoder) if way == "readmitted" else settings_of(encoder)
    if way == "correction":
        come = [old[3] | {"label": OTHER[old[3]["label"]]}]
    if way == "target":
        come, old[3] = [old[3]], old[3] | {"label": None}
    if way == "delayed":
        chosen["stream.delay"] = 8
        stream = write_jsonl(tmp_path / "1.jsonl", [*old, *new])
        assert learn(stream, run, chosen, batches=2).interrupted  # the second eight wait, with what is saved
        learn(stream, run)
    else:
        learn(write_jsonl(tmp_path / "1.jsonl", old), run, chosen)
        learn(write_jsonl(tmp_path / "2.jsonl", [*new[:1], *come, *new[1:]]), run)
    if way == "readmitted":
        held = [one.id for one in flagged_examples(run) if not one.is_learned]
        assert review_run(
            run, accept=[next(one for one in held if len(one) < len("message-100"))]
        ).num_learned
    drop_first(run, 16)
    before, fingerprint = digest_of(run), fingerprint_of(run)
    for dry_run in (True, False):
        with pytest.raises(RunError, match=r"must be learned again, but the texts of .* dropped"):
            forget_in_run(run, ids=["message-110"], dry_run=dry_run)
    assert (digest_of(run), fingerprint_of(run)) == (before, fingerprint)
    learn(write_jsonl(tmp_path / "3.jsonl", texts(tmp_path, 8, start=300)), run)
    assert forget_in_run(run, ids=["message-110"], approximate=True).num_forgotten == 1


def test_what_is_never_learned_again_needs_no_text(tmp_path: Path, encoder: Path) -> None:
    """Of what was set aside, what is held back, and what is to be forgotten."""
    run = tmp_path / "run"
    learn(write_jsonl(tmp_path / "1.jsonl", texts(tmp_path, 8)), run, settings_of(encoder))
    learn(write_jsonl(tmp_path / "2.jsonl", texts(tmp_path, 8, start=100)), run)
    rollback_run(run, 1)
    learn(write_jsonl(tmp_path / "3.jsonl", texts(tmp_path, 8, start=200)), run)
    with RunFolder.open_to_write(run) as folder:
        database = folder.journal.database
        database.execute("DELETE FROM texts WHERE offset IN (9, 10, 17)")
    outcome = forget_in_run(run, ids=["message-200"], dry_run=True)
    assert outcome.exact
    assert forget_in_run(run, ids=["message-200"]).exact
    assert verify_run(run).is_valid


def three_sittings(folder: Path, run: Path, encoder: Path, without: str = "") -> None:
    for number, start in enumerate((0, 100, 200)):
        records = [one for one in texts(folder, 16, start=start) if one["id"] != without]
        stream = write_jsonl(folder / f"{run.name}-{number}.jsonl", records)
        learn(stream, run, settings_of(encoder, stream__batch_size=16))


@pytest.mark.parametrize("case", ["dropped", "crash", "old"])
def test_after_a_forget_versions_can_be_gone_back_to_without_texts(
    tmp_path: Path, encoder: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, never = tmp_path / "run", tmp_path / "never"
    three_sittings(tmp_path, run, encoder)
    with monkeypatch.context() as patched:
        if case == "old":  # what versions had beside their states was not always kept
            patched.setattr("everlearn.runtime.deletion.deletion.kept_beside", lambda *_: {})
        forget_in_run(run, ids=["message-3"])
    compact_run(run, drop_text_after_days=0)
    if case == "crash":

        def crash(*_: object, **__: object) -> None:
            raise Crash

        with monkeypatch.context() as patched:
            patched.setattr(RunFolder, "save", crash)
            with pytest.raises(Crash):
                rollback_run(run, 2)
    else:
        rollback_run(run, 2)
    more = write_jsonl(tmp_path / "more.jsonl", texts(tmp_path, 8, start=300))
    found = learn(more, run).summary

    three_sittings(tmp_path, never, encoder, without="message-3")
    rollback_run(never, 2)
    expected = learn(more, never).summary
    assert found["fingerprint"] == expected["fingerprint"]
    # What was forgotten was taken and predicted all the same; an old version's figures are read again.
    forgotten = 0 if case == "old" else 1
    assert found["examples"] == expected["examples"] + forgotten
    assert found["learned"] == expected["learned"] + forgotten
    assert status_of(run).counts.forgotten == 1
    for version in (1, None):
        rollback_run(run, version)
    assert fingerprint_of(run) == list_versions(never).versions[0].fingerprint


def test_versions_beyond_a_rollback_do_not_come_back_with_an_interrupted_deletion(
    tmp_path: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    three_sittings(tmp_path, run, encoder)

    def crash(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr("everlearn.runtime.deletion.deletion.fold_versions_again", crash)
        with pytest.raises(Crash):
            forget_in_run(run, ids=["message-110"])
    first = rollback_run(run, 1).fingerprint
    found = list_versions(run)
    assert [found.status_of(one) == "can be served" for one in found.versions] == [True, False, False]
    assert fingerprint_of(run) == first
    assert verify_run(run).is_valid


def test_a_rollback_that_could_not_go_on_changes_nothing(
    tmp_path: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    three_sittings(tmp_path, run, encoder)
    before, fingerprint = digest_of(run), fingerprint_of(run)

    def fail(*_: object, **__: object) -> None:
        raise StateError("no model is there")

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "fresh_learner", fail)
        with pytest.raises(StateError, match="no model"):
            rollback_run(run, 2)
    assert (digest_of(run), fingerprint_of(run)) == (before, fingerprint)
    assert all(list_versions(run).status_of(one) == "can be served" for one in list_versions(run).versions)


def test_an_interval_is_refused_after_a_forget_although_texts_were_dropped(
    tmp_path: Path, language_model: Path
) -> None:
    chosen = language_settings(
        language_model,
        learner__gradient__trainable="all",
        learner__gradient__replay=0,
        guard__enabled=True,
        guard__share=0.3,
        guard__every=40,
        stream__batch_size=20,
    )
    run, generator = tmp_path / "run", random.Random(5)
    good = [{"id": f"good-{k}", "text": text} for k, text in enumerate(documents(80, sentences=2))]
    bad = [{"id": f"bad-{k}", "text": "".join(generator.choices("0123456789", k=60))} for k in range(40)]
    learn(write_jsonl(tmp_path / "1.jsonl", good), run, chosen)
    learned = next(one["id"] for one in good if blame_example(run, one["id"]).is_held)
    forget_in_run(run, ids=[learned])
    served = list_versions(run).versions[-1]
    with RunFolder.open_to_write(run) as folder:  # all that is learned, but not what exams need
        folder.journal.database.execute(
            "DELETE FROM texts WHERE offset IN (SELECT offset FROM examples WHERE role = 'learn')"
        )
    outcome = learn(write_jsonl(tmp_path / "2.jsonl", bad), run)
    decisions = [one.verdict for one in list_versions(run).decisions]
    assert decisions == ["accepted", "accepted", "rejected"]
    assert outcome.summary["fingerprint"] == served.fingerprint == fingerprint_of(run)
    assert outcome.summary["examples"] == 120


@pytest.mark.parametrize("way", ["accept", "readmit"])
def test_what_has_no_text_any_more_is_not_accepted(tmp_path: Path, encoder: Path, way: str) -> None:
    run = tmp_path / "run"
    learn(write_jsonl(tmp_path / "1.jsonl", texts(tmp_path, 40)), run, flagging(encoder))
    decision = 0
    if way == "readmit":
        with recovered_run(run) as opened:  # as a guard sets an interval aside
            history, last = opened.folder.history, opened.folder.journal.last_step
            decision = history.decide(
                step=last, first_step=3, kind="guard", verdict="rejected", reason="bad", numbers={}
            ).decision
            revision = history.revise("quarantine", 3, last, "bad", {"decision": decision})
            history.set_aside(3, last, revision)
        learn(write_jsonl(tmp_path / "2.jsonl", texts(tmp_path, 4, start=300)), run)
    compact_run(run, drop_text_after_days=0)
    held = [one.id for one in flagged_examples(run) if not one.is_learned]
    before, fingerprint = digest_of(run), fingerprint_of(run)
    what: dict[str, Any] = {"accept": held[:1]} if way == "accept" else {"readmit": decision}
    with pytest.raises(
        RunError, match=r"'message-\d+', whose text was dropped .* cannot be learned any more"
    ):
        review_run(run, **what)
    assert (digest_of(run), fingerprint_of(run)) == (before, fingerprint)
    assert review_run(run, reject=held[-1:]).num_left_out == 1


def guarded(task: str, models: dict[str, Path], folder: Path) -> tuple[list[Path], Settings]:
    """Two streams, the second of which begins well and ends in what no candidate should learn; settings."""
    more: Settings = {
        "guard__enabled": True,
        "guard__share": 0.4,
        "guard__every": 16,
        "guard__recent": 6,
        "guard__long_term": 6,
        "stream__batch_size": 8,
    }
    if task == "classify":
        found = [texts(folder, 48), texts(folder, 48, start=100)]
        return [write_jsonl(folder / f"{k}.jsonl", one) for k, one in enumerate(found)], settings_of(
            models["classify"], **more
        )
    if task == "seq2seq":
        pairs = write_pairs(folder / "pairs.jsonl", 48).read_text(encoding="utf-8").splitlines()
        streams = [
            write_jsonl(folder / f"{k}.jsonl", map(json.loads, part))
            for k, part in enumerate((pairs[:24], pairs[24:]))
        ]
        return streams, translation_settings(models["seq2seq"], **more)
    good = documents(60, sentences=2)
    generator = random.Random(5)
    bad = ["".join(generator.choices("0123456789", k=60)) for _ in range(40)]
    more |= {"guard__every": 20, "guard__recent": 12, "guard__long_term": 12, "stream__batch_size": 20}
    more |= {"learner__gradient__replay": 0, "learner__gradient__trainable": "all"}
    found = [
        [{"id": f"d{number}-{k}", "text": text} for k, text in enumerate(part)]
        for number, part in enumerate((good[:40], [*good[40:], *bad]))
    ]
    chosen = language_settings(models["lm"], **more)
    return [write_jsonl(folder / f"{k}.jsonl", one) for k, one in enumerate(found)], chosen


@pytest.fixture(scope="module")
def models(encoder: Path, language_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    translator = write_translator(tmp_path_factory.mktemp("models") / "translator")
    return {"classify": encoder, "lm": language_model, "seq2seq": translator}


def kept_texts(run: Path) -> dict[int, str]:
    """The roles of the examples whose texts are kept, by offset."""
    with RunFolder.open_to_read(run) as folder:
        return dict(
            folder.journal.database.rows(
                "SELECT e.offset, e.role FROM examples e JOIN texts t ON t.offset = e.offset"
            )
        )


@pytest.mark.parametrize("task", ["classify", "lm", "seq2seq"])
def test_a_guard_decides_the_same_where_no_texts_are_kept_but_those_of_its_exams(
    tmp_path: Path, models: dict[str, Path], task: str
) -> None:
    streams, chosen = guarded(task, models, tmp_path)
    runs = {
        "kept": chosen,
        "dropped": chosen | {"run.keep_text": False, "run.checkpoint_seconds": 0.0},
    }
    if task == "classify":
        runs["compacted"] = chosen
    found = {}
    for name, values in runs.items():
        run = tmp_path / name
        learn(streams[0], run, values)
        if name == "compacted":
            compact_run(run, drop_text_after_days=0)
        fingerprint = learn(streams[1], run).summary["fingerprint"]
        decisions = [(one.step, one.verdict, one.reason, one.numbers) for one in list_versions(run).decisions]
        found[name] = (fingerprint, decisions)
    assert len(found["kept"][1]) > 3
    assert task != "lm" or "rejected" in [one[1] for one in found["kept"][1]]
    assert found["dropped"] == found["kept"]
    assert found.get("compacted", found["kept"]) == found["kept"]
    run = tmp_path / "dropped"
    left = kept_texts(run)
    assert set(left.values()) == {"exam"}
    # Recent ones, long-term ones before the interval and with it; of documents four pieces.
    assert len(left) <= 3 * chosen["guard.recent"] * (4 if task == "lm" else 1)
    with RunFolder.open_to_read(run) as folder:
        one = folder.journal.examples.at(max(left))
        assert one is not None
    forget_in_run(run, ids=[one.id], approximate=True)
    assert max(left) not in kept_texts(run)
    learn(streams[0], run, {"guard.enabled": False})
    compact_run(run, drop_text_after_days=0)
    assert not kept_texts(run)


@pytest.mark.parametrize("task", ["classify", "lm"])
def test_a_candidate_that_nothing_could_be_asked_of_is_not_said_to_be_no_worse(
    tmp_path: Path, models: dict[str, Path], task: str
) -> None:
    """A run all of whose texts are gone goes on, with what comes from then on."""
    streams, chosen = guarded(task, models, tmp_path)
    run = tmp_path / "run"
    learn(streams[0], run, chosen)
    with RunFolder.open_to_write(run) as folder:
        folder.journal.database.execute("DELETE FROM texts")
    number = len(list_versions(run).decisions)
    few = [json.loads(line) for line in streams[1].read_text(encoding="utf-8").splitlines()]
    learned = [one for one in few if hash_share(one["id"], "exam") >= chosen["guard.share"]][:8]
    outcome = learn(write_jsonl(tmp_path / "few.jsonl", learned), run)
    reasons = [one.reason for one in list_versions(run).decisions[number:]]
    assert reasons == [
        "accepted unexamined: nothing is held back yet that it could be examined on",
    ]
    assert any("1 of them unexamined" in note for note in outcome.notes)
    learn(streams[1], run)
    reasons = [one.reason for one in list_versions(run).decisions[number + 1 :]]
    assert reasons[0].startswith(("not worse on the recent exam; nothing", "not worse on either", "recent"))


@settings(max_examples=12, deadline=None)
@given(
    st.integers(1, 12),
    st.lists(st.tuples(st.integers(0, 12), st.sets(st.integers(1, 12))), min_size=1, max_size=5),
    st.booleans(),
)
def test_what_is_to_be_kept_is_left_until_it_is_not(
    num_steps: int, drops: list[tuple[int, set[int]]], targets: bool
) -> None:
    with TemporaryDirectory() as folder, Journal.create(Path(folder) / "journal.sqlite") as journal:
        for step in range(num_steps):
            fresh = Example(
                id=f"m{step}", text=f"words {step}", target="said", fields={"text": f"words {step}"}
            )
            journal.append(NewStep(arrivals=[Arrival(fresh, "exam", None)]), keep_text=True)
        left = set(range(1, num_steps + 1))
        for last, keep in drops:
            last = min(last, num_steps)
            dropped = {one for one in left if one <= last and one not in keep}
            rule = TextRule(fields=frozenset({"text"}), targets=targets)
            assert drop_texts(journal, last, rule, keep) == len(dropped)
            left -= dropped
        for offset, one in journal.examples.arrivals(1, num_steps):
            is_left = offset in left
            assert (one.example.text is not None, "text" in one.example.fields) == (is_left, is_left)
            assert one.example.target == ("said" if is_left or not targets else NO_TARGET)
        assert find_problem(journal.database, whole=True) is None


class Story:
    """A run that anything may happen to; what is refused must leave it as it was."""

    def __init__(self, folder: Path, encoder: Path, *, guard: bool, delay: int) -> None:
        self.folder, self.run, self.known = folder, folder / "run", 0
        self.settings = flagging(encoder) | {"guard.every": 12, "guard.readmit": True, "stream.delay": delay}
        self.settings["guard.enabled"] = guard
        if not guard:
            self.settings = {k: v for k, v in self.settings.items() if not k.startswith("guard.")}

    def learn(self, number: int, *, dies: bool = False) -> None:
        """Eight new ones, one of them without a target; a correction, and a target that is late."""
        records = texts(self.folder, 8, start=8 * self.known)
        for record in records:
            record["label"] = record["label"] if number % 3 else OTHER[record["label"]]
        old = texts(self.folder, 8, start=8 * (number % self.known)) if self.known else []
        come = [one | {"label": OTHER[one["label"]]} for one in old[number % 8 : number % 8 + 2]]
        records[3] |= {"label": None}
        self.known += 1
        stream = write_jsonl(self.folder / f"{self.known}.jsonl", [*records[:5], *come, *records[5:]])
        if not dies:
            learn(stream, self.run, self.settings)
            return
        with RunFolder.open_to_read(self.run) as folder:
            step = folder.journal.last_step + 2
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("everlearn.runtime.fold.fold.Fold.make", crash_at_step(step))
            with suppress(Crash):
                learn(stream, self.run, self.settings)

    def happen(self, what: str, number: int) -> None:
        if what in ("learn", "crash"):
            self.learn(number, dies=what == "crash")
        elif what == "drop":
            compact_run(self.run, drop_text_after_days=0)
        elif what == "forget":
            forget_in_run(self.run, ids=[f"message-{number % (8 * self.known)}"])
        elif what == "accept":
            flagged = flagged_examples(self.run, limit=999)
            if flagged:
                review_run(self.run, accept=[flagged[number % len(flagged)].id])
        else:
            version = number % (len(list_versions(self.run).versions) + 1)
            rollback_run(self.run, version or None, keep_learned=what == "pin" and version > 0)

    def state(self) -> tuple[str, str]:
        """All that is journaled, and the fingerprint of its fold."""
        with recovered_run(self.run) as opened:
            return content_digest(opened.folder.journal), opened.learner.fingerprint()


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.booleans(),
    st.sampled_from([0, 6]),
    st.lists(
        st.tuples(
            st.sampled_from(["learn", "crash", "drop", "forget", "accept", "rollback", "pin"]),
            st.integers(0, 99),
        ),
        min_size=3,
        max_size=6,
    ),
)
@example(guard=False, delay=0, events=[("forget", 3), ("drop", 0), ("rollback", 1)])
def test_whatever_happens_is_done_or_refused_and_the_run_goes_on(
    encoder: Path, guard: bool, delay: int, events: list[tuple[str, int]]
) -> None:
    with TemporaryDirectory() as folder:
        story = Story(Path(folder), encoder, guard=guard, delay=delay)
        story.learn(1)
        story.learn(2)
        for what, number in events:
            before = story.state()
            try:
                story.happen(what, number)
            except EverlearnError:
                assert story.state() == before, (what, number)
        story.learn(4)
        story.state()
