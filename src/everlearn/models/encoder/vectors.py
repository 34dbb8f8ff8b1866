"""Codes for examples that are vectors already: digits, sensor features, embeddings of another model."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from everlearn.errors import ConfigError, InputError
from everlearn.models.encoder.quantization import round_unit_vectors
from everlearn.types import Code, Example, Json

__all__ = ["VectorCoder"]

_CODE_VERSION = 1
_BOUND = 4.0
_CONSTANT = 64


class VectorCoder:
    """Rounds float vectors to codes without a lexical part.

    Args:
        num_features: F, components of a vector.
        normalize: True: direction alone counts, ``clip(rint(20 √F · x/|x|), -127, 127)``, and the code has F
            components. False: each component keeps its size. It is squashed by v = s·x / √(1 + (s·x/4)²),
            which lies within ±4, and rounded to ``rint(v · 127/4)``; a constant component of 64 is
            appended, so that random features of the code get a bias: F + 1 components.
        scale: s of the formula above, 1.0 if None; for ``normalize=False`` only. About 1 / (standard
            deviation) of a component is a good value.

    Attributes:
        num_features: F.
        dense_size: Components of a code.
        leading_size: The same; a vector has no part that tells more than the others.
        sketch_size: 0; a vector has no n-grams.

    Raises:
        ConfigError: A setting out of range, or ``scale`` together with ``normalize``.

    >>> VectorCoder(2).encode(np.array([[3.0, -4.0]]))[0].dense.tolist()
    [17, -23]
    >>> VectorCoder(2, normalize=False).encode(np.array([[3.0, -4.0]]))[0].dense.tolist()
    [76, -90, 64]
    """

    sketch_size = 0

    def __init__(self, num_features: int, *, normalize: bool = True, scale: float | None = None) -> None:
        if num_features < 1:
            raise ConfigError(f"num_features: {num_features} is below 1")
        if scale is not None and normalize:
            raise ConfigError(f"scale: {scale} has no meaning with normalize=True, which removes any scale")
        if scale is not None and not (math.isfinite(scale) and scale > 0):
            raise ConfigError(f"scale: {scale} is not a positive number")
        self.num_features = num_features
        self.dense_size = self.leading_size = num_features if normalize else num_features + 1
        self._normalize = normalize
        self._scale = 1.0 if scale is None else float(scale)

    def encode(self, vectors: npt.ArrayLike) -> list[Code]:
        """Encode vectors (N, F); one code a row, in order.

        Raises:
            InputError: Not numbers, another shape, or a value that is not finite; the message names the row.
        """
        try:
            array = np.asarray(vectors, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"vectors: not an array of numbers with {self.num_features} columns") from error
        if array.size == 0 and array.shape[:1] == (0,):
            return []
        if array.ndim != 2 or array.shape[1] != self.num_features:
            raise InputError(f"vectors: shape {array.shape} where (rows, {self.num_features}) is needed")
        finite = np.isfinite(array).all(axis=1)
        if not finite.all():
            row = int(np.argmin(finite))
            raise InputError(f"vectors: row {row} (from 0) holds a value that is not a finite number")
        dense = self._unit_codes(array) if self._normalize else self._squashed_codes(array)
        no_ids, no_values = np.empty(0, np.uint32), np.empty(0, np.uint8)
        return [Code(row.copy(), no_ids, no_values) for row in dense]

    def reading_problem(self, text: str) -> str | None:
        """None: vectors are read, not texts."""
        return None

    def encode_examples(self, examples: Sequence[Example]) -> list[Code]:
        """Encode the vectors of examples; one code an example, in order.

        Raises:
            InputError: An example has no vector, or a wrong one.
        """
        for example in examples:
            if example.vector is None or example.vector.shape != (self.num_features,):
                found = "no vector" if example.vector is None else f"a vector of shape {example.vector.shape}"
                raise InputError(f"example {example.id!r} has {found}; ({self.num_features},) is needed")
        return self.encode(np.array([example.vector for example in examples]).reshape(-1, self.num_features))

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over every setting."""
        identity = {"code_version": _CODE_VERSION, **self.config_json()}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def config_json(self) -> dict[str, Json]:
        """What a code of this coder depends on."""
        return {
            "kind": "vector",
            "num_features": self.num_features,
            "normalize": self._normalize,
            "scale": None if self._normalize else self._scale,
        }

    @staticmethod
    def _unit_codes(array: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        # Dividing by the largest component first keeps squares of extreme values finite.
        largest = np.abs(array).max(axis=1, keepdims=True)
        codes: npt.NDArray[Any] = round_unit_vectors(
            torch.from_numpy(array / np.where(largest > 0, largest, 1.0))
        ).numpy()
        return codes

    def _squashed_codes(self, array: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        with np.errstate(over="ignore"):  # clipped next; far outside, the result is ±127 anyway
            ratio = np.clip(array * (self._scale / _BOUND), -1e9, 1e9)
        codes = np.rint(127 * ratio / np.sqrt(1 + ratio * ratio)).astype(np.int8)
        return np.hstack([codes, np.full((len(codes), 1), _CONSTANT, np.int8)])
