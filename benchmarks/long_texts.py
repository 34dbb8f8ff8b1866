"""Long texts of many kinds: those that a default is chosen on, and others of the same kinds, never looked at.

No text of one list is in the other: books and articles come from training parts for choosing and from test
parts otherwise, and what has no test part that is long enough (speeches, languages, source code, posts) is
another speech, language, module or group.
"""

from __future__ import annotations

import gzip
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.datasets import data_folder, split_path
from everlearn.models.language.causal import LanguageModel
from everlearn.models.language.tokens import tokenize_document

__all__ = ["CHOOSING", "UNSEEN", "IntArray", "first_tokens", "plain_text"]

IntArray = npt.NDArray[np.int32]
Texts = Mapping[str, Callable[[str | None], str]]


def plain_text(name: str, split: str, data: str | None) -> str:
    """A text data set that is one text.

    Args:
        name: Of the set.
        split: "train" or "test".
        data: The folder of data sets; None: where ``benchmarks.datasets`` looks.
    """
    with gzip.open(data_folder(data) / name / f"{split}.txt.gz", "rt", encoding="utf-8") as file:
        return file.read()


def first_tokens(loaded: LanguageModel, text: str, count: int) -> IntArray:
    """The first ``count`` tokens of a text (T,), its beginning marked as the model does.

    Raises:
        ValueError: The text is shorter.
    """
    # Far more characters than the tokens have, far fewer than a book.
    ids = tokenize_document(loaded.tokenizer, text[: 12 * count], starts=True, ends=False).ids[:count]
    if len(ids) < count:
        raise ValueError(f"the text has only {len(ids):,} tokens")
    return ids


def _book(name: str, split: str, start: int = 0) -> Callable[[str | None], str]:
    return lambda data: plain_text(name, split, data)[start:]


def _records(name: str, split: str, data: str | None) -> Iterable[dict[str, Any]]:
    with gzip.open(split_path(name, split, data), "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def _speech(rank: int) -> Callable[[str | None], str]:
    """The speech that is the ``rank``-th longest."""

    def text(data: str | None) -> str:
        speeches: dict[str, list[str]] = {}
        for record in _records("lm_presidential_dated", "train", data):
            speeches.setdefault(f"{record['domain']} {record['date']}", []).append(record["text"])
        joined = sorted((" ".join(pieces) for pieces in speeches.values()), key=len, reverse=True)
        return joined[rank - 1]

    return text


def _joined(name: str, split: str, field: str, value: str) -> Callable[[str | None], str]:
    """The texts of one domain or label, one after another."""

    def text(data: str | None) -> str:
        chosen = [record["text"] for record in _records(name, split, data) if record[field] == value]
        return "\n\n".join(chosen)

    return text


def _module(name: str) -> Callable[[str | None], str]:
    """The source of a module of Python's standard library."""
    return lambda _: inspect.getsource(import_module(name))


CHOOSING: Texts = {
    "novel": _book("lm_moby_dick", "train", 400_000),
    "plays": _book("lm_shakespeare", "train", 300_000),
    "encyclopaedia": _book("lm_wikitext2", "train"),
    "poems (zh)": _book("lm_song_poetry_zh", "train"),
    "speech": _speech(5),
    "scripture (en)": _joined("lm_genesis_6languages", "train", "domain", "english"),
    "scripture (fi)": _joined("lm_genesis_6languages", "train", "domain", "finnish"),
    "source code": _module("argparse"),
    "posts": _joined("20newsgroups", "train", "label", "sci.electronics"),
    "reviews": _joined("amazon_reviews_4domains", "train", "domain", "dvd"),
}
"""Texts that a default may be chosen on, by kind."""

UNSEEN: Texts = {
    "novel": _book("lm_moby_dick", "test"),
    "plays": _book("lm_shakespeare", "test"),
    "encyclopaedia": _book("lm_wikitext2", "test", 200_000),
    "poems (zh)": _book("lm_song_poetry_zh", "test"),
    "speech": _speech(3),
    "scripture (fr)": _joined("lm_genesis_6languages", "train", "domain", "french"),
    "scripture (sv)": _joined("lm_genesis_6languages", "train", "domain", "swedish"),
    "source code": _module("tarfile"),
    "source code 2": _module("typing"),
    "posts": _joined("20newsgroups", "test", "label", "rec.autos"),
    "reviews": _joined("amazon_reviews_4domains", "test", "domain", "kitchen"),
    "reviews (zh)": _joined("shopping_reviews_10domains_zh", "test", "label", "positive"),
}
"""Texts that no default was chosen on."""
