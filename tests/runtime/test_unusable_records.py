"""Streams much of which cannot be used: how they end, and where a strict run stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from everlearn.errors import InputError
from everlearn.runtime.commands.learn import LearnOutcome, LearnRequest, learn_stream
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.types import Example

Settings = dict[str, object]
WriteCodes = Callable[..., Path]
Clustered = Callable[..., list[Example]]


def learn(stream: Path, out: Path, settings: Settings | None = None) -> LearnOutcome:
    return learn_stream(LearnRequest(stream=str(stream), out=out, settings=settings or {}))


def num_taken(run: Path) -> int:
    with RunFolder.open_to_read(run) as folder:
        return folder.journal.next_offset - 1


def with_taken_ids(examples: list[Example], count: int) -> list[Example]:
    """The last ``count`` of them under ids that the first ones have, whose text is another."""
    first = len(examples) - count
    return examples[:first] + [
        replace(one, id=f"message-{k % first}") for k, one in enumerate(examples[first:])
    ]


@pytest.mark.parametrize(
    ("num_bad", "num_good", "share", "is_told"),
    [(11, 10, 0.5, True), (10, 10, 0.5, False), (5, 4, 0.5, False), (1, 19, 0.0, True), (0, 20, 0.0, False)],
)
def test_more_rejected_than_allowed_is_told_with_what_was_learned_kept(
    tmp_path: Path,
    write_codes: WriteCodes,
    clustered: Clustered,
    small: Settings,
    num_bad: int,
    num_good: int,
    share: float,
    is_told: bool,
) -> None:
    stream = write_codes("s.parquet", with_taken_ids(clustered(num_good + num_bad), num_bad))
    outcome = learn(stream, tmp_path / "run", small | {"stream.max_rejected": share})
    assert (outcome.loss is not None) == is_told
    if outcome.loss is not None:
        assert f"{num_bad} of {num_good + num_bad} records of s.parquet were rejected" in outcome.loss
        assert f"s.parquet, example {num_good + 1}: id 'message-0' was taken before" in outcome.loss
    assert outcome.summary["learned"] == num_good == num_taken(tmp_path / "run")


def test_what_was_taken_or_deleted_before_is_no_loss(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    examples = clustered(30)
    learn(write_codes("first.parquet", examples), tmp_path / "run", small)
    forget_in_run(tmp_path / "run", ids=[one.id for one in examples[:15]])
    again = learn(write_codes("again.parquet", examples), tmp_path / "run", {"stream.max_rejected": 0.0})
    assert again.loss is None


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_a_strict_run_stops_at_a_taken_id_and_goes_on_there(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings, batch_size: int
) -> None:
    good = clustered(20)
    bad = [*good[:9], replace(good[9], id="message-3"), *good[10:]]
    strict = small | {"stream.strict": True, "stream.batch_size": batch_size}
    stream = write_codes("s.parquet", bad)
    with pytest.raises(InputError, match=r"example 10: id 'message-3' was taken.*The 9 examples before it"):
        learn(stream, tmp_path / "run", strict)
    assert num_taken(tmp_path / "run") == 9
    loose = learn(stream, tmp_path / "run", {"stream.strict": False})
    assert any("Went on after the 9 examples of s.parquet" in note for note in loose.notes)
    assert loose.summary["examples"] == num_taken(tmp_path / "run") == 19
    assert loose.summary["rejected"] == 1
    write_codes("s.parquet", good)
    mended = learn(stream, tmp_path / "run", {"stream.strict": True})
    assert mended.summary["examples"] == num_taken(tmp_path / "run") == 20


def test_a_strict_run_stops_at_a_target_for_nobody_and_at_a_repeated_id(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    good, strict = clustered(12), small | {"stream.strict": True}
    bare = replace(good[5], id="nobody", code=None, text=None)
    for name, odd, reason in (("bare", bare, "has no text"), ("same", good[2], "duplicate id 'message-2'")):
        if name == "bare":
            stream = tmp_path / "bare.jsonl"
            stream.write_text('{"id": "nobody", "label": "a"}\n', encoding="utf-8")
            learn(write_codes("before.parquet", good), tmp_path / name, small)
            with pytest.raises(InputError, match=reason):
                learn(stream, tmp_path / name, {"stream.strict": True})
            assert num_taken(tmp_path / name) == 12
        else:
            stream = write_codes(f"{name}.parquet", [*good[:5], odd, *good[5:]])
            with pytest.raises(InputError, match=reason):
                learn(stream, tmp_path / name, strict)
            assert num_taken(tmp_path / name) == 5


def test_a_strict_run_reads_a_file_again(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings
) -> None:
    strict = small | {"stream.strict": True}
    learn(write_codes("s.parquet", clustered(20)), tmp_path / "run", strict)
    again = learn(write_codes("copy.parquet", clustered(25)), tmp_path / "run", {"stream.strict": True})
    assert again.summary["examples"] == 25


@pytest.mark.parametrize("batch_size", [7, 32])
def test_reading_strictly_changes_nothing_of_what_is_learned(
    tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings, batch_size: int
) -> None:
    stream = write_codes("s.parquet", clustered(60))
    settings = small | {"stream.batch_size": batch_size}
    loose = learn(stream, tmp_path / "loose", settings).summary
    strict = learn(stream, tmp_path / "strict", settings | {"stream.strict": True}).summary
    for name in ("fingerprint", "prequential_accuracy", "learned"):
        assert strict[name] == loose[name]
