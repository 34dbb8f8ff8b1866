"""Targets that come after their example, corrections, and what cannot be either."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from everlearn.journal.standing.held import held_examples
from everlearn.runtime.commands.learn import LearnOutcome, LearnRequest, learn_stream
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.verify import verify_run
from everlearn.types import Example

Settings = dict[str, object]
WriteCodes = Callable[..., Path]
Clustered = Callable[..., list[Example]]


def learn(stream: Path, out: Path, settings: Settings | None = None) -> LearnOutcome:
    return learn_stream(LearnRequest(stream=str(stream), out=out, settings=settings or {}))


def write_targets(path: Path, targets: dict[str, str]) -> Path:
    lines = [json.dumps({"id": id_, "label": label}) + "\n" for id_, label in targets.items()]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def reasons(run: Path) -> list[str]:
    with RunFolder.open_to_read(run) as folder:
        return [one.reason for one in folder.journal.rejections.all()]


def test_targets_are_joined_by_id(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = clustered(120)
    whole = learn(write_codes("whole.parquet", examples), tmp_path / "whole", small).summary
    late = {one.id: str(one.target) for one in examples[40:90]}
    bare = [one.with_target(None) if one.id in late else one for one in examples]
    first = learn(write_codes("bare.parquet", bare), tmp_path / "run", small)
    assert first.summary["learned"] == 70
    assert first.summary["without_target"] == 50
    second = learn(write_targets(tmp_path / "targets.jsonl", late), tmp_path / "run")
    assert second.summary["fingerprint"] == whole["fingerprint"]
    assert second.summary["learned"] == 120
    assert second.summary["examples"] == 120
    assert second.summary["without_target"] == 0
    assert not any("without target were predicted, but not learned" in note for note in second.notes)
    assert any("50 targets came for examples taken before" in note for note in second.notes)
    assert verify_run(tmp_path / "run").is_valid


def test_a_correction_forgets_the_old_pair_and_learns_the_new(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = clustered(150)
    right = learn(write_codes("right.parquet", examples), tmp_path / "right", small).summary
    wrong = [
        one.with_target("nonsense" if k == 7 else "label0") if k % 10 == 7 else one
        for k, one in enumerate(examples)
    ]
    run = tmp_path / "run"
    before = learn(write_codes("wrong.parquet", wrong), run, small).summary
    assert before["fingerprint"] != right["fingerprint"]
    assert before["classes"] == 6
    changed = {one.id: str(one.target) for k, one in enumerate(examples) if k % 10 == 7}
    after = learn(write_targets(tmp_path / "corrections.jsonl", changed), run).summary
    assert after["fingerprint"] == right["fingerprint"]
    assert after["classes"] == 5
    assert after["learned"] == after["examples"] == 150
    assert verify_run(run).is_valid
    # Corrected a second time, and then deleted.
    learn(write_targets(tmp_path / "more.jsonl", {"message-7": "label4"}), run)
    outcome = forget_in_run(run, ids=["message-7"])
    rest = [one for one in examples if one.id != "message-7"]
    never = learn(write_codes("rest.parquet", rest), tmp_path / "never", small).summary
    assert outcome.fingerprint_after == never["fingerprint"]


def test_corrections_within_a_batch_and_while_waiting(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = clustered(60)
    truth = [one.with_target("label1") if k % 9 == 0 else one for k, one in enumerate(examples)]
    expected = learn(write_codes("truth.parquet", truth), tmp_path / "truth", small).summary
    corrections = [one.with_target("label1") for k, one in enumerate(examples) if k % 9 == 0]
    together = write_codes(
        "together.parquet", [*examples[:30], *corrections[:3], *examples[30:], *corrections]
    )
    for delay in (0, 20, 500):
        run = tmp_path / f"delay{delay}"
        summary = learn(together, run, small | {"stream.delay": delay}).summary
        assert summary["fingerprint"] == expected["fingerprint"], delay
        assert verify_run(run).is_valid
        with RunFolder.open_to_read(run) as folder:
            assert len({one.id for _, one in held_examples(folder.journal)}) == 60


def test_targets_for_unknown_and_deleted_ids_are_refused(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    run = tmp_path / "run"
    learn(write_codes("stream.parquet", clustered(40)), run, small)
    forget_in_run(run, ids=["message-3"])
    before = forget_in_run(run, ids=["message-4"]).fingerprint_after
    targets = {"message-3": "label1", "nobody": "label1", "message-5": "label2"}
    known = clustered(40)[5].target
    targets["message-5"] = str(known)
    outcome = learn(write_targets(tmp_path / "late.jsonl", targets), run)
    assert outcome.summary["fingerprint"] == before
    found = reasons(run)
    assert any("target for an id that was deleted on 20" in one for one in found)
    assert any("no earlier example has the id 'nobody'" in one for one in found)
    assert "duplicate id 'message-5'" in found
