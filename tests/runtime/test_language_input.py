"""Odd documents, models and settings: what a run of a language model makes of them, or says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from tests.learning_language.conftest import byte_tokenizer
from tests.runtime.text_runs import (
    corpus,
    documents,
    language_settings,
    learn,
    write_jsonl,
    write_language_model,
)
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from everlearn.errors import ConfigError, InputError, ModelError
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.verify import verify_run

Settings = dict[str, Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("models") / "tiny", chat=False)


@pytest.fixture
def settings(model: Path) -> Settings:
    return language_settings(model)


def language_of(run: Path) -> dict[str, Any]:
    with RunFolder.open_to_read(run) as folder:
        found: dict[str, Any] = folder.record.learner.config["learner"]
        return found


def reasons_of(run: Path) -> list[str]:
    lines = (run / "rejected.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["reason"] for line in lines]


def test_a_tokenizer_without_any_special_token(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    bare: Any = PreTrainedTokenizerFast
    without = bare(tokenizer_object=tokenizer.backend_tokenizer)
    assert without.pad_token_id is without.eos_token_id is without.bos_token_id is None
    folder = write_language_model(tmp_path / "model", chat=False, tokenizer=without)
    texts = ["a", "the cat sat on the mat", "b"]
    stream = write_jsonl(tmp_path / "s.jsonl", ({"text": text} for text in texts))
    run = tmp_path / "run"
    summary = learn(stream, run, language_settings(folder)).summary
    assert summary["examples"] == summary["learned"] == 3
    assert summary["tokens"] == len(texts[1]) - 1  # nothing predicts a first token
    assert verify_run(run).is_valid
    alone = learn(
        write_jsonl(tmp_path / "a.jsonl", [{"text": "x"}]), tmp_path / "b", language_settings(folder)
    )
    assert alone.summary["tokens"] == 0
    assert alone.summary["prequential_bits_per_byte"] is None
    assert learn(stream, tmp_path / "b").summary["tokens"] == summary["tokens"]


def test_short_mixed_and_empty_texts(tmp_path: Path, settings: Settings) -> None:
    texts = [
        "x",
        "ä",
        "日本語の文章と中文的句子。",
        "русский текст, ελληνικά, עברית, العربية",
        "🤗🎉\u200d",
        "<s></s>",
    ]
    run = tmp_path / "run"
    stream = write_jsonl(tmp_path / "s.jsonl", ({"text": text} for text in [*texts, "", "   ", None]))
    summary = learn(stream, run, settings).summary
    assert summary["bytes"] == sum(len(text.encode()) for text in texts)
    assert summary["tokens"] == summary["bytes"] + len(texts)
    assert summary["rejected"] == 3
    for name, content in (("empty.txt", ""), ("blank.txt", " \n\n\t\n"), ("empty.jsonl", "")):
        (tmp_path / name).write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=rf"{name} (is empty|has no usable example)"):
            learn(tmp_path / name, tmp_path / "none", settings)
        assert not (tmp_path / "none").exists()
    (tmp_path / "binary.txt").write_bytes(b"a text\n\n\xff\xfe\0\n\nanother one\n")
    binary = learn(tmp_path / "binary.txt", tmp_path / "other", settings).summary
    assert (binary["examples"], binary["rejected"]) == (2, 1)


def doubling_tokenizer() -> Any:
    """Tokens of up to 1,024 equal letters, so that much text is few tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("a" * 2**k, "a" * 2**k) for k in range(10)]
    tokens = ["<s>", "</s>", *letters, *("a" * 2 ** (k + 1) for k in range(10))]
    backend = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    fast: Any = PreTrainedTokenizerFast
    return fast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")


def test_a_line_of_three_megabytes_is_read_in_pieces(tmp_path: Path) -> None:
    folder = write_language_model(
        tmp_path / "model", chat=False, tokenizer=doubling_tokenizer(), vocab_size=268
    )
    text = ("a" * 1_024 + " ") * 3_000
    (tmp_path / "line.txt").write_text(text, encoding="utf-8")
    settings = language_settings(folder, stream__piece_bytes=16_384, learner__gradient__replay=0)
    settings |= {"learner.language.tokens_per_step": 512, "learner.language.chunk_length": 256}
    before = psutil.Process().memory_info().rss
    run = tmp_path / "run"
    summary = learn(tmp_path / "line.txt", run, settings).summary
    assert summary["bytes"] == len(text)
    assert 187 < summary["examples"] <= 200
    assert psutil.Process().memory_info().rss - before < 120e6
    with RunFolder.open_to_read(run) as folder_of_run:
        pieces = [one.example for _, one in folder_of_run.journal.examples.arrivals(1, 300)]
    assert {one.fields["document"] for one in pieces} == {"line:1"}
    assert [one.fields["last"] for one in pieces] == [False] * (len(pieces) - 1) + [True]


