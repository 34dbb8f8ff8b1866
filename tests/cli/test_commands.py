from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from everlearn.cli import options
from everlearn.cli.app import app
from everlearn.cli.setting_options import SETTINGS_OF
from everlearn.journal.records import NewStep
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.settings import RunConfig, flatten_settings
from everlearn.tasks.records import LearnerRecord

Run = Callable[..., Any]
MakeCodes = Callable[..., Path]

PROMISED = {
    "examples",
    "rejected",
    "classes",
    "prequential_accuracy",
    "test_accuracy",
    "average_accuracy",
    "forgetting",
    "seconds",
    "encode_seconds",
    "learn_seconds",
    "examples_per_second",
    "peak_memory_mb",
    "fingerprint",
}


def test_the_whole_way_from_texts(tmp_path: Path, inside: Run, small: list[str]) -> None:
    """Real model: encode, learn, predict, evaluate, forget, report."""
    subjects = {
        "billing": "invoice payment refund card charge",
        "access": "password login account code locked",
    }
    rows = [
        {
            "id": f"{label}{k}",
            "text": f"my {word} is wrong, please help ({k})",
            "label": label,
            "customer": f"c{k}",
        }
        for k, (label, word) in enumerate(
            (label, word) for _ in range(4) for label, words in subjects.items() for word in words.split()
        )
    ]
    stream = tmp_path / "desk.jsonl"
    stream.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run = tmp_path / "run"
    learned = inside("learn", stream, "--out", run, "--test", stream, "--json", *small)
    assert learned.code == 0, learned.err
    assert learned.result.keys() >= PROMISED
    assert learned.result["examples"] == 40
    assert learned.result["test_accuracy"] == 1.0
    assert learned.result["encode_seconds"] > 0
    assert len(learned.out.splitlines()) == 1

    predicted = inside(
        "predict", run, "I forgot my password", "where is the invoice?", "--json", "--top", "2"
    )
    answers = [json.loads(line) for line in predicted.out.splitlines()]
    assert [answer["label"] for answer in answers] == ["access", "billing"]
    assert all(sum(one["probability"] for one in answer["top"]) == pytest.approx(1) for answer in answers)
    from_pipe = inside("predict", run, "-", "--json", stdin='{"text": "I forgot my password"}\nlocked out\n')
    # The runner's input has no file descriptor, which reading as it comes needs; a process has one.
    assert from_pipe.code == 3

    evaluated = inside("evaluate", run, stream, "--json").result
    assert evaluated["accuracy"] == 1.0
    assert evaluated["fingerprint"] == learned.result["fingerprint"]

    codes = tmp_path / "desk.codes.parquet"
    assert inside("encode", stream, "--out", codes, "--json").result["examples"] == 40
    from_codes = inside("learn", codes, "--out", tmp_path / "run2", "--json", *small).result
    assert from_codes["encode_seconds"] < learned.result["encode_seconds"]

    forgotten = inside("forget", run, "--where", "customer=c3", "--json")
    assert forgotten.code == 0
    assert forgotten.result["forgotten"] == 1
    (run / "report.html").unlink()
    assert inside("report", run).out.strip() == str(run / "report.html")
    assert (run / "report.html").is_file()


def test_other_field_names_and_lines_that_cannot_be_used(
    tmp_path: Path, inside: Run, process: Run, small: list[str]
) -> None:
    texts = [("my invoice is wrong", "billing"), ("I forgot my password", "access")] * 6
    stream = tmp_path / "desk.jsonl"
    stream.write_text("".join(json.dumps({"text": t, "label": y}) + "\n" for t, y in texts), encoding="utf-8")
    run = tmp_path / "run"
    learned = inside("learn", stream, "--out", run, *small)
    assert "smaller batches" in learned.err
    other = tmp_path / "other.csv"
    other.write_text("body,topic\nthe invoice is wrong,billing\nno password,access\n", encoding="utf-8")
    assert "--text-field" in inside("evaluate", run, other).err
    scores = inside(
        "evaluate", run, other, "--text-field", "body", "--target-field", "topic", "--json"
    ).result
    assert (scores["examples"], scores["accuracy"]) == (2, 1.0)

    piped = process("predict", run, "-", "--json", stdin='{"body": "x"}\n{"text": "my password"}\n')
    assert [json.loads(line)["label"] for line in piped.out.splitlines()] == ["access"]
    assert piped.code == 3
    assert "1 record could not be used; the first: stdin:1" in piped.err

    table = tmp_path / "new.csv"
    table.write_bytes("nr;text\n7;my invoice für März\n8;\n".encode("cp1252"))
    read = inside("predict", run, "--file", table, "--id-field", "nr", "--json")
    assert [json.loads(line)["id"] for line in read.out.splitlines()] == ["7"]
    assert "cp1252" in read.err
    assert "1 record could not be used; the first: new.csv" in read.err
    assert read.code == 3
    assert f"predict RUN --file {table}" in inside("predict", run, str(table)).err
    assert "not both" in inside("predict", run, "a text", "--file", table).err

    unknown = inside("forget", run, "--id", "nobody")
    assert unknown.code == 5
    assert "nobody" in unknown.err
    assert unknown.out == ""


def test_a_run_that_has_not_saved_yet_says_so(tmp_path: Path, inside: Run) -> None:
    run = tmp_path / "run"
    with RunFolder.create(run, RunConfig(), LearnerRecord(kind="closed-form")) as folder:
        folder.journal.append(NewStep(), keep_text=False)
    refused = inside("predict", run, "hello")
    assert refused.code == 5
    assert "nothing is saved" in refused.err


