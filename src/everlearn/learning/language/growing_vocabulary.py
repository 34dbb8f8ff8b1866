"""A language model's vocabulary that follows its stream: watched at first, then grown once, then trained.

L: tokens of a row, V: tokens before the growth, N: new tokens, H: hidden size.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from everlearn.context import NO_LABEL
from everlearn.errors import ModelError, StateError
from everlearn.learning.gradient.training import Training
from everlearn.learning.language.reading import text_of
from everlearn.learning.language.vocabulary_config import VocabularyConfig
from everlearn.models.added_rows import AddedRows
from everlearn.models.language.tokens import tokenize_document
from everlearn.models.vocabulary import Growth, VocabularyWatch, grow, propose
from everlearn.models.vocabulary.alignment import align_rows
from everlearn.models.vocabulary.calibration import calibrate_rows
from everlearn.models.vocabulary.tokenizer_file import TokenizerFile
from everlearn.types import Example, Json, VocabularyGrowth

__all__ = ["GrowingVocabulary"]

_ROWS = ("new_rows.input", "new_rows.output")
"""What the new rows are called among the trained parameters; the second only where they are not tied."""


@dataclass(frozen=True, slots=True)
class _Watched:
    """A text that is kept until the growth; ``num_bytes`` are those it had before it was cut to fit."""

    example_id: str
    text: str
    domain: str | None
    num_bytes: int


class GrowingVocabulary:
    """Keeps the first texts of a stream, and grows tokenizer and model by words that are frequent in them.

    Old ids stay valid, so what waits, is carried or is replayed stays as it is. The rows of old tokens are
    not trained unless they were before, and then as parameters of their own, with the moments they had.

    Args:
        model: The causal LM. Rows that no token has are dropped: new tokens take their ids.
        tokenizer: Its fast tokenizer.
        config: When and how.

    Attributes:
        tokenizer: The present one: with the new words, once there are any.
        growth: What was gained, once it was tried.

    Raises:
        ModelError: The tokenizer cannot grow, or the model's embedding or head cannot.
    """

    def __init__(self, model: Any, tokenizer: Any, config: VocabularyConfig) -> None:
        self.tokenizer = tokenizer
        self.growth: VocabularyGrowth | None = None
        self._model = model
        self._config = config
        self._first_tokenizer = tokenizer
        self._watched: list[_Watched] = []
        self._is_at_boundary = False
        self._rows: AddedRows | None = None
        self._trained_before: list[str | None] = []
        _check(model)
        num_tokens = max(TokenizerFile.read(tokenizer).ids.values()) + 1
        if model.get_input_embeddings().num_embeddings > num_tokens:
            model.resize_token_embeddings(num_tokens, mean_resizing=False)

    @property
    def is_due(self) -> bool:
        """Whether enough was watched, or a boundary has passed since something was; a function of counts."""
        if self.growth is not None or not self._watched:
            return False
        return self._is_at_boundary or self._num_bytes >= self._config.watch_bytes

    @property
    def _num_bytes(self) -> int:
        return sum(kept.num_bytes for kept in self._watched)

    def watch(self, examples: Sequence[Example]) -> None:
        """Keep the examples' texts, as far as there is room."""
        if self.growth is not None:
            return
        for example in examples:
            room = self._config.watch_bytes - self._num_bytes
            text = text_of(example).encode("utf-8", "surrogatepass")
            if text and room > 0:
                # A character that is cut in two is left out.
                kept = text[:room].decode("utf-8", "ignore")
                self._watched.append(_Watched(example.id, kept, example.domain, len(text)))

    def pass_boundary(self) -> None:
        """A part of the stream has ended; the vocabulary grows before anything of the next one is read."""
        self._is_at_boundary = self.growth is None and bool(self._watched)

    def grow(
        self, training: Training, autocast_dtype: torch.dtype | None, max_length: int
    ) -> VocabularyGrowth:
        """Add what is worth it, once and for all, and drop the texts.

        Args:
            training: Is given the new rows.
            autocast_dtype: Reduced precision of matrix products; None: the weights' own.
            max_length: Tokens that are read at once while new rows are fitted.

        Returns:
            What was gained; also nothing may be.
        """
        watch = VocabularyWatch(self.tokenizer)
        for kept in self._watched:
            watch.update(kept.text, kept.domain)
        texts = [kept.text for kept in self._watched]
        before = _num_tokens(self.tokenizer, texts)
        words = propose(watch, self._config.words, self._config.min_count)
        growth = self._insert(words, training)
        if growth.num_rows:
            self._fit_rows(growth, texts, autocast_dtype, max_length)
            self._train_rows(growth.first_row, training)
        self.growth = VocabularyGrowth(
            words=tuple(growth.words),
            num_rows=growth.num_rows,
            num_bytes=sum(len(text.encode("utf-8", "surrogatepass")) for text in texts),
            tokens_before=before,
            tokens_after=_num_tokens(self.tokenizer, texts),
            tokens_per_word={name: fertility.tokens_per_word for name, fertility in watch.fertility.items()},
        )
        self._watched, self._is_at_boundary = [], False
        return self.growth

    def examples_of(self, ids: Collection[str]) -> set[str]:
        """Those of these examples whose texts are watched."""
        return {kept.example_id for kept in self._watched if kept.example_id in ids}

    def forget(self, ids: Collection[str]) -> None:
        """Drop the texts of these examples."""
        self._watched = [kept for kept in self._watched if kept.example_id not in ids]
        self._is_at_boundary = self._is_at_boundary and bool(self._watched)

    def state(self) -> dict[str, Json]:
        """What was watched, or what was added; the rows are among the trained parameters."""
        return {
            "watched": [[kept.example_id, kept.text, kept.domain, kept.num_bytes] for kept in self._watched],
            "is_at_boundary": self._is_at_boundary,
            "growth": None if self.growth is None else self.growth.to_json(),
        }

    def restore(self, state: Mapping[str, Json], training: Training) -> None:
        """Replace everything. Model and tokenizer grow or shrink to what the state's had.

        The values of new rows are to be restored by ``training``, afterwards.

        Raises:
            StateError: The state is damaged.
        """
        try:
            watched = [_Watched(*fields) for fields in state["watched"]]
            is_at_boundary, saved = bool(state["is_at_boundary"]), state["growth"]
            growth = None if saved is None else VocabularyGrowth.from_json(saved)
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"the saved vocabulary is damaged: {error!r}") from error
        present = self.growth.words if self.growth is not None else ()
        wanted = growth.words if growth is not None else ()
        if wanted != present:
            self._shrink(training)
            grown = self._insert(wanted, training)
            if tuple(grown.words) != wanted or (growth is not None and grown.num_rows != growth.num_rows):
                raise StateError("the saved vocabulary has words that the tokenizer cannot be given")
            if grown.num_rows:
                self._train_rows(grown.first_row, training)
        self._watched, self._is_at_boundary, self.growth = watched, is_at_boundary, growth

    def _insert(self, words: Sequence[str], training: Training) -> Growth:
        names = {id(parameter): name for name, parameter in training.parameters.items()}
        self._trained_before = [names.get(id(matrix)) for matrix in _matrices(self._model)]
        # Values that transformers draws for new rows are overwritten, but nothing else may notice.
        with torch.random.fork_rng(devices=[]):
            growth = grow(self._model, self.tokenizer, words)
        self.tokenizer = growth.tokenizer
        return growth

    def _fit_rows(
        self, growth: Growth, texts: Sequence[str], autocast_dtype: torch.dtype | None, max_length: int
    ) -> None:
        """Let new rows mean what their pieces meant, and be as probable as they are frequent."""
        device = next(self._model.parameters()).device
        rows = [
            torch.tensor(row)
            for text in texts
            for row in _cut(_ids(self.tokenizer, text), growth.pieces, max_length)
        ]
        with torch.autocast(
            device.type, autocast_dtype or torch.bfloat16, enabled=autocast_dtype is not None
        ):
            if self._config.row_passes and self._model.config.num_hidden_layers > 1:
                added = AddedRows(self._model, growth.first_row)
                align_rows(self._model, added, growth.pieces, rows, num_passes=self._config.row_passes)
                added.merge()
            ids_BL, labels_BL = _batch([row for row in rows if len(row) > 1])
            if len(ids_BL):
                calibrate_rows(self._model, growth.first_row, ids_BL.to(device), labels_BL.to(device))

    def _train_rows(self, first_row: int, training: Training) -> None:
        self._rows = AddedRows(self._model, first_row, trains_old=True)
        for name, parameter in zip(self._trained_before, self._rows.old_parameters, strict=True):
            if name is not None:
                training.exchange_parameter(name, parameter)
        named = dict(zip(_ROWS, self._rows.parameters, strict=False))
        training.add_parameters(named, self._config.row_learning_rate, self._config.alone_steps)

    def _shrink(self, training: Training) -> None:
        """Take the new words out of model and tokenizer again."""
        if self._rows is None:
            return
        self._rows.merge()
        self._model.resize_token_embeddings(self._rows.first_row, mean_resizing=False)
        training.remove_added_parameters()
        for name, weight in zip(self._trained_before, _matrices(self._model), strict=True):
            if name is not None:
                training.exchange_parameter(name, weight)
        self.tokenizer, self._rows = self._first_tokenizer, None


