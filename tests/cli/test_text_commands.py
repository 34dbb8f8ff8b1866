"""The commands over runs of language models and encoder-decoders: what they print, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.runtime.text_runs import (
    corpus,
    language_settings,
    learn,
    translation_settings,
    write_language_model,
    write_pairs,
    write_translator,
)

Run = Callable[..., Any]

SMALL = [
    "--lanes",
    "2",
    "--chunk-length",
    "16",
    "--tokens-per-step",
    "64",
    "--window",
    "32",
    "--threads",
    "1",
]
_SMALL = [*SMALL, "--dtype", "float32", "--device", "cpu", "--learning-rate", "0.003"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def novel(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A run of a language model, with two versions."""
    folder = tmp_path_factory.mktemp("novel")
    learn(corpus(folder / "one.txt", 3), folder / "run", language_settings(model))
    learn(corpus(folder / "two.txt", 3, seed=1), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("translator")
    settings = translation_settings(write_translator(folder / "tiny"))
    learn(write_pairs(folder / "pairs.jsonl", 24), folder / "run", settings)
    return folder / "run"


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal in which no table is broken."""
    monkeypatch.setenv("COLUMNS", "200")


def test_the_whole_way_of_a_language_model(tmp_path: Path, inside: Run, model: Path) -> None:
    stream, test = corpus(tmp_path / "novel.txt", 6), corpus(tmp_path / "test.txt", 2, seed=7)
    run = tmp_path / "run"
    given = ["--task", "lm", "--model", model, *_SMALL, "--replay", "20", "--method", "anchor"]
    learned = inside("learn", stream, "--out", run, "--test", test, *given)
    assert learned.code == 0, learned.err
    for part in ("prequential bits per byte", "test bits per byte", "tokens a second", "report.html"):
        assert part in learned.out
    again = inside("learn", stream, "--out", run, "--json")
    assert again.code == 0, again.err
    assert "Nothing is left to learn" in again.err
    assert again.result["tokens"] > again.result["bytes"] > 0
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))["learner"]["config"]
    assert set(record["methods"]) == {"replay", "anchor"}
    assert record["learner"]["carry"]["window"] == 32

    table = inside("evaluate", run, stream, test).out
    assert [line.split()[0] for line in table.splitlines()] == ["domain", "all", "novel", "test"]
    one = inside("evaluate", run, test, "--json").result
    adapted = inside("evaluate", run, test, "--adapt", "--json").result
    assert adapted["bits_per_byte"] < one["bits_per_byte"]
    assert adapted["fingerprint"] == one["fingerprint"] == again.result["fingerprint"]
    told = inside("evaluate", run, test, "--forget-documents")
    assert (told.code, told.err) == (2, "error: --forget-documents is given, but --adapt is not\n")

    prompt = ["--prompt", "the cat", "--max-new-tokens", "8"]
    written = inside("generate", run, *prompt, "--json").result
    assert written["prompt"] == "the cat"
    assert inside("generate", run, *prompt, "--stream").out == written["text"] + "\n"
    assert inside("generate", run, *prompt[2:], "--prompt", "-", stdin="the cat").code == 0
    refused = inside("generate", run, *prompt, "--temperature", "-1")
    assert refused.code == 2
    assert "--temperature must be 0 or more" in refused.err
    for option, value, said in (
        ("--beams", "0", " must be a whole number of at least 1, not 0"),
        ("--beams", "1000000000000", " must be at most 64, not 1000000000000"),
        ("--max-new-tokens", "100000", ": 100000 leaves no room for a prompt"),
        ("--top-p", "2", " must be above 0 and at most 1"),
        ("--threads", "0", " must be from 1 to 1,024, not 0"),
    ):
        refused = inside("generate", run, *prompt[:2], option, value)
        assert (refused.code, refused.err.startswith(f"error: {option}{said}")) == (2, True), refused.err

    exported = inside("export", run, tmp_path / "full", "--dtype", "bfloat16")
    assert exported.code == 0, exported.err
    from transformers import AutoModelForCausalLM

    assert AutoModelForCausalLM.from_pretrained(tmp_path / "full").dtype == torch.bfloat16
    assert inside("export", run, tmp_path / "adapter", "--adapter").code == 0
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    full = inside("export", run, tmp_path / "full")
    assert full.code == 7
    assert "overwrite" in full.err
    assert inside("export", run, tmp_path / "full", "--overwrite").code == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    for target in (run, run / "model", run.parent, model, tmp_path / "mine"):
        refused = inside("export", run, target, "--overwrite")
        assert refused.code in (5, 7), refused.err
        assert refused.err.startswith("error: "), refused.err
    assert (tmp_path / "mine" / "thesis.tex").is_file()
    assert inside("verify", run).code == 0
    assert inside("export", run, tmp_path / "other", "--dtype", "int4").code == 2


def test_history_of_texts_is_shown(inside: Run, novel: Path) -> None:
    shown = inside("versions", novel)
    assert "bits/byte " in shown.out
    assert "%" not in shown.out
    difference = inside("diff", novel, "1", "2")
    assert "prequential_bits_per_byte" in difference.out
    assert "without domain" in difference.out
    blamed = inside("blame", novel, "--id", "two:1")
    assert "in the newest state  yes" in blamed.out
    verified = inside("verify", novel)
    assert verified.code == 0, verified.err
    assert inside("journal", "show", novel, "--json").result["examples"] > 6
    assert inside("review", novel).code == 0


def test_a_document_is_forgotten_by_its_id(tmp_path: Path, inside: Run, model: Path) -> None:
    run = tmp_path / "run"
    learn(corpus(tmp_path / "log.txt", 4), run, language_settings(model))
    planned = inside("forget", run, "--id", "log:2", "--dry-run", "--json").result
    forgotten = inside("forget", run, "--id", "log:2", "--json").result
    assert planned["would_forget"] == forgotten["forgotten"] == 2
    assert forgotten["exact"] is True
    verified = inside("verify", run, "--certificate", forgotten["certificate"], "--id", "log:2#1")
    assert verified.code == 0, verified.err
    back = inside("rollback", run, "1")
    assert back.code == 0, back.err  # the version held the document, and was folded again without it
    assert "version 1" in back.out
    assert inside("verify", run).code == 0


def test_translations_are_printed(tmp_path: Path, inside: Run, translator: Path) -> None:
    printed = inside("predict", translator, "the dog runs", "a cat")
    assert printed.code == 0, printed.err
    answers = inside("predict", translator, "the dog runs", "a cat", "--json").out.splitlines()
    written = [json.loads(line)["translation"] for line in answers]
    assert printed.out == "".join(f"{one}\n" for one in written)
    test = write_pairs(tmp_path / "test.jsonl", 6, seed=3)
    table = inside("evaluate", translator, test).out
    assert {"BLEU", "chrF"} <= set(table.split())
    refused = inside("evaluate", translator, test, "--adapt")
    assert refused.code == 2
    assert "adapt is for language models" in refused.err
    assert "BLEU " in inside("versions", translator).out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["predict", "RUN", "hello"], "everlearn generate"),
        (["consolidate", "RUN"], "there is nothing to consolidate"),
        (["merge", "RUN", "RUN", "--out", "OUT"], "only closed-form learners can be merged"),
        (["replay", "RUN"], "learn the stream into a new folder"),
        (["journal", "export", "RUN", "OUT.parquet"], "keeps no codes; export it as .jsonl"),
    ],
)
def test_commands_of_labels_say_what_to_use_instead(
    tmp_path: Path, inside: Run, novel: Path, translator: Path, arguments: list[str], text: str
) -> None:
    for run in (novel, translator) if arguments[0] != "predict" else (novel,):
        words = [one.replace("RUN", str(run)).replace("OUT", str(tmp_path / "out")) for one in arguments]
        refused = inside(*words)
        assert refused.code == 5, refused.err
        assert text in refused.err
        assert "fault in" not in refused.err


def test_commands_of_texts_say_what_to_use_instead(tmp_path: Path, inside: Run, make_codes: Any) -> None:
    run = tmp_path / "run"
    small = ["--features", "64", "--threads", "1"]
    assert inside("learn", make_codes(tmp_path / "s.parquet", 60), "--out", run, *small).code == 0
    for words in (["generate", run, "--prompt", "a"], ["export", run, tmp_path / "model"]):
        refused = inside(*words)
        assert refused.code == 5
        assert "a classifier's run" in refused.err
    refused = inside("evaluate", run, "a.jsonl", "b.jsonl")
    assert refused.code == 2
    assert "give one FILE" in refused.err


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["--task", "lm", "--features", "64"], "--features has no effect where --task = 'lm'"),
        (["--task", "lm", "--learner", "closed-form"], "--learner is 'closed-form', which learns labels"),
        (["--task", "lm", "--max-length", "64"], "--max-length has no effect where --task = 'lm'"),
        (["--task", "lm", "--beams", "4"], "--beams has no effect where --task = 'lm'"),
        (["--task", "seq2seq", "--window", "4"], "--window has no effect where --task = 'seq2seq'"),
        (["--window", "4"], "--window has no effect where --task = 'classify'"),
        (["--task", "seq2seq"], "no encoder-decoder comes with everlearn"),
        (["--task", "poetry"], "--task = 'poetry'"),
        (["--task", "lm", "--model", "minilm"], "is not a causal language model"),
    ],
)
def test_options_that_a_task_has_no_use_for(tmp_path: Path, inside: Run, given: list[str], text: str) -> None:
    if given == ["--task", "seq2seq", "--window", "4"]:
        given = [*given, "--model", str(tmp_path)]
    refused = inside("learn", corpus(tmp_path / "novel.txt", 1), "--out", tmp_path / "run", *given)
    assert refused.code in (2, 4), refused.err
    assert text in refused.err
    assert not (tmp_path / "run").exists()


def test_text_from_a_pipe_is_learned(tmp_path: Path, process: Run, model: Path) -> None:
    text = corpus(tmp_path / "novel.txt", 2).read_text(encoding="utf-8")
    given = ["--task", "lm", "--model", model, *_SMALL, "--json"]
    learned = process("learn", "-", "--out", tmp_path / "run", *given, stdin=text)
    assert learned.code == 0, learned.err
    assert learned.result["bytes"] == len("".join(text.strip().split("\n\n")))


def test_help_tells_of_tasks(inside: Run) -> None:
    shown = " ".join(inside("learn", "--help-all").out.split())
    for part in ("--task", "Language model (--task lm)", "Encoder-decoder (--task seq2seq)", "--carry"):
        assert part in shown