def test_a_model_whose_cache_is_of_no_known_kind(tmp_path: Path) -> None:
    from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel

    folder = tmp_path / "model"
    torch.manual_seed(0)
    config = OpenAIGPTConfig(vocab_size=258, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    OpenAIGPTLMHeadModel(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    stream = corpus(tmp_path / "corpus.txt", 4)
    settings = language_settings(folder, learner__gradient__trainable="all", learner__language__window=8)
    with pytest.raises(ModelError, match="no cache of one known kind; set carry to 'none'"):
        learn(stream, tmp_path / "run", settings)
    assert not (tmp_path / "run").exists()
    carried = ("learner.language.window", "learner.language.sinks")
    settings = {name: value for name, value in settings.items() if name not in carried}
    outcome = learn(stream, tmp_path / "run", settings | {"learner.language.carry": "none"})
    assert outcome.summary["prequential_bits_per_byte"] < 9
    assert verify_run(tmp_path / "run").is_valid


def test_chats_without_a_template_are_refused_one_by_one(tmp_path: Path, settings: Settings) -> None:
    messages = [{"role": "user", "content": "hello?"}, {"role": "assistant", "content": "hello."}]
    chat = write_jsonl(tmp_path / "chat.jsonl", [{"messages": messages}])
    with pytest.raises(InputError, match=r"no usable example: its only record was rejected: .*chat template"):
        learn(chat, tmp_path / "none", settings)
    mixed = write_jsonl(tmp_path / "mixed.jsonl", [{"messages": messages}, {"text": "a text"}])
    assert learn(mixed, tmp_path / "run", settings).summary["examples"] == 1
    assert "chat template" in reasons_of(tmp_path / "run")[0]


def test_lengths_are_made_to_fit_a_small_model_unless_they_are_given(tmp_path: Path) -> None:
    folder = write_language_model(tmp_path / "model", chat=False, max_position_embeddings=128)
    stream = corpus(tmp_path / "corpus.txt", 4)
    settings = language_settings(folder, learner__language__chunk_length=None)
    settings["learner.language.window"] = None
    run = tmp_path / "run"
    learn(stream, run, settings, batches=1)
    found = language_of(run)
    assert (found["chunk_length"], found["carry"]["window"]) == (64, 128 - 2 - 64)
    learn(stream, run)
    assert verify_run(run).is_valid
    learn(stream, tmp_path / "short", settings | {"learner.language.chunk_length": 16})
    assert language_of(tmp_path / "short")["carry"]["window"] == 128 - 2 - 16
    learn(stream, tmp_path / "whole", settings | {"learner.language.window": 0})
    assert language_of(tmp_path / "whole")["carry"]["window"] is None
    for changed, text in (
        ({"learner.language.window": 100}, r"window of 100 does not fit: with 2 sinks and chunks of 64"),
        ({"learner.language.chunk_length": 200}, "chunk_length must be at most 128 tokens"),
    ):
        with pytest.raises(ConfigError, match=text):
            learn(stream, tmp_path / "none", settings | changed)
    rope = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    changing = write_language_model(tmp_path / "rope", chat=False, rope_parameters=rope)
    with pytest.raises(
        ConfigError, match=r"window of 0, the whole document, does not fit: .* beyond 2048 tokens"
    ):
        learn(stream, tmp_path / "none", language_settings(changing, learner__language__window=0))
    assert not (tmp_path / "none").exists()


def test_a_table_with_fields_of_our_names(tmp_path: Path, settings: Settings) -> None:
    rows = [
        f'{k},"{text}",{k % 2},report {k % 3},{"yes" if k else "no"}' for k, text in enumerate(documents(6))
    ]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(["id,text,part,document,last", *rows]) + "\n", encoding="utf-8")
    summary = learn(path, tmp_path / "run", settings | {"stream.piece_bytes": 1_000}).summary
    assert summary["examples"] == 6
    assert summary["tokens"] == summary["bytes"] + 6  # six documents


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"learner.closed_form.num_features": 64}, "num_features has no effect where task = 'lm'"),
        ({"learner.kind": "closed-form"}, "learner.kind is 'closed-form', which learns labels"),
        ({"model.max_length": 128}, "model.max_length has no effect"),
        ({"learner.translation.beams": 4}, "learner.translation.beams has no effect"),
        ({"learner.gradient.head_learning_rate": 1e-3}, "head_learning_rate has no effect"),
        ({"stream.delay": 5}, "stream.delay has no effect"),
        ({"stream.order": "by-class"}, "stream.order is 'by-class'"),
        ({"task": "classify", "learner.language.lanes": 2}, "learner.[a-z_.]* has no effect where"),
        ({"task": "seq2seq"}, "learner.language.[a-z_]* has no effect where task = 'seq2seq'"),
    ],
)
def test_settings_that_a_task_has_no_use_for(
    tmp_path: Path, settings: Settings, given: Settings, text: str
) -> None:
    with pytest.raises(ConfigError, match=text):
        learn(corpus(tmp_path / "corpus.txt", 2), tmp_path / "run", settings | given)
    assert not (tmp_path / "run").exists()


def test_a_settings_file_may_spell_defaults_out(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("model: {max_length: 256}\nlearner: {kind: closed-form}\n", encoding="utf-8")
    stream = corpus(tmp_path / "corpus.txt", 2)
    assert learn(stream, tmp_path / "run", settings, config_file=path).summary["examples"] > 2
    path.write_text("model: {max_length: 128}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"model\.max_length has no effect"):
        learn(stream, tmp_path / "other", settings, config_file=path)


def test_a_run_keeps_its_methods(tmp_path: Path, settings: Settings) -> None:
    stream = corpus(tmp_path / "corpus.txt", 4)
    run = tmp_path / "run"
    learn(stream, run, settings | {"learner.gradient.methods": {"anchor": {}}}, batches=1)
    with pytest.raises(ConfigError, match=r"learner\.gradient\.methods is \{'anchor'"):
        learn(stream, run, {"learner.gradient.methods": {"distillation": {}}})
    assert not learn(stream, run, {"learner.gradient.methods": {"anchor": {}}}).interrupted
    assert verify_run(run).is_valid
