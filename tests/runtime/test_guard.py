"""The guard: bad batches are refused and set aside, good ones become versions, and both are reproducible."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from everlearn.errors import ConfigError
from everlearn.evaluation.paired import compare_paired
from everlearn.journal.history_records import Decision
from everlearn.journal.records import After, Change, NewStep
from everlearn.journal.standing.held import held_examples
from everlearn.runtime.commands.learn import LearnOutcome, LearnRequest, learn_stream
from everlearn.runtime.fold.served_learner import open_learner
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.guard.guard import Guard
from everlearn.runtime.history.lineage import blame_example, diff_versions, list_versions
from everlearn.runtime.history.review import flagged_examples, review_run
from everlearn.runtime.history.rollback import rollback_run
from everlearn.runtime.history.verify import verify_run
from everlearn.tasks.classification.exams import LabelExams
from everlearn.tasks.exam_rows import hash_share
from everlearn.tasks.records import RunStatus
from everlearn.types import Example

Settings = dict[str, object]
WriteCodes = Callable[..., Path]
Clustered = Callable[..., list[Example]]

GUARD: Settings = {"guard.enabled": True, "guard.every": 200, "guard.share": 0.2, "stream.batch_size": 50}


def learn(stream: Path, out: Path, given_settings: Settings | None = None) -> LearnOutcome:
    return learn_stream(LearnRequest(stream=str(stream), out=out, settings=given_settings or {}))


def permuted(examples: Sequence[Example], first: int, last: int) -> list[Example]:
    """The examples with the targets of those from one to another permuted."""
    labels = [one.target for one in examples[first:last]]
    random.Random(1).shuffle(labels)
    return [
        one.with_target(labels[k - first]) if first <= k < last else one for k, one in enumerate(examples)
    ]


def decisions_of(run: Path) -> list[Decision]:
    with RunFolder.open_to_read(run) as folder:
        return [one for one in folder.history.decisions() if one.kind == "guard"]


def held_ids(run: Path) -> set[str]:
    with RunFolder.open_to_read(run) as folder:
        return {one.id for _, one in held_examples(folder.journal)}


@settings(max_examples=60, deadline=None)
@given(pairs=st.lists(st.tuples(st.booleans(), st.booleans()), max_size=80))
def test_mcnemar_is_the_exact_binomial_test(pairs: list[tuple[bool, bool]]) -> None:
    live = np.array([a for a, _ in pairs], dtype=np.bool_)
    candidate = np.array([b for _, b in pairs], dtype=np.bool_)
    found = compare_paired(live, candidate)
    lost, won = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    assert (found.lost, found.won) == (lost, won)
    expected = binomtest(lost, lost + won, alternative="greater").pvalue if lost else 1.0
    assert found.p_value == pytest.approx(expected)
    # What the tolerance forgives makes a candidate look no worse.
    assert compare_paired(live, candidate, tolerance=0.05).p_value >= found.p_value


def test_bootstrap_agrees_with_the_normal_limit() -> None:
    generator = np.random.default_rng(0)
    live = generator.random(2000) < 0.9
    candidate = np.where(generator.random(2000) < 0.02, ~live, live)
    found = compare_paired(live, candidate, test="bootstrap")
    drops = live.astype(float) - candidate
    from scipy.stats import norm

    limit = norm.cdf(-drops.mean() / (drops.std() / np.sqrt(len(drops))))
    assert found.p_value == pytest.approx(limit, abs=0.02)
    assert compare_paired(live[:0], live[:0], test="bootstrap").p_value == 1.0


def test_a_bad_interval_is_refused_and_the_rest_is_learned(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = clustered(1_000)
    poisoned = permuted(examples, 400, 600)
    run = tmp_path / "run"
    outcome = learn(write_codes("stream.parquet", poisoned), run, small | GUARD)
    assert [one.verdict for one in decisions_of(run)] == [
        "accepted",
        "accepted",
        "rejected",
        "accepted",  # what is left of the interval
        "accepted",
        "accepted",
    ]
    assert any("set aside" in note and "contradict" in note for note in outcome.notes)
    assert any("5 of 6 candidates became versions" in note for note in outcome.notes)
    exam = {one.id for one in examples if hash_share(one.id, "exam") < 0.2}
    assert 130 < len(exam) < 270
    held = held_ids(run)
    assert not held & exam
    good = {one.id for one in [*examples[:400], *examples[600:]]} - exam
    assert good <= held
    # Of the bad interval only what later versions agree with came back: its targets are right.
    back = held - good
    truth = {one.id: one.target for one in examples}
    wrong = [one for one in poisoned if one.id in back and one.target != truth[one.id]]
    assert len(wrong) <= len(back) // 10
    assert verify_run(run).is_valid
    versions = list_versions(run)
    assert versions.serving == versions.versions[-1].version
    assert [one.parent for one in versions.versions] == [None, 1, 2, 3, 4]
    # What is served is a fold of the accepted part; the same learned without the guard says the same.
    folder, learner = open_learner(run)
    with folder:
        assert learner.fingerprint() == versions.versions[-1].fingerprint


def test_a_fault_that_lasts_keeps_nothing_else_from_being_learned(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = clustered(1_600)
    poisoned = examples
    for start in range(400, 1_600, 200):  # half of every interval from the third on
        poisoned = permuted(poisoned, start, start + 100)
    run = tmp_path / "run"
    learn(write_codes("stream.parquet", poisoned), run, small | GUARD)
    found = decisions_of(run)
    rejected = [one for one in found if one.verdict == "rejected"]
    assert len(rejected) >= 5
    # After each of them, what the served version agrees with was examined by itself.
    assert all(found[one.decision].verdict == "accepted" for one in rejected)
    held = held_ids(run)
    wrong = {a.id for a, b in zip(poisoned, examples, strict=True) if a.target != b.target}
    good = {one.id for one in examples if hash_share(one.id, "exam") >= 0.2} - wrong
    assert len(held & good) > 0.9 * len(good)
    assert len(held & wrong) < 0.1 * len(wrong)
    with RunFolder.open_to_read(run) as folder:
        # What was readmitted is not lost again when a later interval is rejected.
        assert not folder.journal.database.all(
            "SELECT 1 FROM changes c JOIN steps s ON s.step = c.step "
            "WHERE c.kind = 'readmitted' AND s.set_aside IS NOT NULL"
        )
    assert list_versions(run).versions[-1].num_examples == len(held)
    assert verify_run(run).is_valid


def test_what_somebody_readmitted_stays_when_a_later_interval_is_rejected(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = permuted(permuted(clustered(1_000), 400, 600), 800, 1_000)
    run = tmp_path / "run"
    given_settings = small | GUARD | {"guard.readmit": False, "guard.confidence": 0.6}
    learn(write_codes("a.parquet", examples[:800]), run, given_settings)
    (rejected,) = (one for one in decisions_of(run) if one.verdict == "rejected")
    readmitted = review_run(run, readmit=rejected.decision).num_learned
    before = len(held_ids(run))
    learn(write_codes("b.parquet", examples[800:]), run, {})
    assert decisions_of(run)[-1].verdict == "rejected"
    assert readmitted > 100
    assert len(held_ids(run)) == before


def test_what_is_left_of_an_interval_can_be_rejected_too(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = clustered(800)
    run = tmp_path / "run"
    learn(write_codes("stream.parquet", permuted(examples, 400, 600)), run, small | GUARD)
    held = held_ids(run)
    with RunFolder.open_to_write(run) as folder:
        wrong = next(
            (offset, one.example)
            for offset, one in folder.journal.examples.arrivals(400, 600)
            if one.role == "learn" and one.example.id not in held
        )
        change = Change(wrong[0], "readmitted", None, str(wrong[1].target))
        step = folder.journal.append(NewStep(changes=[change], after=After(examine=True)), keep_text=False)
        worse = folder.fresh_learner()
        worse.learn(permuted(examples, 0, 800))
        worse.settle()
        verdict = Guard(folder, folder.config.guard).consider(worse, RunStatus)
        assert (verdict.is_accepted, verdict.readmits) == (False, False)
        assert folder.journal.step(step.step).set_aside is not None
    assert held_ids(run) == held
    assert verify_run(run).is_valid


def test_without_readmission_the_state_is_a_fold_without_the_interval(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = clustered(800)
    poisoned = permuted(examples, 400, 600)
    run = tmp_path / "run"
    learn(write_codes("stream.parquet", poisoned), run, small | GUARD | {"guard.readmit": False})
    kept = [one for k, one in enumerate(examples) if not 400 <= k < 600 and hash_share(one.id, "exam") >= 0.2]
    never = learn(write_codes("kept.parquet", kept), tmp_path / "never", small).summary
    assert list_versions(run).versions[-1].fingerprint == never["fingerprint"]
    # Somebody knows better: the interval was right after all.
    rejected = next(one for one in decisions_of(run) if one.verdict == "rejected")
    outcome = review_run(run, readmit=rejected.decision)
    assert outcome.num_learned == sum(hash_share(one.id, "exam") >= 0.2 for one in examples[400:600])
    everything = [one for one in poisoned if hash_share(one.id, "exam") >= 0.2]
    all_of_it = learn(write_codes("all.parquet", everything), tmp_path / "all", small).summary
    assert outcome.fingerprint == all_of_it["fingerprint"]
    assert verify_run(run).is_valid


def test_a_change_of_the_world_is_not_refused(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    swap = {"label0": "label1", "label1": "label0"}
    examples = [
        one.with_target(swap.get(str(one.target), str(one.target))) if k >= 600 else one
        for k, one in enumerate(clustered(1_400))
    ]
    run = tmp_path / "run"
    settings_given = small | GUARD | {"guard.every": 400, "guard.recent": 60, "guard.long_term": 60}
    learn(write_codes("stream.parquet", examples), run, settings_given)
    assert [one.verdict for one in decisions_of(run)][-1] == "accepted"


def test_clean_streams_are_not_refused(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    run = tmp_path / "run"
    learn(write_codes("stream.parquet", clustered(2_000)), run, small | GUARD | {"guard.every": 50})
    found = decisions_of(run)
    assert len(found) == 39  # nothing is known yet when the first batch has come
    assert [one.reason for one in found if one.verdict == "rejected"] == []


def test_exams_are_bounded_and_balanced(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    run = tmp_path / "run"
    learn(write_codes("stream.parquet", clustered(600)), run, small | GUARD)
    with RunFolder.open_to_read(run) as folder:
        exams = LabelExams(folder.journal, 30, 45)
        chosen_recent, chosen_long_term = exams.choose()
        (recent,), (long_term,) = (exams._examples(one, [0]) for one in (chosen_recent, chosen_long_term))
        everything = folder.journal.examples.arrivals(1, folder.journal.next_offset - 1)
        of_the_exam = [one.example.id for _, one in everything if one.role == "exam"]
        assert [one.id for one in recent] == of_the_exam[-30:]
        assert all(one.code is not None for one in recent)
    groups: dict[tuple[str | None, str | None], int] = {}
    for one in long_term:
        groups[one.target, one.domain] = groups.get((one.target, one.domain), 0) + 1
    assert len(long_term) == 45
    assert len(groups) == 15
    assert max(groups.values()) - min(groups.values()) <= 2


@pytest.mark.parametrize("policy", ["hold", "weigh", "flag", "off"])
def test_suspicious_examples_by_policy(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings, policy: str
) -> None:
    examples = clustered(600)
    odd = [
        one.with_target("label0" if one.target != "label0" else "label1") if k in (500, 540, 580) else one
        for k, one in enumerate(examples)
    ]
    run = tmp_path / "run"
    given_settings = (
        small | GUARD | {"guard.suspicious": policy, "guard.share": 0.01, "guard.confidence": 0.8}
    )
    learn(write_codes("stream.parquet", odd), run, given_settings)
    flagged = flagged_examples(run, limit=100)
    if policy == "off":
        assert not flagged
        return
    found = {one.id for one in flagged}
    assert {"message-500", "message-540", "message-580"} <= found
    assert len(found) < 40
    learned = [one.is_learned for one in flagged]
    if policy == "flag":
        assert all(learned)
        outcome = review_run(run, reject=["message-500", "message-540", "message-540"])
        assert (outcome.num_left_out, outcome.still_learned) == (0, ("message-500", "message-540"))
        assert blame_example(run, "message-500").is_held
        with pytest.raises(ConfigError, match="both accepted and rejected"):
            review_run(run, accept=["message-580"], reject=["message-580"])
    elif policy == "hold":
        assert not any(learned)
        outcome = review_run(run, accept=["message-500"], reject=["message-540"])
        assert (outcome.num_accepted, outcome.num_left_out, outcome.num_learned) == (1, 1, 1)
        assert outcome.still_learned == ()
        assert blame_example(run, "message-500").is_held
        assert not blame_example(run, "message-540").is_held
        assert {one.id for one in flagged_examples(run, limit=100)} == found - {"message-500", "message-540"}
    else:
        assert [one.is_learned for one in flagged] == [hash_share(one.id, "weight") < 0.25 for one in flagged]


def test_what_is_held_back_is_no_surprise(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = clustered(600)
    wrong = {f"message-{k}" for k in range(400, 600, 4)}
    noisy = [
        one.with_target("label0" if one.target != "label0" else "label1") if one.id in wrong else one
        for one in examples
    ]
    stream = write_codes("stream.parquet", noisy)
    given_settings = small | GUARD | {"guard.confidence": 0.6, "guard.readmit": False}
    learn(stream, tmp_path / "flag", given_settings | {"guard.suspicious": "flag"})
    assert [one.verdict for one in decisions_of(tmp_path / "flag")] == ["accepted", "accepted", "rejected"]
    run = tmp_path / "run"
    learn(stream, run, given_settings | {"guard.suspicious": "hold"})
    suspicious = {one.id for one in flagged_examples(run, limit=1_000)}
    exam = {one.id for one in examples if hash_share(one.id, "exam") < 0.2}
    assert len(wrong - exam - suspicious) < 5
    decisions = decisions_of(run)
    assert [one.verdict for one in decisions] == ["accepted"] * 3
    for number, one in enumerate(decisions[1:], start=1):
        interval = {f"message-{k}" for k in range(200 * number, 200 * (number + 1))}
        assert one.numbers["surprise"]["examples"] == len(interval - exam - suspicious)
    assert not held_ids(run) & suspicious


def test_history_tells_and_goes_back(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    run = tmp_path / "run"
    parts = [clustered(100, start=100 * k) for k in range(3)]
    fingerprints = [
        learn(write_codes(f"part{k}.parquet", part), run, small if not k else None).summary["fingerprint"]
        for k, part in enumerate(parts)
    ]
    assert [one.fingerprint for one in list_versions(run).versions] == fingerprints
    difference = diff_versions(run, 1, 3)
    assert sum(difference.learned.values()) == 200
    assert not difference.unlearned
    assert blame_example(run, "message-150").versions == [2, 3]
    back = rollback_run(run, 2, reason="bad data since noon")
    assert (back.num_examples, back.fingerprint) == (100, fingerprints[1])
    folder, learner = open_learner(run)
    folder.close()
    assert learner.fingerprint() == fingerprints[1]
    assert verify_run(run).is_valid
    assert not blame_example(run, "message-250").is_held
    assert blame_example(run, "message-250").versions == [3]
    # Learning goes on from there; the next version's parent is the one that was gone back to.
    more = clustered(50, start=900)
    on = learn(write_codes("more.parquet", more), run).summary
    plain = learn(write_codes("plain.parquet", [*parts[0], *parts[1], *more]), tmp_path / "plain", small)
    assert on["fingerprint"] == plain.summary["fingerprint"]
    assert list_versions(run).versions[-1].parent == 2
    # A version that holds what was set aside cannot be learned on from.
    from everlearn.errors import RunError

    with pytest.raises(RunError, match="version 3 holds steps that a later rollback"):
        rollback_run(run, 3)
    with pytest.raises(RunError, match="no version 17"):
        rollback_run(run, 17)


def test_serving_goes_back_while_learning_goes_on(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    run = tmp_path / "run"
    first = learn(write_codes("a.parquet", clustered(100)), run, small).summary["fingerprint"]
    learn(write_codes("b.parquet", clustered(100, start=100)), run)
    rollback_run(run, 1, keep_learned=True)
    outcome = learn(write_codes("c.parquet", clustered(100, start=200)), run)
    assert any("Version 1 is served: a rollback keeps it" in note for note in outcome.notes)
    folder, learner = open_learner(run)
    folder.close()
    assert learner.fingerprint() == first
    rollback_run(run, None)
    folder, learner = open_learner(run)
    folder.close()
    assert learner.fingerprint() == outcome.summary["fingerprint"]


def test_retired_versions_are_named(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    from everlearn.errors import RunError

    run = tmp_path / "run"
    for k in range(4):
        part = write_codes(f"p{k}.parquet", clustered(40, start=40 * k))
        learn(part, run, small | {"run.keep_versions": 2} if not k else None)
    assert [one.status for one in list_versions(run).versions] == ["retired", "retired", "kept", "kept"]
    with pytest.raises(RunError, match=r"version 1 is retired .* served are: 3, 4"):
        rollback_run(run, 1)
    assert len(list((run / "checkpoints").iterdir())) == 2
