"""Watching how a tokenizer splits a stream: tokens a word by domain, and what comes often in many tokens."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

from everlearn.errors import ConfigError, StateError
from everlearn.models.vocabulary.counter import FrequentCounter
from everlearn.models.vocabulary.scripts import spaceless_runs, split_units
from everlearn.models.vocabulary.tokenizer_file import TokenizerFile
from everlearn.types import State

__all__ = ["Fertility", "VocabularyWatch", "WatchConfig"]

_CACHED_FORMS = 65_536


@dataclass(frozen=True, kw_only=True)
class WatchConfig:
    """What is counted, and in how much memory.

    Attributes:
        max_bytes: Bound of the counts of candidates; see ``FrequentCounter``.
        max_characters: Longest candidate in scripts without spaces between words.
        max_word_length: Longest candidate elsewhere, in characters.

    Raises:
        ConfigError: Names the field and the value.
    """

    max_bytes: int = 16_000_000
    max_characters: int = 4
    max_word_length: int = 32

    def __post_init__(self) -> None:
        for name, least in (("max_bytes", 1_000), ("max_characters", 1), ("max_word_length", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, not {getattr(self, name)!r}")


@dataclass(frozen=True, slots=True)
class Fertility:
    """How a tokenizer splits the texts of a domain.

    Attributes:
        num_tokens: Tokens, without special ones.
        num_word_tokens: Those in words; the others are punctuation and space.
        num_words: Words; in scripts without spaces between words, characters.
        num_bytes: UTF-8 bytes.
    """

    num_tokens: int = 0
    num_word_tokens: int = 0
    num_words: int = 0
    num_bytes: int = 0

    @property
    def tokens_per_word(self) -> float:
        """1 is the least that words allow; 0.0 without words."""
        return self.num_word_tokens / self.num_words if self.num_words else 0.0

    def plus(self, other: Fertility, sign: int = 1) -> Fertility:
        """The sums of both; or the differences, with ``sign`` -1."""
        return Fertility(*(getattr(self, f.name) + sign * getattr(other, f.name) for f in fields(self)))


class VocabularyWatch:
    """Counts of a stream, from which ``propose`` picks new words.

    A candidate is what the tokenizer's own splitting into words yields and its model then breaks into several
    tokens, with the space before it where the tokenizer counts it to the word. In scripts without spaces
    between words, it is every run of up to ``max_characters`` characters within such a piece.

    Args:
        tokenizer: A fast tokenizer of ``transformers``. After a growth, make a new watch.
        config: What is counted.

    Raises:
        ModelError: The tokenizer is of a kind that cannot grow.
    """

    def __init__(self, tokenizer: Any, config: WatchConfig | None = None) -> None:
        self.tokenizer = tokenizer
        self.config = config or WatchConfig()
        self.candidates = FrequentCounter(self.config.max_bytes)
        self._file = TokenizerFile.read(tokenizer)
        self._backend = tokenizer.backend_tokenizer
        self._model = self._backend.model
        self._fertility: dict[str, Fertility] = {}
        self._num_tokens = lru_cache(_CACHED_FORMS)(self._tokens_of_form)

    @property
    def fertility(self) -> Mapping[str, Fertility]:
        """By domain, in order of name; examples without one are under ""."""
        return dict(sorted(self._fertility.items()))

    def update(self, text: str, domain: str | None = None) -> Fertility:
        """Count one text; returns what it added."""
        measured, found = self._measure(text)
        self.candidates.add(found)
        name = domain or ""
        self._fertility[name] = self._fertility.get(name, Fertility()).plus(measured)
        return measured

    def remove(self, text: str, domain: str | None = None) -> None:
        """Take a text out again that was counted; exact while no candidate had to make room."""
        measured, found = self._measure(text)
        self.candidates.remove(found)
        name = domain or ""
        left = self._fertility.get(name, Fertility()).plus(measured, -1)
        if left.num_bytes > 0:
            self._fertility[name] = left
        else:
            self._fertility.pop(name, None)

    def num_tokens(self, word: str) -> int:
        """Tokens that a word costs; one more than that where the tokenizer does not know a part of it."""
        return self._num_tokens(self._file.form(word))

    def state(self) -> State:
        """Counts and figures; the tokenizer is not part of it."""
        return State(
            tensors={},
            data={
                "candidates": dict(self.candidates.items()),
                "num_lost": self.candidates.num_lost,
                "fertility": {name: asdict(fertility) for name, fertility in self.fertility.items()},
            },
        )

    def restore(self, state: State) -> None:
        """Replace everything counted.

        Raises:
            StateError: The state is of another kind.
        """
        try:
            fertility = {name: Fertility(**counts) for name, counts in state.data["fertility"].items()}
            self.candidates.load(state.data["candidates"], int(state.data["num_lost"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise StateError(f"this is no state of a vocabulary watch: {error!r}") from error
        self._fertility = fertility

    def _measure(self, text: str) -> tuple[Fertility, Counter[str]]:
        forms = list(self._forms(text))
        num_tokens = num_word_tokens = num_words = 0
        found: Counter[str] = Counter()
        for form in forms:
            cost = self._num_tokens(form)
            word = self._file.word(form)
            units = split_units(word) if word is not None else []
            num_tokens += cost
            num_words += len(units)
            num_word_tokens += cost if units else 0
            if word is not None and units and cost > 1:
                found.update(self._candidates(word))
        num_bytes = len(text.encode("utf-8", "surrogatepass"))
        return Fertility(num_tokens, num_word_tokens, num_words, num_bytes), found

    def _forms(self, text: str) -> Iterator[str]:
        """The pieces that the tokenizer's model is given one by one."""
        backend = self._backend
        if backend.normalizer is not None:
            text = backend.normalizer.normalize_str(text)
        pieces = [text] if backend.pre_tokenizer is None else backend.pre_tokenizer.pre_tokenize_str(text)
        for piece in pieces:
            form = piece if isinstance(piece, str) else piece[0]
            # Without pre-tokenizer the model is given the whole text; words begin at the sign for a space.
            yield from re.split("(?=\u2581)", form) if self._file.has_metaspace else [form]

    def _candidates(self, word: str) -> Iterator[str]:
        runs = list(spaceless_runs(word))
        if not runs:
            if len(word) <= self.config.max_word_length:
                yield word
            return
        # WordPiece writes what continues a word differently; its pre-tokenizer yields such characters singly.
        longest = 1 if self._file.kind == "WordPiece" else self.config.max_characters
        for run in runs:
            for length in range(1, min(longest, len(run)) + 1):
                for start in range(len(run) - length + 1):
                    part = run[start : start + length]
                    if length > 1 or self.num_tokens(part) > 1:
                        yield part

    def _tokens_of_form(self, form: str) -> int:
        tokens = self._model.tokenize(form)
        unknown = self._file.spec["model"].get("unk_token")
        # What is read as unknown is lost, which is worse than being split.
        return len(tokens) + (1 if unknown is not None and any(t.value == unknown for t in tokens) else 0)
