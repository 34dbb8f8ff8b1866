"""Bad input: each a clear message and exit code, no traceback, nothing lost that was reported as done."""

from __future__ import annotations

import json
import os
import random
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.small_disk import small_disk

Run = Callable[..., Any]
MakeCodes = Callable[..., Path]
Start = Callable[..., "subprocess.Popen[str]"]

NOISE = b"\x89\0" + random.Random(0).randbytes(20_000)
GOOD = [{"text": f"good {k}", "label": "ab"[k % 2]} for k in range(8)]


def lines(*records: Any) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def assert_clear(ended: Any, code: int, *parts: str) -> None:
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    assert ended.err.startswith("error: "), ended.err
    for part in parts:
        assert part in ended.err


def test_an_empty_file(tmp_path: Path, process: Run) -> None:
    (tmp_path / "empty.jsonl").write_bytes(b"")
    ended = process("learn", tmp_path / "empty.jsonl", "--out", tmp_path / "run")
    assert_clear(ended, 3, "empty.jsonl is empty")
    assert not (tmp_path / "run").exists()


def test_a_missing_field_and_a_missing_file(tmp_path: Path, process: Run, inside: Run) -> None:
    (tmp_path / "s.jsonl").write_bytes(lines({"body": "hello", "label": "a"}, {"body": "you", "label": "b"}))
    ended = process("learn", tmp_path / "s.jsonl", "--out", tmp_path / "run")
    reason = "s.jsonl:1: no field 'text'; its fields are body, label (see --text-field)"
    assert_clear(ended, 3, f"s.jsonl has no usable example: all 2 records were rejected; the first: {reason}")
    assert not (tmp_path / "run").exists()
    assert_clear(inside("learn", tmp_path / "none.jsonl"), 3, "none.jsonl does not exist")
    (tmp_path / "s.csv").write_text("body,topic\nhello,a\n", encoding="utf-8")
    assert_clear(inside("learn", tmp_path / "s.csv", "--out", tmp_path / "r"), 3, "body", "topic")


