"""What a rollback undoes, what it leaves, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from everlearn.errors import ConfigError, InputError
from everlearn.runtime.commands.evaluate import evaluate_run
from everlearn.runtime.commands.learn import LearnOutcome, LearnRequest, learn_stream
from everlearn.runtime.commands.replay import replay_run
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.lineage import blame_example, list_versions
from everlearn.runtime.history.rollback import rollback_run
from everlearn.runtime.history.verify import verify_run
from everlearn.types import Example

WriteCodes = Callable[..., Path]
Clustered = Callable[..., list[Example]]
Settings = dict[str, Any]


def learn(stream: Path, run: Path, settings: Settings | None = None) -> LearnOutcome:
    return learn_stream(LearnRequest(stream=str(stream), out=run, settings=settings or {}))


def write_targets(path: Path, **targets: str) -> Path:
    path.write_text(
        "".join(
            json.dumps({"id": id_.replace("_", "-"), "label": one}) + "\n" for id_, one in targets.items()
        )
    )
    return path


def test_a_rollback_takes_corrections_back_and_they_can_come_again(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    run = tmp_path / "run"
    examples = clustered(120)
    before = learn(write_codes("a.parquet", examples), run, small).summary["fingerprint"]
    corrected = learn(write_targets(tmp_path / "b.jsonl", message_3="other", message_4="other"), run).summary
    assert blame_example(run, "message-3").target == "other"
    outcome = rollback_run(run, 1)
    assert (outcome.num_examples, outcome.fingerprint) == (2, before)
    assert blame_example(run, "message-3").target == examples[3].target
    # The same corrections under another name: they are news again.
    again = learn(write_targets(tmp_path / "c.jsonl", message_3="other", message_4="other"), run).summary
    assert again["fingerprint"] == corrected["fingerprint"]
    assert verify_run(run).is_valid


def test_versions_say_what_can_be_served(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    run = tmp_path / "run"
    learn(write_codes("a.parquet", clustered(60)), run, small)
    learn(write_codes("b.parquet", clustered(60, start=60)), run)
    rollback_run(run, 1)
    found = list_versions(run)
    assert [found.status_of(one) for one in found.versions] == ["can be served", "set aside"]
    # Nothing new: no version is made of what is version 1 already.
    assert any("Nothing is left" in note for note in learn(tmp_path / "b.parquet", run).notes)
    assert len(list_versions(run).versions) == 2
    replayed = replay_run(run, {})
    assert replayed.num_examples == 60
    assert replayed.recorded["accuracy"] == replayed.replayed["accuracy"]


@pytest.mark.parametrize("keep_text", [True, False])
def test_another_text_under_a_known_id_is_refused(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings, keep_text: bool
) -> None:
    run = tmp_path / "run"
    examples = clustered(60)
    settings = small | {"run.keep_text": keep_text}
    before = learn(write_codes("a.parquet", examples), run, settings).summary["fingerprint"]
    # Somebody exports other messages and counts from one again.
    others = [
        Example(id=one.id, text=other.text, target="other", code=other.code)
        for one, other in zip(examples, clustered(60, start=1_000), strict=True)
    ]
    outcome = learn(write_codes("b.parquet", others), run)
    assert outcome.summary["fingerprint"] == before
    assert any("60 records were rejected" in note for note in outcome.notes)
    with RunFolder.open_to_read(run) as folder:
        reasons = {one.reason.split(" was ")[1] for one in folder.journal.rejections.all()}
    assert reasons == {"taken before, by another text; give every example an id of its own"}
    # Within one batch too; the same text with another target is a correction.
    twice = [examples[0].with_target("label0"), others[0], examples[0].with_target("label1")]
    learn(write_codes("c.parquet", twice), tmp_path / "other", small)
    assert blame_example(tmp_path / "other", "message-0").target == "label1"


def test_what_is_meant_is_asked_for(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    stream = write_codes("a.parquet", clustered(60))
    with pytest.raises(ConfigError, match=r"guard\.every has no effect where guard\.enabled = False"):
        learn(stream, tmp_path / "run", small | {"guard.every": 100})
    (tmp_path / "texts.jsonl").write_text('{"id": "1", "text": "a text", "label": "a"}\n' * 3)
    with pytest.raises(InputError, match=r"it has no text \(see --text-field\)"):
        learn(tmp_path / "texts.jsonl", tmp_path / "run", {"stream.text_field": "txt"})
    learn(stream, tmp_path / "run", small)
    unknown = [one.with_target("never learned") for one in clustered(5, start=500)]
    held_out = write_codes("held.parquet", [*clustered(20, start=600), *unknown])
    assert evaluate_run(tmp_path / "run", [str(held_out)])["unknown_labels"] == 5
