"""Tiny models in folders, small streams of documents and pairs, and the settings of runs over them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from tests.learning_language.conftest import tiny_language_model
from tests.learning_seq2seq.pairs_of_words import word_pairs
from transformers import AutoTokenizer

from everlearn.models.language.small_seq2seq import small_seq2seq
from everlearn.runtime.commands.learn import LearnOutcome, LearnRequest, learn_stream
from everlearn.runtime.fold.fold import Fold
from everlearn.runtime.interruption import StopFlag
from everlearn.runtime.listener import Progress

__all__ = [
    "CHAT_TEMPLATE",
    "Crash",
    "StopAfter",
    "corpus",
    "crash_at_step",
    "documents",
    "language_settings",
    "learn",
    "records",
    "rejections",
    "spoil",
    "translation_settings",
    "write_jsonl",
    "write_language_model",
    "write_pairs",
    "write_translator",
]

Settings = dict[str, Any]

CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<s>' + m['role'] + ': ' + m['content'] + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant: ' }}{% endif %}"
)
_SENTENCES = (
    "the cat sat on the mat",
    "a dog ran over the hill",
    "rain fell all day long",
    "she read the old book",
    "nobody saw the ship again",
)


def write_language_model(
    folder: Path, seed: int = 0, *, chat: bool = True, tokenizer: Any = None, **settings: object
) -> Path:
    """A folder with a Llama of two layers that reads bytes; no token is for padding."""
    made = tiny_language_model(seed, **settings)
    used = made.tokenizer if tokenizer is None else tokenizer
    if chat:
        used.chat_template = CHAT_TEMPLATE
    made.model.save_pretrained(folder)
    used.save_pretrained(folder)
    return folder


def write_translator(folder: Path) -> Path:
    """A folder with an encoder-decoder of one layer a side."""
    texts = [text for pair in word_pairs(200) for text in (pair.text or "", pair.target or "")]
    made = small_seq2seq(texts, vocab_size=300, hidden_size=32, layers=1, heads=2, max_length=32, dropout=0.0)
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    return folder


def language_settings(model: Path, **changed: Any) -> Settings:
    """Settings of a run of a tiny language model; ``changed`` has __ where a path has a dot."""
    settings: Settings = {
        "task": "lm",
        "model.name": str(model),
        "model.dtype": "float32",
        "model.device": "cpu",
        "learner.language.lanes": 2,
        "learner.language.chunk_length": 32,
        "learner.language.tokens_per_step": 64,
        "learner.language.window": 32,
        "learner.language.sinks": 2,
        "learner.gradient.learning_rate": 3e-3,
        "learner.gradient.warmup_steps": 2,
        "learner.gradient.replay": 40,
        "stream.piece_bytes": 64,
        "run.threads": 1,
    }
    return settings | {name.replace("__", "."): value for name, value in changed.items()}


def translation_settings(model: Path, **changed: Any) -> Settings:
    """Settings of a run of a tiny encoder-decoder."""
    settings: Settings = {
        "task": "seq2seq",
        "model.name": str(model),
        "model.dtype": "float32",
        "model.device": "cpu",
        "learner.gradient.learning_rate": 5e-3,
        "learner.gradient.warmup_steps": 5,
        "learner.gradient.replay": 40,
        "stream.batch_size": 8,
        "run.threads": 1,
    }
    return settings | {name.replace("__", "."): value for name, value in changed.items()}


def documents(count: int, *, seed: int = 0, sentences: int = 4) -> list[str]:
    """Texts of a few sentences each."""
    generator = random.Random(seed)
    return [". ".join(generator.choices(_SENTENCES, k=sentences)) + "." for _ in range(count)]


def corpus(path: Path, count: int = 12, *, seed: int = 0, sentences: int = 4) -> Path:
    """A text file of documents between blank lines."""
    path.write_text("\n\n".join(documents(count, seed=seed, sentences=sentences)) + "\n", encoding="utf-8")
    return path


def write_jsonl(path: Path, records: Iterable[dict[str, Any]]) -> Path:
    """A file of JSON lines."""
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return path


def spoil(model: Path, token: str) -> Path:
    """Make what a model knows of a token no number at all."""
    number = AutoTokenizer.from_pretrained(model).convert_tokens_to_ids(token)
    weights = load_file(model / "model.safetensors")
    name = next(
        name
        for name in weights
        if name.endswith(("embed_tokens.weight", "shared.weight", "word_embeddings.weight"))
    )
    weights[name][number] = float("nan")
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    return model


def records(bad: set[int], count: int = 10) -> list[dict[str, Any]]:
    """Documents, of which these hold an "@"."""
    texts = documents(count, sentences=3)
    return [
        {"id": f"doc-{k}", "text": f"mail {text} @ home" if k in bad else text}
        for k, text in enumerate(texts)
    ]


def rejections(run: Path) -> list[dict[str, Any]]:
    """What a run has told of records that gave no example."""
    return [json.loads(line) for line in (run / "rejected.jsonl").read_text().splitlines()]


def write_pairs(path: Path, count: int, *, seed: int = 0, domain: str | None = None) -> Path:
    """Pairs of ``source`` and ``target``, each with an id."""
    return write_jsonl(
        path,
        (
            {"id": one.id, "source": one.text, "target": one.target, "domain": domain}
            for one in word_pairs(count, seed, longest=4)
        ),
    )


def learn(stream: Path, run: Path, settings: Settings | None = None, **more: Any) -> LearnOutcome:
    """``learn`` in this process; ``batches`` stops after so many."""
    listener = StopAfter(more.pop("batches", 10**9))
    request = LearnRequest(stream=str(stream), out=run, settings=settings or {}, **more)
    return learn_stream(request, listener=listener, stop=listener.flag)


class StopAfter:
    """A listener that asks for a stop after some batches."""

    def __init__(self, batches: int) -> None:
        self.flag = StopFlag()
        self._left = batches

    def stage(self, text: str) -> None:
        pass

    def progress(self, progress: Progress) -> None:
        self._left -= 1
        self.flag.requested = self.flag.requested or self._left <= 0


class Crash(BaseException):
    """Nothing may catch it, as nothing catches a power failure."""


def crash_at_step(number: int) -> Callable[..., Any]:
    """In place of ``Fold.make``: the process dies when a step is journaled, but not made yet."""
    make = Fold.make

    def crashing(self: Fold, step: Any, predictions: Any) -> Any:
        if step.step.step == number:
            raise Crash
        return make(self, step, predictions)

    return crashing