def test_a_long_line_a_binary_line_and_odd_labels_are_listed(
    tmp_path: Path, process: Run, small: list[str]
) -> None:
    long_line = b'{"text": "' + b"x" * 10_000_000 + b'", "label": "a"}\n'
    odd = [
        {"text": "a number", "label": 7},
        {"text": "nothing", "label": None},
        {"text": "list", "label": [1, 2]},
    ]
    binary = bytes(range(256)).replace(b"\n", b"") * 10 + b"\n"
    data = lines(*GOOD[:4]) + long_line + binary + lines(*odd) + lines(*GOOD[4:])
    (tmp_path / "s.jsonl").write_bytes(data)
    ended = process("learn", tmp_path / "s.jsonl", "--out", tmp_path / "run", "--json", *small)
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    result = ended.result
    assert (result["examples"], result["rejected"], result["learned"]) == (10, 3, 9)
    assert result["without_target"] == 1
    assert result["classes"] == 3
    rejected = (tmp_path / "run" / "rejected.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["place"] for line in rejected] == ["s.jsonl:5", "s.jsonl:6", "s.jsonl:9"]
    assert all(len(json.loads(line)["excerpt"]) <= 200 for line in rejected)


def test_a_binary_file(tmp_path: Path, inside: Run) -> None:
    (tmp_path / "s.jsonl").write_bytes(NOISE)
    assert_clear(
        inside("learn", tmp_path / "s.jsonl", "--out", tmp_path / "run"), 3, "s.jsonl:1: binary data"
    )
    (tmp_path / "s.parquet").write_bytes(NOISE)
    assert_clear(inside("learn", tmp_path / "s.parquet", "--out", tmp_path / "run2"), 3, "s.parquet")


def test_a_binary_file_of_another_name(tmp_path: Path, inside: Run) -> None:
    (tmp_path / "s.csv").write_bytes(b"text,label\nwhere is\rit,a\n" + bytes(range(256)) * 20)
    ended = inside("learn", tmp_path / "s.csv", "--out", tmp_path / "run")
    assert_clear(ended, 3, "s.csv:3: binary data", "Export it as text")
    assert not (tmp_path / "run").exists()


def test_most_of_a_file_rejected_is_no_success_of_any_command(
    tmp_path: Path, inside: Run, small: list[str]
) -> None:
    run, file, codes = tmp_path / "run", tmp_path / "s.jsonl", tmp_path / "s.parquet"
    file.write_bytes(lines(*GOOD))
    assert inside("learn", file, "--out", run, *small).code == 0
    file.write_bytes(b"{oops\n" * 12 + lines(*GOOD))
    told = f"12 of {12 + len(GOOD)} records of s.jsonl were rejected, more than the share of 0.5"
    evaluated = inside("evaluate", run, file, "--json")
    assert_clear(evaluated, 3, told, "--max-rejected", "s.jsonl:1")
    assert json.loads(evaluated.out.splitlines()[-1])["examples"] == len(GOOD)
    encoded = inside("encode", file, "--out", codes)
    assert_clear(encoded, 3, told)
    assert inside("evaluate", run, codes, "--json").result["examples"] == len(GOOD)
    for command in (["evaluate", run, file], ["encode", file, "--out", codes]):
        assert inside(*command, "--max-rejected", "0.7").code == 0


def test_strict_stops_at_the_place_and_keeps_what_came_before(
    tmp_path: Path, inside: Run, small: list[str]
) -> None:
    (tmp_path / "s.jsonl").write_bytes(lines(*GOOD) + b"{oops\n" + lines(*GOOD))
    out = ["--out", tmp_path / "run", "--strict"]
    ended = inside("learn", tmp_path / "s.jsonl", *out, *small)
    assert_clear(ended, 3, "s.jsonl:9", "--no-strict", "8 examples before it are learned and saved")
    again = inside("learn", tmp_path / "s.jsonl", "--out", tmp_path / "run", "--no-strict", "--json")
    assert again.code == 0, again.err
    assert (again.result["examples"], again.result["rejected"]) == (16, 1)


def test_wrong_field_names_can_be_corrected(tmp_path: Path, inside: Run, small: list[str]) -> None:
    good, wrong, run = tmp_path / "good.jsonl", tmp_path / "wrong.jsonl", tmp_path / "run"
    good.write_bytes(lines(*GOOD) + b"{oops\n")
    wrong.write_bytes(lines(*({"id": f"w{k}", "msg": f"wrong {k}", "cat": "ab"[k % 2]} for k in range(60))))
    learn = ["learn", wrong, "--out", run]
    names = ["--text-field", "msg", "--target-field"]
    reason = "wrong.jsonl:1: no field 'text'; its fields are id, msg, cat (see --text-field)"
    unusable = f"wrong.jsonl has no usable example: all 60 records were rejected; the first: {reason}"

    assert_clear(inside(*learn, *small), 3, unusable)
    assert not run.exists()
    assert_clear(inside(*learn, *names, "nope", *small), 3, "none of its 60 examples has a target")
    assert not run.exists()
    assert inside(*learn, *names, "cat", "--json", *small).result["learned"] == 60

    assert inside("learn", good, "--out", tmp_path / "other", *small).code == 0
    learn[-1] = run = tmp_path / "other"
    record = (run / "run.json").read_bytes()
    for _ in range(2):
        assert_clear(inside(*learn), 3, unusable)
        assert (run / "run.json").read_bytes() == record
    ended = inside(*learn, *names, "cat", "--json")
    assert (ended.result["learned"], ended.result["rejected"]) == (68, 1)
    assert "rejected" not in ended.err
    assert len((run / "rejected.jsonl").read_text(encoding="utf-8").splitlines()) == 1

    (tmp_path / "copy.jsonl").write_bytes(wrong.read_bytes())
    ended = inside("learn", tmp_path / "copy.jsonl", "--out", run, *names, "cat", "--json")
    assert ended.code == 0, ended.err
    assert "60 records were already learned (same id)" in ended.err
    assert "were rejected" not in ended.err
    rejected = (run / "rejected.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(rejected[-1])["place"] == "copy.jsonl, example 60"
    assert json.loads(rejected[-1])["reason"] == "duplicate id 'w59'"


def test_duplicate_ids(tmp_path: Path, inside: Run, small: list[str]) -> None:
    rows = [{"id": f"m{k % 6}", **row} for k, row in enumerate(GOOD)]
    (tmp_path / "s.jsonl").write_bytes(lines(*rows))
    ended = inside("learn", tmp_path / "s.jsonl", "--out", tmp_path / "run", "--json", *small)
    assert ended.code == 0
    assert (ended.result["examples"], ended.result["rejected"]) == (6, 2)
    assert "2 records were rejected" in ended.err
    assert "was taken before, by another text" in (tmp_path / "run" / "rejected.jsonl").read_text()
    (tmp_path / "t.jsonl").write_bytes(lines(*rows[:6]))
    ended = inside("learn", tmp_path / "t.jsonl", "--out", tmp_path / "run", "--json", *small)
    assert "6 records were already learned (same id)" in ended.err
    assert "rejected;" not in ended.err
    rejected = (tmp_path / "run" / "rejected.jsonl").read_text(encoding="utf-8")
    assert "duplicate id 'm0'" in rejected


def test_an_unknown_model(tmp_path: Path, process: Run) -> None:
    (tmp_path / "s.jsonl").write_bytes(lines(*GOOD))
    ended = process(
        "learn", tmp_path / "s.jsonl", "--out", tmp_path / "run", "--model", "package:no-such-model"
    )
    assert_clear(ended, 4, "no-such-model")
    assert not (tmp_path / "run").exists()


def test_wrong_settings(tmp_path: Path, inside: Run, make_codes: MakeCodes, small: list[str]) -> None:
    stream = make_codes(tmp_path / "s.parquet", 40)
    run = tmp_path / "run"
    assert_clear(inside("learn", stream, "--out", run, "--order", "by-color"), 2, "--order", "by-color")
    assert_clear(inside("learn", stream, "--out", run, "--batch-size", "0"), 2, "--batch-size = 0")
    (tmp_path / "c.yaml").write_text("lerner: {}\n", encoding="utf-8")
    ended = inside("learn", stream, "--out", run, "--config", tmp_path / "c.yaml")
    assert_clear(ended, 2, "c.yaml", "unknown setting lerner (did you mean learner?)")
    (tmp_path / "c.yaml").write_text("stream: {batch_size: 0}\n", encoding="utf-8")
    ended = inside("learn", stream, "--out", run, "--config", tmp_path / "c.yaml")
    assert_clear(ended, 2, "c.yaml", "stream.batch_size = 0")
    assert not run.exists()
    assert inside("learn", stream, "--out", run, *small).code == 0
    assert_clear(inside("learn", stream, "--out", run, "--seed", "9"), 2, "seed is 0 in the run, 9 was given")


def test_foreign_and_damaged_run_folders(
    tmp_path: Path, process: Run, inside: Run, make_codes: MakeCodes, small: list[str]
) -> None:
    stream = make_codes(tmp_path / "s.parquet", 40)
    run = tmp_path / "run"
    assert inside("learn", stream, "--out", run, *small).code == 0
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    (run / "run.json").write_text(json.dumps(record | {"format_version": 9}), encoding="utf-8")
    assert_clear(process("predict", run, "hello"), 5, "run format version 9", "reads version 2")
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
    state = next((run / "checkpoints").iterdir())
    data = state.read_bytes()
    state.write_bytes(data[: len(data) // 2])
    assert_clear(inside("evaluate", run, stream), 6, state.name, "is damaged", "folds it again")
    # A command that writes folds the journal again and says so.
    again = inside("learn", stream, "--out", run)
    assert again.code == 0, again.err
    assert f"{state.name} is damaged" in again.err
    assert "40 examples" in again.err
    assert "were folded again from the journal, from the beginning" in again.err
    assert inside("evaluate", run, stream).code == 0
    assert_clear(inside("report", tmp_path), 5, "is not a run folder")


def test_a_full_disk_loses_nothing_that_was_saved(
    tmp_path: Path, process: Run, inside: Run, make_codes: MakeCodes, small: list[str]
) -> None:
    first = make_codes(tmp_path / "a.parquet", 100)
    second = make_codes(tmp_path / "b.parquet", 3000, start=100)
    with small_disk(tmp_path / "disk", "24m"):  # where none can be mounted: file size limits are tested below
        run = tmp_path / "disk" / "run"
        saved = inside("learn", first, "--out", run, "--json", *small).result
        free = os.statvfs(run)
        (tmp_path / "disk" / "ballast").write_bytes(b"x" * (free.f_bavail * free.f_frsize - 60_000))
        ended = process("learn", second, "--out", run, "--threads", "1")
        assert_clear(ended, 7, "disk is full", "What was journaled before is intact")
        evaluated = inside("evaluate", run, first, "--json").result
        assert evaluated["fingerprint"] == saved["fingerprint"]
        (tmp_path / "disk" / "ballast").unlink()
        rest = inside("learn", second, "--out", run, "--json")
        assert rest.code == 0, rest.err
        assert rest.result["examples"] == 3100


def test_an_empty_text_is_not_predicted(tmp_path: Path, inside: Run) -> None:
    assert_clear(inside("predict", tmp_path / "run", "where is it?", " "), 3, "text 2 is empty")


def test_a_folder_in_place_of_a_file(tmp_path: Path, inside: Run) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    run = tmp_path / "run"
    assert_clear(inside("learn", folder, "--out", run), 3, "texts is a folder and no data set", "and empty")
    (folder / "notes.odt").write_bytes(b"words")
    assert_clear(inside("learn", folder, "--out", run), 3, "name a file in it; in it: notes.odt")
    assert not run.exists()


def test_no_target_and_bad_records_are_told_together(tmp_path: Path, inside: Run) -> None:
    stream = tmp_path / "s.jsonl"
    stream.write_bytes(b"not json\n" + lines({"text": "hello", "label": None}, {"text": "", "label": "a"}))
    ended = inside("learn", stream, "--out", tmp_path / "run")
    assert_clear(ended, 3, "none of its 1 examples has a target", "2 records were rejected; the first")


def test_nothing_to_predict(
    tmp_path: Path,
    inside: Run,
    process: Run,
    make_codes: MakeCodes,
    small: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"
    assert inside("learn", make_codes(tmp_path / "s.parquet", 40), "--out", run, *small).code == 0
    assert_clear(process("predict", run, "-", stdin=""), 3, "standard input is empty")
    assert_clear(inside("export", run, tmp_path / "model"), 5, "only language models and encoder-decoders")
    # A file that this user may not read is no fault of the program.
    checkpoint = next((run / "checkpoints").iterdir())
    assert checkpoint.stat().st_mode == (run / "run.json").stat().st_mode

    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(checkpoint))

    monkeypatch.setattr("everlearn.journal.checkpoints.read_state_file", forbidden)
    ended = inside("predict", run, "hello")
    assert_clear(ended, 7, f"{checkpoint}: Permission denied; this user lacks the right to it")


def test_a_journal_of_which_nothing_is_left(
    tmp_path: Path, inside: Run, make_codes: MakeCodes, small: list[str]
) -> None:
    run = tmp_path / "run"
    assert inside("learn", make_codes(tmp_path / "s.parquet", 400), "--out", run, *small).code == 0
    os.truncate(run / "journal.sqlite", 20_000)
    ended = inside("journal", "repair", run)
    assert ended.code == 6, ended.err
    assert "No step and no example is left" in ended.err


def test_a_task_that_there_is_not(inside: Run) -> None:
    for words in (["--task", "foo"], ["--task=foo"]):
        assert "'foo' is none of classify, multilabel, lm" in inside("learn", *words, "--help").err


def test_a_file_size_limit_is_told_like_a_full_disk(
    tmp_path: Path, make_codes: MakeCodes, small: list[str]
) -> None:
    stream = make_codes(tmp_path / "s.parquet", 400)
    done = subprocess.run(
        [sys.executable, "-m", "everlearn", "learn", str(stream), "--out", str(tmp_path / "run"), *small],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8_192, 8_192)),
    )
    assert done.returncode == 7, done.stderr
    assert "Traceback" not in done.stderr
    assert "Nothing was learned yet" in done.stderr
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on_to_the_same_result(
    tmp_path: Path, inside: Run, start: Start, make_codes: MakeCodes, small: list[str], number: signal.Signals
) -> None:
    stream = make_codes(tmp_path / "s.parquet", 4000)
    options = ["--features", "64", "--batch-size", "1", "--threads", "1", "--checkpoint-seconds", "0.2"]
    run = tmp_path / "run"
    running = start("learn", stream, "--out", run, "--json", *options)
    deadline = time.monotonic() + 60
    while not any(run.glob("checkpoints/*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    again = shlex.split(err.partition("Go on with: ")[2])
    assert again[:3] == ["everlearn", "learn", str(stream)]
    assert sorted(again[3:]) == sorted(["--out", str(run), "--json", *options])
    stopped = json.loads(out.splitlines()[-1])
    assert stopped["interrupted"] is True
    assert 0 < stopped["examples"] < 4000
    rest = inside("learn", stream, "--out", run, "--json", "--batch-size", "256")
    assert rest.code == 0, rest.err
    whole = inside("learn", stream, "--out", tmp_path / "whole", "--json", *small)
    for name in ("examples", "learned", "rejected", "fingerprint"):
        assert rest.result[name] == whole.result[name]


def test_standard_input_is_learned_and_predicted_as_it_comes(
    tmp_path: Path, process: Run, small: list[str]
) -> None:
    records = "".join(json.dumps(record) + "\n" for record in GOOD)
    run = tmp_path / "run"
    learned = process("learn", "-", "--out", run, "--json", *small, stdin=records)
    assert learned.code == 0, learned.err
    assert learned.result["examples"] == 8
    predicted = process("predict", run, "-", "--json", stdin='{"text": "good 3"}\nplain words\n')
    assert [json.loads(line)["text"] for line in predicted.out.splitlines()] == ["good 3", "plain words"]


def test_no_tracebacks_for_faults_of_ours(
    tmp_path: Path, inside: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr("everlearn.runtime.folder.rebuild_report.rebuild_report", broken)
    assert_clear(inside("report", tmp_path), 1, "unexpected ZeroDivisionError", "everlearn --debug")


def test_no_export_takes_the_place_of_another_file(tmp_path: Path, inside: Run, small: list[str]) -> None:
    run, stream, table = tmp_path / "run", tmp_path / "s.jsonl", tmp_path / "s.parquet"
    stream.write_bytes(lines(*GOOD))
    table.write_bytes(b"years of work")
    assert inside("learn", stream, "--out", run, *small).code == 0
    assert_clear(inside("journal", "export", run, stream), 7, "s.jsonl exists", "--overwrite")
    assert_clear(inside("encode", stream, "--out", table), 7, "s.parquet exists and holds no codes")
    assert stream.read_bytes() == lines(*GOOD)
    assert table.read_bytes() == b"years of work"
    out = tmp_path / "all.jsonl"
    assert inside("journal", "export", run, out).code == 0
    assert inside("journal", "export", run, out, "--overwrite").code == 0


def test_places_that_cannot_be_written(tmp_path: Path, process: Run, make_codes: MakeCodes) -> None:
    stream = make_codes(tmp_path / "s.parquet", 40)
    refused = process("learn", stream, "--out", "/proc/nothing")
    assert_clear(refused, 7, "cannot make the folder /proc/nothing")
    assert process("learn", stream, "--out", tmp_path / "run", "--features", "64").code == 0
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "everlearn", "versions", str(tmp_path / "run")],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 7, done.stderr
    assert done.stderr == "error: cannot write the output: No space left on device\n"