def test_the_gradient_learner(tmp_path: Path, inside: Run) -> None:
    stream = tmp_path / "desk.jsonl"
    words = {"fruit": "apple pear plum cherry", "metal": "iron copper zinc tin"}
    rows = [
        {"id": f"{turn}-{word}", "text": word, "label": label}
        for turn in range(4)
        for label, line in words.items()
        for word in line.split()
    ]
    stream.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run = tmp_path / "run"
    options_given = ["--learner", "gradient", "--train", "head", "--replay", "8", "--batch-size", "8"]
    ended = inside(
        "learn", stream, "--out", run, "--test", stream, "--json", "--threads", "1", *options_given
    )
    assert ended.code == 0, ended.err
    assert ended.result["test_accuracy"] > 0.8
    again = inside("learn", stream, "--out", run, "--json")
    assert again.code == 0, again.err
    assert again.result["fingerprint"] == ended.result["fingerprint"]
    config = json.loads((run / "run.json").read_text(encoding="utf-8"))["learner"]["config"]
    assert config["methods"]["replay"]["memory_examples"] == 8
    assert config["learner"]["trainable"] == "head"
    forgotten = inside("forget", run, "--id", "0-apple", "--id", "nobody", "--json")
    assert forgotten.code == 5
    assert "nobody" in forgotten.err
    assert forgotten.result["exact"] is True
    certificate = forgotten.result["certificate"]
    verified = inside("verify", run, "--certificate", certificate, "--id", "0-apple", "--json")
    assert verified.code == 0, verified.err
    assert any("has the certified fingerprint" in one for one in verified.result["passed"])
    # Deleted are the words too; the other three apples stay.
    assert inside("verify", run, "--certificate", certificate, "--id", "1-apple").code == 6
    planned = inside("forget", run, "--where", "label=fruit", "--dry-run", "--json").result
    assert planned["would_forget"] == 15
    assert planned["folded_again"] > 0
    approximate = inside("forget", run, "--where", "label=fruit", "--approximate", "--json").result
    assert approximate["forgotten"] == 15
    assert approximate["exact"] is False
    assert inside("verify", run, "--certificate", approximate["certificate"]).code == 6


def test_tables_are_for_people(tmp_path: Path, inside: Run, small: list[str], make_codes: MakeCodes) -> None:
    run = tmp_path / "run"
    ended = inside("learn", make_codes(tmp_path / "s.parquet", 60), "--out", run, *small)
    assert ended.code == 0, ended.err
    for part in ("examples", "60", "prequential accuracy", "report.html"):
        assert part in ended.out
    again = inside("learn", tmp_path / "s.parquet", "--out", run)
    assert "Nothing is left to learn" in again.err
    test = make_codes(tmp_path / "t.parquet", 20, start=500)
    assert "accuracy" in inside("evaluate", run, test).out
    forgotten = inside("forget", run, "--id", "m1")
    assert "fingerprint after" in forgotten.out
    other = tmp_path / "other"
    inside("learn", make_codes(tmp_path / "u.parquet", 60, start=60), "--out", other, *small)
    merged = inside("merge", run, other, "--out", tmp_path / "merged")
    assert merged.code == 0, merged.err
    assert "120" in merged.out


def test_a_config_file_and_options_over_it(
    tmp_path: Path, inside: Run, small: list[str], make_codes: MakeCodes
) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("seed: 3\nstream: {batch_size: 7}\n", encoding="utf-8")
    stream = make_codes(tmp_path / "s.parquet", 40)
    run = tmp_path / "run"
    ended = inside("learn", stream, "--out", run, "--config", path, *small, "--keep-text")
    assert ended.code == 0, ended.err
    config = json.loads((run / "run.json").read_text(encoding="utf-8"))["config"]
    assert (config["seed"], config["stream"]["batch_size"], config["run"]["keep_text"]) == (3, 32, True)


def test_without_out_a_folder_is_made(
    tmp_path: Path, inside: Run, small: list[str], make_codes: MakeCodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_codes(tmp_path / "s.parquet", 40)
    assert inside("learn", "s.parquet", *small).code == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("s-")


def test_every_option_is_a_setting_that_exists() -> None:
    known = dict(flatten_settings(RunConfig().to_mapping()))
    assert {one.path for settings in SETTINGS_OF.values() for one in settings} <= set(known)


@pytest.mark.parametrize(
    ("text", "size"),
    [("512MB", 512 * 10**6), ("2GiB", 2**31), ("1.5k", 1500), ("100", 100), ("3 MiB", 3 * 2**20), ("7B", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert options.parse_size(text) == size


def test_wrong_sizes_and_pairs_are_usage_errors(tmp_path: Path, inside: Run) -> None:
    ended = inside("learn", "x.jsonl", "--memory-budget", "much")
    assert ended.code == 2
    assert "is no size" in ended.err
    ended = inside("forget", tmp_path, "--where", "customer")
    assert ended.code == 2


def test_help_names_every_command_quickly() -> None:
    subprocess.run([sys.executable, "-m", "everlearn", "--help"], capture_output=True, check=True)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "everlearn", "--help"], capture_output=True, text=True
    )
    seconds = time.perf_counter() - start
    for command in app.registered_commands:
        assert command.callback is not None
        assert command.callback.__name__ in done.stdout
    for heavy in ("torch", "transformers", "plotly", "pyarrow", "scipy"):
        assert f"| {heavy}\n" not in done.stderr.replace("  ", ""), heavy
    # Alone on a machine it takes a quarter of a second; others may be at work here.
    assert seconds < 3


@pytest.mark.parametrize(
    "command", ["learn", "encode", "predict", "evaluate", "forget", "merge", "report", "demo"]
)
def test_every_command_explains_every_option(inside: Run, command: str) -> None:
    ended = inside(command, "--help")
    assert ended.code == 0
    assert "Usage" in ended.out


def test_version(inside: Run) -> None:
    assert inside("--version").out.startswith("everlearn ")