def _check(model: Any) -> None:
    if not hasattr(model, "resize_token_embeddings"):
        raise ModelError(
            f"the vocabulary of {type(model).__name__} cannot grow: it is no model of transformers"
        )
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    if not isinstance(embedding, nn.Embedding) or type(head) is not nn.Linear:
        kinds = f"{type(embedding).__name__} and {type(head).__name__}"
        raise ModelError(f"the vocabulary can grow where embedding and head are plain, not {kinds}")


def _matrices(model: Any) -> list[nn.Parameter]:
    """The weight of the embedding, and of the head where it is another."""
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    return [embedding] if head is embedding else [embedding, head]


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenize_document(tokenizer, text, starts=True, ends=True).ids.tolist()
    return ids


def _num_tokens(tokenizer: Any, texts: Sequence[str]) -> int:
    return sum(len(tokenize_document(tokenizer, text, starts=False, ends=False).ids) for text in texts)


def _cut(ids: Sequence[int], pieces: Mapping[int, tuple[int, ...]], max_length: int) -> Iterator[list[int]]:
    """Consecutive rows of tokens that are no more than so many old ones."""
    row: list[int] = []
    length = 0
    for id_ in ids:
        size = len(pieces.get(id_, (id_,)))
        if row and length + size > max_length:
            yield row
            row, length = [], 0
        row.append(id_)
        length += size
    if row:
        yield row


def _batch(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows as inputs and labels, int64 (B, L) each, filled up on the right."""
    width = max((len(row) for row in rows), default=1) - 1
    ids_BL = torch.zeros(len(rows), width, dtype=torch.int64)
    labels_BL = torch.full((len(rows), width), NO_LABEL)
    for k, row in enumerate(rows):
        ids_BL[k, : len(row) - 1], labels_BL[k, : len(row) - 1] = row[:-1], row[1:]
    return ids_BL, labels_BL
