"""``everlearn tie`` at the command line."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Run
from tests.runtime.word_pairs import write_encoder


def test_tie_heal_and_use(tmp_path: Path, inside: Run) -> None:
    encoder = write_encoder(tmp_path / "encoder")
    texts, tied = tmp_path / "texts.txt", tmp_path / "tied"
    texts.write_text("\n".join(f"w{k % 60} w{7 * k % 60} left{k % 2}" for k in range(400)) + "\n")
    options = ["--unique", "1", "--rank", "2", "--out", tied, "--threads", "1"]
    healing = ["--heal", texts, "--steps", "4", "--batch-size", "8"]
    told = inside("tie", encoder, *options, *healing)
    assert told.code == 0, told.err
    assert "of the original's" in told.out
    assert "cosine with the original" in told.out
    again = inside("tie", encoder, *options, *healing)
    assert again.code == 5
    assert "holds a model already" in again.err
    other = inside("tie", encoder, *options[:-3], tmp_path / "other", *healing, "--json")
    assert other.result["is_done"]
    assert other.result["loss_after"] < other.result["loss_before"]
    stream = tmp_path / "stream.csv"
    stream.write_text("text,label\n" + "".join(f"w{k} left{k % 2},t{k % 2}\n" for k in range(30)))
    learned = inside(
        "learn", stream, "--model", tied, "--out", tmp_path / "run", "--features", "64", "--json"
    )
    assert learned.code == 0, learned.err
    assert learned.result["examples"] == 30


def test_wrong_settings(tmp_path: Path, inside: Run) -> None:
    encoder = write_encoder(tmp_path / "encoder")
    for wrong, code, told in (
        (["--unique", "3"], 2, "unique must be from 1 to 2"),
        (["--unique", "1", "--heal", tmp_path / "none.txt"], 3, "none.txt"),
        (["--unique", "1", "--text-field", "x"], 2, "--text-field has no effect"),
    ):
        ended = inside("tie", encoder, *wrong, "--out", tmp_path / "tied", "--threads", "1")
        assert ended.code == code, ended.err
        assert told in ended.err
