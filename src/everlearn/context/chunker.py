"""Cutting a sequence of tokens into chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from everlearn.errors import ConfigError

__all__ = ["Chunker"]


class Chunker:
    """Cuts tokens into consecutive chunks.

    Args:
        length: Tokens of a chunk.

    Raises:
        ConfigError: The length is not positive.

    Example:
        >>> [chunk.tolist() for chunk in Chunker(2).chunks(np.arange(5))]
        [[0, 1], [2, 3], [4]]
    """

    def __init__(self, length: int) -> None:
        if length < 1:
            raise ConfigError(f"length must be at least 1, not {length!r}")
        self.length = length

    def chunks(self, ids_T: npt.NDArray[np.integer[Any]]) -> Iterator[npt.NDArray[np.integer[Any]]]:
        """Views of at most ``length`` tokens, in order; only the last may be shorter."""
        for start in range(0, len(ids_T), self.length):
            yield ids_T[start : start + self.length]
