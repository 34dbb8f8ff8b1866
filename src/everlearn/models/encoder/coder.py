"""From a text or a vector to its code: the small integers that a closed-form learner works on.

Shapes: N texts, S token sequences (a text has one or, cut into windows, several), K layers, D hidden size.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import RLock

import numpy as np
import torch

from everlearn.errors import ConfigError, InputError, ModelError
from everlearn.models.encoder.forward import RowForward, find_row_forward
from everlearn.models.encoder.gram_sketch import gram_sketches
from everlearn.models.encoder.lexical import gram_features
from everlearn.models.encoder.load import Trunk
from everlearn.models.encoder.quantization import round_unit_vectors
from everlearn.models.encoder.rows import RowBatch, plan_fixed, plan_packed, plan_single
from everlearn.models.encoder.token_limits import may_exceed, token_problem
from everlearn.models.encoder.vectors import VectorCoder
from everlearn.types import Code, Example, Json

__all__ = ["CoderConfig", "TextCoder", "VectorCoder", "default_layers"]

_CODE_VERSION = 1
"""Part of every fingerprint; raised when the same settings come to give other codes."""

_CHARACTERS_PER_TOKEN = 64
"""Texts are cut to this many characters a token before they are tokenized, so a huge text costs little."""


@dataclass(frozen=True, kw_only=True)
class CoderConfig:
    """Settings of a ``TextCoder``.

    Attributes:
        max_length: Tokens of a window, special tokens included; at most what the trunk takes.
        layers: Layers whose pooled hidden states make the dense part, in that order; layer L is the last,
            0 the embeddings. None: ``default_layers``.
        windows: Most windows of a longer text; their pooled vectors are averaged.
        token_budget: Token slots of one forward pass, at most; a matter of speed alone.
        batch_invariant: Use fixed shapes, so that a text's code is the same bits in whatever company it is
            encoded; slower.
        ngram_max: 1 for words, 2 for words and pairs of neighbours in the lexical part.
        sketch_size: Components of the sketch of words' and characters' n-grams, with which the dense part
            ends; 0: none.
    """

    max_length: int = 256
    layers: tuple[int, ...] | None = None
    windows: int = 1
    token_budget: int = 1024
    batch_invariant: bool = False
    ngram_max: int = 2
    sketch_size: int = 1024

    def __post_init__(self) -> None:
        for name, least in (("max_length", 3), ("windows", 1), ("token_budget", 1), ("sketch_size", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name}: {getattr(self, name)} is below {least}")
        if self.ngram_max not in (1, 2):
            raise ConfigError(f"ngram_max: {self.ngram_max} is not 1 or 2")
        if self.layers is not None and (not self.layers or min(self.layers) < 0):
            raise ConfigError(f"layers: {self.layers} needs at least one layer, none below 0")
        if self.layers is not None and len(set(self.layers)) < len(self.layers):
            raise ConfigError(f"layers: {self.layers} names a layer twice")


def default_layers(num_layers: int) -> tuple[int, ...]:
    """Five layers from the last down to a third of the depth: ``round(L (1 - k/6))`` for k = 0 … 4.

    >>> default_layers(6), default_layers(12), default_layers(2)
    ((6, 5, 4, 3, 2), (12, 10, 8, 6, 4), (2, 1))
    """
    return tuple(dict.fromkeys(max(1, round(num_layers * (1 - k / 6))) for k in range(5)))


class TextCoder:
    """Encodes texts by a frozen trunk: pooled hidden states rounded to int8, and n-grams hashed and sketched.

    Any thread may use it; one at a time does.

    Args:
        trunk: From ``load_trunk``.
        config: Settings.

    Attributes:
        trunk: The trunk.
        config: The settings as given.
        dense_size: Components of a code's dense part: layers times hidden size, and the sketch.
        leading_size: Components of its first part, the last layer's.
        sketch_size: Components of its last part, the sketch.
        seconds: Time spent in ``encode`` so far.

    Raises:
        ConfigError: ``layers`` names a layer that the trunk does not have.
    """

    def __init__(self, trunk: Trunk, config: CoderConfig | None = None) -> None:
        self.trunk = trunk
        self.config = config = config or CoderConfig()
        self._layers = config.layers or default_layers(trunk.num_layers)
        if max(self._layers) > trunk.num_layers:
            raise ConfigError(f"layers: {self._layers}, but {trunk.name} has only {trunk.num_layers}")
        self._max_length = min(config.max_length, trunk.max_length)
        self._forward: RowForward | None = None
        self._fingerprint: str | None = None
        self.sketch_size = config.sketch_size
        self.dense_size = len(self._layers) * trunk.hidden_size + self.sketch_size
        self.leading_size = trunk.hidden_size
        self.seconds = 0.0
        self._lock = RLock()  # a tokenizer works for one thread at a time

    def encode(self, texts: Sequence[str]) -> list[Code]:
        """Encode texts; one code a text, in order.

        Codes of the same text can differ in a component by one step between batches, unless the setting
        ``batch_invariant`` is on. A text without tokens has a dense part all the same, and no grams.

        Raises:
            ModelError: The model gave something that is not a finite number.
        """
        if not texts:
            return []
        with self._lock:
            start = time.perf_counter()
            codes = self._codes(texts, self.pool(texts))
            self.seconds += time.perf_counter() - start
            return codes

    def _codes(self, texts: Sequence[str], pooled_NKD: torch.Tensor) -> list[Code]:
        dense = round_unit_vectors(pooled_NKD).flatten(1).numpy()
        words = [gram_features(text, self.config.ngram_max) for text in texts]
        if self.sketch_size:
            dense = np.hstack([dense, gram_sketches(texts, words, self.sketch_size)])
        # A row is copied so that a code that is kept does not keep the whole batch in memory.
        return [Code(row.copy(), *grams) for row, grams in zip(dense, words, strict=True)]

    def make_ready(self) -> None:
        """Find out now how texts are put into rows; the first ones would have to wait for that."""
        with self._lock:
            self._row_forward()

    def encode_examples(self, examples: Sequence[Example]) -> list[Code]:
        """Encode the texts of examples; one code an example, in order.

        Raises:
            InputError: An example has no text.
        """
        texts: list[str] = []
        for example in examples:
            if example.text is None:
                raise InputError(f"example {example.id!r} has no text to encode")
            texts.append(example.text)
        return self.encode(texts)

    def pool(self, texts: Sequence[str]) -> torch.Tensor:
        """The float32 vectors (N, K, D) that codes are rounded from: mean over windows, not normalised.

        Raises:
            ModelError: The model gave something that is not a finite number.
        """
        with self._lock:
            return self._pool(texts)

    def _pool(self, texts: Sequence[str]) -> torch.Tensor:
        token_ids, owners = self._tokenize(texts)
        forward = self._row_forward()
        batches = self._plan([len(sequence) for sequence in token_ids], forward)
        return self._pooled(
            len(texts),
            token_ids,
            owners,
            ((batch, forward.pooled(batch, token_ids, self._layers)) for batch in batches),
        )

    def _plan(self, lengths: Sequence[int], forward: RowForward) -> list[RowBatch]:
        if self.config.batch_invariant:
            return plan_fixed(lengths, self.trunk.max_length, spare_row=forward.first_position is None)
        if forward.first_position is not None and len(lengths) > 1:
            return plan_packed(lengths, self.config.token_budget, self.trunk.max_length)
        return plan_single(lengths, self.config.token_budget, self.trunk.max_length)

    def _pooled(
        self,
        num_texts: int,
        token_ids: Sequence[Sequence[int]],
        owners: Sequence[int],
        passes: Iterable[tuple[RowBatch, torch.Tensor]],
    ) -> torch.Tensor:
        """Vectors of texts, from those of their windows, which come pass by pass."""
        pooled_SKD = torch.empty(
            len(token_ids), len(self._layers), self.trunk.hidden_size, dtype=torch.float32
        )
        for batch, pooled_NKD in passes:
            pooled_SKD[torch.from_numpy(batch.sequences)] = pooled_NKD.cpu()
        if not bool(torch.isfinite(pooled_SKD).all()):
            raise ModelError(f"{self.trunk.name} gave values that are not finite; try dtype float32")
        if len(token_ids) == num_texts:
            return pooled_SKD
        owner_S = torch.tensor(owners)
        counts_N = torch.bincount(owner_S, minlength=num_texts)
        sums_NKD = torch.zeros(num_texts, *pooled_SKD.shape[1:], dtype=torch.float32)
        sums_NKD.index_add_(0, owner_S, pooled_SKD)
        return sums_NKD / counts_N[:, None, None]

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over the weights, the vocabulary and every setting that changes codes."""
        if self._fingerprint is None:
            identity = {
                "code_version": _CODE_VERSION,
                "weights": self.trunk.sha256,
                "vocabulary": self._vocabulary_sha256(),
                **{key: value for key, value in self.config_json().items() if key != "model"},
            }
            self._fingerprint = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return self._fingerprint

    def config_json(self) -> dict[str, Json]:
        """What a code of this coder depends on, resolved: defaults filled in, lengths clipped."""
        config: dict[str, Json] = {
            "kind": "text",
            "model": self.trunk.name,
            "dtype": str(self.trunk.dtype).removeprefix("torch."),
            "pooling": self.trunk.pooling,
            "max_length": self._max_length,
            "layers": list(self._layers),
            "windows": self.config.windows,
            "batch_invariant": self.config.batch_invariant,
            "ngram_max": self.config.ngram_max,
        }
        # Without one it says what it said before there were any, and so does its fingerprint.
        return {**config, "sketch_size": self.sketch_size} if self.sketch_size else config

    def reading_problem(self, text: str) -> str | None:
        """Why a text cannot be read; None: it can."""
        if not may_exceed(self.trunk.tokenizer, self.trunk.model):
            return None
        with self._lock:
            ids = [token for window in self._tokenize([text])[0] for token in window]
        return token_problem(self.trunk.tokenizer, self.trunk.model, ids)

    def _vocabulary_sha256(self) -> str:
        vocabulary = sorted(self.trunk.tokenizer.get_vocab().items())
        return hashlib.sha256(json.dumps(vocabulary).encode()).hexdigest()

    def _row_forward(self) -> RowForward:
        if self._forward is None:  # costs a few forward passes, which a run from codes never needs
            self._forward = find_row_forward(self.trunk)
        return self._forward

    def _tokenize(self, texts: Sequence[str]) -> tuple[list[list[int]], list[int]]:
        """Token ids of every window, and the text each belongs to."""
        windows = self.config.windows
        limit = _CHARACTERS_PER_TOKEN * self._max_length * windows
        encoding = self.trunk.tokenizer(
            # Lone surrogates, which JSON can carry, have no UTF-8 form.
            [text[:limit].encode("utf-8", "replace").decode() for text in texts],
            truncation=True,
            max_length=self._max_length,
            return_overflowing_tokens=windows > 1,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        pad = self.trunk.tokenizer.pad_token_id or 0
        token_ids = [ids or [pad] for ids in encoding["input_ids"]]
        if windows == 1:
            return token_ids, []
        owners: list[int] = encoding["overflow_to_sample_mapping"]
        seen = [0] * len(texts)
        kept = []
        for sequence, owner in enumerate(owners):
            seen[owner] += 1
            if seen[owner] <= windows:
                kept.append(sequence)
        return [token_ids[i] for i in kept], [owners[i] for i in kept]
