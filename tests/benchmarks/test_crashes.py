"""The crash campaign in short: twenty kills at random moments of a small stream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.crashes.campaign import CampaignError, Interlude, campaign
from benchmarks.crashes.nursery import Nursery
from benchmarks.crashes.outcome import differences, outcome_of
from benchmarks.crashes.stages import mixed_campaign
from benchmarks.crashes.streams import CrashStream, made_up_stream, text_stream

from everlearn.journal.journal import Journal
from everlearn.runtime.commands.learn import LearnRequest, learn_stream
from everlearn.runtime.folder.run_folder import JOURNAL

SMALL = ("--features", "64", "--batch-size", "32", "--threads", "1")
NUM_KILLS = 20


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with Nursery(tmp_path_factory.mktemp("nursery")) as nursery:
        yield nursery


def _learned(stream: CrashStream, run: Path) -> Path:
    settings = {
        "learner.closed_form.num_features": 64,
        "stream.batch_size": 32,
        "stream.delay": 40,
        "run.threads": 1,
        "run.checkpoint_seconds": 60,
    }
    learn_stream(LearnRequest(stream=str(stream.path), out=run, settings=settings))
    return run


@pytest.mark.parametrize("settings", [("--delay", "50"), ("--guard", "--guard-every", "150")])
def test_a_run_that_is_killed_again_and_again_ends_like_one_that_nobody_killed(
    tmp_path: Path, nursery: Nursery, settings: tuple[str, ...]
) -> None:
    stream = made_up_stream(tmp_path / "stream.parquet", 900, seed=3)
    result = campaign(
        nursery,
        tmp_path,
        stream,
        [*SMALL, *settings],
        num_kills=NUM_KILLS // 2,
        seed=5,
        learns_all="--guard" not in settings,
    )
    assert result.differences == []
    assert sum(result.kills.values()) == NUM_KILLS // 2
    assert {by for _, by in result.kills} == {"moment", "clock"}
    assert len({phase for phase, _ in result.kills}) >= 4


def test_deletions_and_a_rollback_are_killed_too(tmp_path: Path, nursery: Nursery) -> None:
    stream = made_up_stream(tmp_path / "stream.parquet", 420, seed=3)
    result = mixed_campaign(
        nursery,
        tmp_path,
        stream,
        [*SMALL, "--guard", "--guard-every", "60", "--guard-share", "0.15", "--delay", "25"],
        num_kills=9,
        seed=7,
    )
    assert result.differences == []
    killed = {phase for phase, _ in result.kills}
    assert {"deletion", "rollback"} <= killed
    assert sum(result.kills.values()) >= 5


def test_a_campaign_sees_an_example_that_is_lost_and_one_learned_twice(tmp_path: Path) -> None:
    stream = made_up_stream(tmp_path / "stream.parquet", 200, seed=1)
    calm = outcome_of(_learned(stream, tmp_path / "calm"))
    run = _learned(stream, tmp_path / "run")
    assert differences(run, calm, stream.held) == []
    assert any("are lost" in one for one in differences(run, calm, {**stream.held, "another": "label0"}))
    fewer = made_up_stream(tmp_path / "fewer.parquet", 190, seed=1)
    found = differences(_learned(fewer, tmp_path / "other"), calm, stream.held)
    assert any(one.startswith("journal differs") for one in found)
    assert any(one.startswith("tensor ") for one in found)
    (run / "checkpoints" / "stray.safetensors").write_bytes(b"")
    assert any(one == "left over: checkpoints/stray.safetensors" for one in differences(run, calm, None))


def test_a_command_that_fails_by_itself_is_told_with_its_words(tmp_path: Path, nursery: Nursery) -> None:
    stream = made_up_stream(tmp_path / "stream.parquet", 100, seed=1)
    nonsense = Interlude("another command", ("report", "{run}-which-is-not-there"))
    with pytest.raises(CampaignError, match="not a run folder"):
        campaign(nursery, tmp_path, stream, SMALL, num_kills=1, seed=0, interludes=[nonsense])


def test_streams_hold_repeated_ids_late_targets_and_corrections(tmp_path: Path) -> None:
    stream = made_up_stream(tmp_path / "stream.parquet", 1_000, seed=2)
    run = _learned(stream, tmp_path / "run")
    with Journal.open_to_read(run / JOURNAL) as journal:
        kinds = {row[0] for row in journal.database.rows("SELECT DISTINCT kind FROM changes")}
        batches_of_known = journal.database.one(
            "SELECT COUNT(*) FROM steps WHERE first_offset IS NULL AND source IS NOT NULL AND step < "
            "(SELECT MAX(step) FROM steps WHERE first_offset IS NOT NULL)"
        )[0]
        assert journal.rejections.extent().count
    assert kinds == {"pending", "target", "correction"}
    assert batches_of_known


def test_made_up_texts_stand_in_where_the_data_are_not_at_hand(tmp_path: Path) -> None:
    stream = text_stream(tmp_path / "stream.jsonl", 100, str(tmp_path / "nowhere"), seed=0)
    assert stream.description == "made-up texts"
    assert len(stream.path.read_text(encoding="utf-8").splitlines()) == stream.num_records == 100
