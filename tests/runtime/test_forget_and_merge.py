from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from everlearn.errors import ConfigError, RunError
from everlearn.journal.records import KeptRejection
from everlearn.journal.standing.held import held_examples
from everlearn.runtime.commands.evaluate import evaluate_run
from everlearn.runtime.commands.learn import LearnRequest, learn_stream
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.fold.served_learner import open_learner
from everlearn.runtime.folder.rebuild_report import rebuild_report
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.lineage import list_versions
from everlearn.runtime.history.merge import merge_runs
from everlearn.runtime.history.rollback import rollback_run
from everlearn.runtime.history.verify import verify_run
from everlearn.runtime.interruption import StopFlag
from everlearn.types import Example

Settings = dict[str, object]
WriteCodes = Callable[..., Path]
Clustered = Callable[..., list[Example]]


def learn(stream: Path, out: Path, settings: Settings) -> str:
    outcome = learn_stream(LearnRequest(stream=str(stream), out=out, settings=settings))
    return str(outcome.summary["fingerprint"])


def rejected_as_deleted(run: Path) -> list[KeptRejection]:
    with RunFolder.open_to_read(run) as folder:
        return [one for one in folder.journal.rejections.all() if "deleted on" in one.reason]


def hashes_of(run: Path, ids: Iterable[str]) -> set[str]:
    with RunFolder.open_to_read(run) as folder:
        return {folder.journal.deleted_ids.digest_of(one).hex() for one in ids}


@pytest.mark.parametrize("sample_size", [16, 1024])
def test_forgetting_equals_never_having_seen(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings, sample_size: int
) -> None:
    settings = small | {"learner.closed_form.sample_size": sample_size}
    examples = clustered(200)
    chosen = {example.id for example in random.Random(3).sample(examples, 70)}
    before = learn(write_codes("all.parquet", examples), tmp_path / "run", settings)
    never = learn(
        write_codes("rest.parquet", [one for one in examples if one.id not in chosen]),
        tmp_path / "never",
        settings,
    )
    outcome = forget_in_run(tmp_path / "run", ids=sorted(chosen))
    assert outcome.num_forgotten == 70
    assert outcome.exact
    assert outcome.unknown_ids == ()
    assert (outcome.fingerprint_before, outcome.fingerprint_after) == (before, never)
    # What was deleted stays deleted, also when it comes again.
    again = write_codes("again.parquet", examples)
    outcome_again = learn_stream(LearnRequest(stream=str(again), out=tmp_path / "run"))
    assert outcome_again.summary["fingerprint"] == never
    assert outcome_again.summary["rejected"] == 200
    assert {one.id for one in rejected_as_deleted(tmp_path / "run")} == hashes_of(tmp_path / "run", chosen)


