"""The commands that show a run's history and change it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[..., Any]
MakeCodes = Callable[..., Path]


def test_versions_diff_blame_and_rollback(
    tmp_path: Path, inside: Run, make_codes: MakeCodes, small: list[str]
) -> None:
    run = tmp_path / "run"
    first = inside("learn", make_codes(tmp_path / "a.parquet", 60), "--out", run, "--json", *small).result
    second = inside("learn", make_codes(tmp_path / "b.parquet", 40, start=60), "--out", run, "--json").result
    listed = inside("versions", run, "--json").result
    assert [one["fingerprint"] for one in listed["versions"]] == [first["fingerprint"], second["fingerprint"]]
    assert listed["serving"] is None
    shown = inside("versions", run, "--decisions")
    assert shown.code == 0
    assert "The newest state is served" in shown.err
    difference = inside("diff", run, "1", "2", "--json").result
    assert sum(difference["learned"].values()) == 40
    assert inside("diff", run, "1", "2").code == 0
    assert inside("diff", run, "1", "9").code == 5
    blamed = inside("blame", run, "--id", "m70", "--json").result
    assert (blamed["versions"], blamed["held"]) == ([2], True)
    assert "in the newest state" in inside("blame", run, "--id", "m70").out
    unknown = inside("blame", run, "--id", "nobody")
    assert (unknown.code, "no example has this id" in unknown.err) == (5, True)
    back = inside("rollback", run, "1", "--reason", "bad day", "--json").result
    assert (back["examples_set_aside"], back["fingerprint"]) == (40, first["fingerprint"])
    assert (
        inside("evaluate", run, tmp_path / "a.parquet", "--json").result["fingerprint"]
        == first["fingerprint"]
    )
    assert inside("rollback", run, "one").code == 2
    retired = inside("rollback", run, "2")
    assert (retired.code, "set aside" in retired.err) == (5, True)
    decisions = inside("versions", run, "--json").result["decisions"]
    assert [(one["kind"], one["reason"]) for one in decisions] == [("rollback", "bad day")]


def test_journal_show_export_and_compact(
    tmp_path: Path, inside: Run, make_codes: MakeCodes, small: list[str]
) -> None:
    run = tmp_path / "run"
    stream = make_codes(tmp_path / "a.parquet", 80)
    done = inside("learn", stream, "--out", run, "--keep-text", "--json", *small).result
    shown = inside("journal", "show", run, "--json").result
    assert (shown["examples"], shown["texts"], shown["versions"]) == (80, 80, 1)
    assert inside("journal", "show", run, "--steps", "2").code == 0
    exported = inside("journal", "export", run, tmp_path / "all.jsonl", "--json").result
    assert exported["examples"] == 80
    rows = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["role"] for row in rows} == {"learn"}
    assert all(row["learned"] and row["text"] for row in rows)
    assert inside("journal", "export", run, tmp_path / "all.parquet").code == 0
    again = inside("learn", tmp_path / "all.parquet", "--out", tmp_path / "again", "--json", *small).result
    assert again["fingerprint"] == done["fingerprint"]
    assert inside("journal", "export", run, tmp_path / "all.csv").code == 2
    compacted = inside("journal", "compact", run, "--drop-text-after", "0", "--json").result
    assert compacted["texts_dropped"] == 80
    assert inside("journal", "show", run, "--json").result["texts"] == 0
    assert inside("verify", run, "--json").result["fingerprint"] == done["fingerprint"]
    assert inside("journal", "compact", run, "--drop-text-after", "-1").code == 2


def test_replay_compares_another_learner(
    tmp_path: Path, inside: Run, make_codes: MakeCodes, small: list[str]
) -> None:
    run = tmp_path / "run"
    stream = make_codes(tmp_path / "a.parquet", 200)
    done = inside("learn", stream, "--out", run, "--json", "--batch-size", "20", *small).result
    same = inside("replay", run, "--test", stream, "--json").result
    assert same["fingerprint"] == done["fingerprint"]
    assert same["recorded"] == same["replayed"]
    assert same["recorded"]["accuracy"] == done["prequential_accuracy"]
    other = inside("replay", run, "--seed", "5", "--json").result
    assert other["fingerprint"] != done["fingerprint"]
    assert other["recorded"] == same["recorded"]
    assert inside("replay", run, "--seed", "5").code == 0
    refused = inside("replay", run, "--learner", "gradient")
    assert (refused.code, "keeps none of 200 examples" in refused.err) == (5, True)


def test_texts_are_dropped_when_their_time_is_over(
    tmp_path: Path, inside: Run, make_codes: MakeCodes, small: list[str]
) -> None:
    run = tmp_path / "run"
    stream = make_codes(tmp_path / "a.parquet", 50)
    assert inside("learn", stream, "--out", run, "--keep-text", "--text-days", "0", *small).code == 0
    assert inside("journal", "show", run, "--json").result["texts"] == 0
    assert inside("verify", run).code == 0


def test_certificates_that_were_lost_are_written_again(
    tmp_path: Path, inside: Run, make_codes: MakeCodes, small: list[str]
) -> None:
    run = tmp_path / "run"
    inside("learn", make_codes(tmp_path / "a.parquet", 60), "--out", run, *small)
    certificate = Path(inside("forget", run, "--id", "m7", "--json").result["certificate"])
    assert inside("forget", run, "--reissue").code == 0
    certificate.unlink()
    again = inside("forget", run, "--reissue", "--json").result
    assert again == {"certificates": [str(certificate)], "certificates_pending": 0}
    assert certificate.is_file()
    assert inside("forget", run, "--reissue", "--id", "m8").code == 2
    unknown = inside("forget", run, "--where", "labl=a")
    assert (unknown.code, "no record of" in unknown.err, "Known are id, target" in unknown.err) == (
        2,
        True,
        True,
    )
