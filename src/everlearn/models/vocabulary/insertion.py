"""New words in a tokenizer's own model, so that they tokenise as if it had been trained with them.

Nothing is cut out of the text before the tokenizer sees it (as added tokens would be): a word becomes one
token where its old pieces stand in a row, and nowhere else.

* BPE gets merges behind all others. Old merges come first, so each new token stands for a fixed row of old
  tokens, and a text without new words is tokenised as before.
* WordPiece takes the longest entry that fits; a whole word is one more entry.
* Unigram takes the most probable segmentation; a word gets a little more than its pieces have together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from everlearn.models.vocabulary.tokenizer_file import TokenizerFile

__all__ = ["Insertion", "apply_merges", "insert_words"]

# Nats that a new Unigram piece has over its pieces, times the square of its length: enough to win, too little
# to win over better ones; and a long word wins over two new ones that it is made of.
_UNIGRAM_MARGIN = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Insertion:
    """A vocabulary with new tokens.

    Attributes:
        file: The tokenizer with them.
        pieces: Old ids that each new token stands for, by new id; ascending, without gap.
        words: The words that are one token now, with their ids. Intermediate tokens of BPE are in
            ``pieces`` only.
        left_out: Words that could not be added, with the reason.
    """

    file: TokenizerFile
    pieces: dict[int, tuple[int, ...]]
    words: dict[str, int]
    left_out: dict[str, str]


def insert_words(tokenizer: Any, words: Iterable[str]) -> Insertion:
    """Add words to a tokenizer's model, in their order; the tokenizer itself stays as it is.

    A leading space is part of a word where the tokenizer counts spaces to words (" house").

    Raises:
        ModelError: The tokenizer cannot change.
    """
    old = TokenizerFile.read(tokenizer)
    model = tokenizer.backend_tokenizer.model
    new = replace(old, ids=dict(old.ids), merges=list(old.merges), scores=dict(old.scores))
    builder = _Builder(old, new, model)
    added: dict[str, int] = {}
    left_out: dict[str, str] = {}
    for word in words:
        reason = builder.add(word)
        if reason is None:
            added[word] = new.ids[new.form(word)]
        else:
            left_out[word] = reason
    return Insertion(new, builder.pieces, added, left_out)


def apply_merges(pieces: Sequence[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """Merge adjacent pieces, lowest rank first and from the left, until no pair has a rank."""
    merged = list(pieces)
    while len(merged) > 1:
        # Python's min takes the first of equals: the leftmost.
        best = min(range(len(merged) - 1), key=lambda k: ranks.get((merged[k], merged[k + 1]), len(ranks)))
        if (merged[best], merged[best + 1]) not in ranks:
            break
        merged[best : best + 2] = [merged[best] + merged[best + 1]]
    return merged


class _Builder:
    """Adds words one after the other and keeps what each new token stands for."""

    def __init__(self, old: TokenizerFile, new: TokenizerFile, model: Any) -> None:
        self._old = old
        self._new = new
        self._model = model
        self._next_id = max(old.ids.values()) + 1
        self._ranks: dict[tuple[str, str], int] = {}
        self.pieces: dict[int, tuple[int, ...]] = {}

    def add(self, word: str) -> str | None:
        """Add one word; the reason where that cannot be."""
        form = self._new.form(word)
        if not form:
            return "it is empty"
        tokens = [(token.value, token.id) for token in self._model.tokenize(form)]
        if not tokens:
            return "the tokenizer drops it"
        match self._new.kind:
            case "BPE":
                return self._add_merges(form, [value for value, _ in tokens])
            case "WordPiece":
                return self._add_entry(form, [id_ for _, id_ in tokens])
            case "Unigram":
                unknown = self._old.spec["model"].get("unk_id")
                if any(id_ == unknown for _, id_ in tokens):
                    return "a part of it is unknown to the tokenizer"
                scores = [self._new.scores[value] for value, _ in tokens]
                reason = self._add_entry(form, [id_ for _, id_ in tokens])
                if reason is None:
                    self._new.scores[form] = sum(scores) + _UNIGRAM_MARGIN * len(form) ** 2
                return reason

    def _add_entry(self, form: str, pieces: list[int]) -> str | None:
        if form in self._new.ids:
            return "it is one token already"
        self._new_token(form, pieces)
        return None

    def _add_merges(self, form: str, tokens: list[str]) -> str | None:
        if "".join(tokens) != form:  # the unknown token, or bytes of a fallback
            return "a part of it is unknown to the tokenizer"
        pieces = apply_merges(tokens, self._ranks)
        if len(pieces) == 1:
            return "it is one token already"
        while len(pieces) > 1:
            left, right = pieces[:2]
            self._ranks[left, right] = len(self._ranks)
            self._new.merges.append((left, right))
            if left + right not in self._new.ids:
                self._new_token(left + right, [*self._expand(left), *self._expand(right)])
            # The pair may stand in the word again, so all of it is merged anew.
            pieces = apply_merges(pieces, self._ranks)
        return None

    def _new_token(self, form: str, pieces: list[int]) -> None:
        self._new.ids[form] = self._next_id
        self.pieces[self._next_id] = tuple(pieces)
        self._next_id += 1

    def _expand(self, token: str) -> tuple[int, ...]:
        id_ = self._new.ids[token]
        return self.pieces.get(id_, (id_,))