def test_nothing_of_a_forgotten_example_stays_in_the_folder(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = clustered(60)
    stream = write_codes("stream.parquet", [*examples, examples[7]])
    learn(stream, tmp_path / "run", small | {"run.keep_text": True})
    forget_in_run(tmp_path / "run", where=[("id", "message-7")])
    with RunFolder.open_to_read(tmp_path / "run") as folder:
        kept = [one for _, one in held_examples(folder.journal)]
    assert "message-7" not in {one.id for one in kept}
    assert "text 8" in {one.text for one in kept}
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file() and path.suffix != ".parquet":
            data = path.read_bytes()
            # "message-7" begins no other id here.
            assert b"message-7" not in data, path
            assert b"text 7" not in data, path


def test_forgetting_by_fields(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = clustered(100)
    learn(write_codes("stream.parquet", examples), tmp_path / "run", small)
    outcome = forget_in_run(tmp_path / "run", where=[("customer", "c3"), ("urgent", "true")])
    expected = [one for one in examples if one.fields["customer"] == "c3" and one.fields["urgent"]]
    assert outcome.num_forgotten == len(expected) > 0
    gone = forget_in_run(tmp_path / "run", where=[("label", "label2")])
    assert gone.removed_labels == ("label2",)
    nothing = forget_in_run(tmp_path / "run", where=[("customer", "nobody")])
    assert nothing.num_forgotten == 0
    assert nothing.fingerprint_before == nothing.fingerprint_after


def test_unknown_ids_are_told_and_the_others_forgotten(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    learn(write_codes("stream.parquet", clustered(40)), tmp_path / "run", small)
    outcome = forget_in_run(tmp_path / "run", ids=["message-1", "nobody", "message-1"])
    assert outcome.num_forgotten == 1
    assert outcome.unknown_ids == ("nobody",)
    assert forget_in_run(tmp_path / "run", ids=["message-1"]).unknown_ids == ("message-1",)
    with pytest.raises(ConfigError, match="say what to forget"):
        forget_in_run(tmp_path / "run")


def test_examples_that_wait_for_their_target_are_forgotten_too(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = clustered(96)
    stream = write_codes("stream.parquet", examples)
    stop = StopFlag()
    stop.requested = True
    request = LearnRequest(stream=str(stream), out=tmp_path / "run", settings=small | {"stream.delay": 40})
    assert learn_stream(request, stop=stop).summary["learned"] == 0
    outcome = forget_in_run(tmp_path / "run", ids=["message-5"])
    assert outcome.num_forgotten == 1
    assert outcome.unknown_ids == ()
    rest = write_codes("rest.parquet", [one for one in examples if one.id != "message-5"])
    assert learn(stream, tmp_path / "run", {}) == learn(rest, tmp_path / "never", small)


def test_merged_runs_equal_one_run(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = clustered(240)
    whole = learn(write_codes("all.parquet", examples), tmp_path / "whole", small)
    runs = []
    for part in range(4):
        runs.append(tmp_path / f"run{part}")
        learn(write_codes(f"part{part}.parquet", examples[part::4]), runs[-1], small)
    outcome = merge_runs(runs, tmp_path / "merged")
    assert outcome["fingerprint"] == whole
    assert outcome["examples"] == 240
    test = str(write_codes("test.parquet", clustered(50, start=1000)))
    merged, single = (evaluate_run(tmp_path / name, [test]) for name in ("merged", "whole"))
    assert merged["accuracy"] == single["accuracy"]
    assert merged["log_loss"] == pytest.approx(single["log_loss"])
    # The merged run can be gone on with, and forgets exactly.
    more = clustered(20, start=500)
    on_top = learn(write_codes("more.parquet", more), tmp_path / "merged", {})
    assert on_top == learn(write_codes("both.parquet", examples + more), tmp_path / "both", small)
    outcome_after = forget_in_run(tmp_path / "merged", ids=[one.id for one in more])
    assert outcome_after.fingerprint_after == whole


def test_a_merged_run_refuses_what_was_deleted_from_its_parts(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    learn(write_codes("a.parquet", clustered(40)), tmp_path / "a", small)
    learn(write_codes("b.parquet", clustered(40, start=40)), tmp_path / "b", small)
    forget_in_run(tmp_path / "a", ids=["message-3"])
    forget_in_run(tmp_path / "b", ids=["message-43"])
    merged = merge_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "merged")
    assert merged["forgotten"] == 2
    everything = [*clustered(40), *clustered(40, start=40), *clustered(20, start=900)]
    again = write_codes("again.parquet", everything)
    outcome = learn_stream(LearnRequest(stream=str(again), out=tmp_path / "merged"))
    assert outcome.summary["learned"] == 80 + 20
    refusals = rejected_as_deleted(tmp_path / "merged")
    assert {one.id for one in refusals} == hashes_of(tmp_path / "merged", ["message-3", "message-43"])


def test_what_one_run_deleted_for_a_clash_of_ids_the_other_run_keeps(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    learn(write_codes("a.parquet", clustered(41)), tmp_path / "a", small)
    learn(write_codes("b.parquet", clustered(40, start=40)), tmp_path / "b", small)
    with pytest.raises(RunError, match="message-40"):
        merge_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "merged")
    forget_in_run(tmp_path / "a", ids=["message-40", "message-3"])
    merge_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "merged")
    kept, gone = clustered(1, start=40)[0], clustered(4)[3]
    corrected = kept.with_target("label0" if kept.target != "label0" else "label1")
    path = write_codes("corrected.parquet", [corrected, gone])
    outcome = learn_stream(LearnRequest(stream=str(path), out=tmp_path / "merged"))
    assert any("1 target came" in note for note in outcome.notes)
    refusals = rejected_as_deleted(tmp_path / "merged")
    assert {one.id for one in refusals} == hashes_of(tmp_path / "merged", ["message-3"])


def test_versions_are_rewritten_without_what_was_deleted(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    first, second = clustered(100), clustered(100, start=100)
    before = learn(write_codes("first.parquet", first), tmp_path / "run", small)
    learn(write_codes("second.parquet", second), tmp_path / "run", {})
    forget_in_run(tmp_path / "run", ids=["message-7", "message-150"])
    never = learn(
        write_codes("never.parquet", [one for one in first if one.id != "message-7"]),
        tmp_path / "never",
        small,
    )
    with RunFolder.open_to_read(tmp_path / "run") as folder:
        versions = folder.history.versions()
        assert [one.status for one in versions] == ["kept", "kept"]
        assert versions[0].fingerprint == never != before
        assert versions[0].file is not None
        checkpoint = folder.checkpoints.load(versions[0].file)
        learner = folder.fresh_learner()
        learner.restore(checkpoint.learner)
        assert learner.fingerprint() == never


def test_a_version_whose_state_is_damaged_is_folded_again(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    first = clustered(60)
    learn(write_codes("first.parquet", first), tmp_path / "run", small)
    learn(write_codes("second.parquet", clustered(60, start=60)), tmp_path / "run", {})
    rest = [one for one in first if one.id != "message-7"]
    never = learn(write_codes("never.parquet", rest), tmp_path / "never", small)
    for _ in range(2):  # by a deletion, by a rollback
        oldest = min((tmp_path / "run" / "checkpoints").iterdir())
        oldest.write_bytes(b"damaged")
        forget_in_run(tmp_path / "run", ids=["message-7"])
        assert rollback_run(tmp_path / "run", 1, keep_learned=True).fingerprint == never
        folder, learner = open_learner(tmp_path / "run")
        folder.close()
        assert learner.fingerprint() == never


def test_a_deletion_brings_no_version_back_that_was_set_aside(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    run = tmp_path / "run"
    for k in range(3):
        part = clustered(40, start=40 * k)
        learn(write_codes(f"part{k}.parquet", part), run, {} if k else small)
    rollback_run(run, 1)
    with_it = list_versions(run).versions[2].fingerprint
    forget_in_run(run, ids=["message-100", "message-7"])
    found = list_versions(run)
    assert [found.status_of(one) for one in found.versions] == ["can be served", "set aside", "set aside"]
    assert found.versions[2].fingerprint != with_it
    # What it holds is known still: a second deletion takes out what it holds, and only that.
    forget_in_run(run, ids=["message-101"])
    rest = [one for one in clustered(40) if one.id != "message-7"]
    for k in (1, 2):
        gone = {"message-100", "message-101"}
        rest += [one for one in clustered(40, start=40 * k) if one.id not in gone]
    never = learn(write_codes("rest.parquet", rest), tmp_path / "never", small)
    assert list_versions(run).versions[2].fingerprint == never


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_within_a_deletion_loses_no_version(
    tmp_path: Path,
    write_codes: WriteCodes,
    clustered: Clustered,
    small: Settings,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    run = tmp_path / "run"
    first = clustered(60)
    learn(write_codes("first.parquet", first), run, small)
    learn(write_codes("second.parquet", clustered(60, start=60)), run, {})
    rollback_run(run, 1, keep_learned=True)
    before = list_versions(run).versions

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if moment == "before":
            patched.setattr("everlearn.runtime.deletion.deletion.delete_examples", crash)
        else:
            patched.setattr(RunFolder, "prune", crash)
        with pytest.raises(KeyboardInterrupt):
            forget_in_run(run, ids=["message-7"])
    folder, learner = open_learner(run)  # before anybody has put it right
    folder.close()
    rest = [one for one in first if one.id != "message-7"]
    never = learn(write_codes("never.parquet", rest), tmp_path / "never", small)
    assert learner.fingerprint() == (before[0].fingerprint if moment == "before" else never)
    forget_in_run(run, ids=["message-7"])
    learn(write_codes("third.parquet", clustered(60, start=120)), run, {})
    assert [one.status for one in list_versions(run).versions] == ["kept", "kept", "kept"]
    assert list_versions(run).versions[0].fingerprint == never
    assert verify_run(run).is_valid
    files = {one.name for one in (run / "checkpoints").iterdir()}
    with RunFolder.open_to_read(run) as opened:
        assert files == {one.file for one in opened.history.checkpoints()}


def test_runs_that_do_not_fit_are_not_merged(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    learn(write_codes("a.parquet", clustered(40)), tmp_path / "a", small)
    learn(write_codes("b.parquet", clustered(40, start=40)), tmp_path / "b", small | {"seed": 5})
    learn(write_codes("c.parquet", clustered(40, start=30)), tmp_path / "c", small)
    learn(write_codes("d.parquet", clustered(40, start=90), "coder-2"), tmp_path / "d", small)
    for other, expected in (("b", "seed: 0 and 5"), ("c", "message-30"), ("d", "how texts were encoded")):
        with pytest.raises(RunError, match=expected):
            merge_runs([tmp_path / "a", tmp_path / other], tmp_path / "merged")
        assert not (tmp_path / "merged").exists()
    with pytest.raises(ConfigError, match="at least two runs"):
        merge_runs([tmp_path / "a"], tmp_path / "merged")
    with pytest.raises(RunError, match="already holds a run"):
        merge_runs([tmp_path / "a", tmp_path / "a"], tmp_path / "b")


def test_a_report_is_written_again(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    learn(write_codes("stream.parquet", clustered(40)), tmp_path / "run", small)
    (tmp_path / "run" / "report.html").unlink()
    path = rebuild_report(tmp_path / "run")
    assert "stream.parquet" in path.read_text(encoding="utf-8")
