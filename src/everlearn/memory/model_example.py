"""An example as a model takes it: the input as one array, and nothing a step does not need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["InputArray", "ModelExample"]

InputArray = npt.NDArray[np.integer[Any]] | npt.NDArray[np.floating[Any]]

# Python's own share of one stored example (object, array header, two strings, key, list entries),
# measured with tracemalloc on 64-bit CPython and rounded up.
OVERHEAD_BYTES = 640


@dataclass(frozen=True, slots=True, eq=False)
class ModelExample:
    """What a gradient step and its memory keep of an example.

    A text is kept as the token ids that its model reads, so it is tokenized once however often it
    is replayed.

    Attributes:
        id: The id of the example in the stream.
        target: Its label or target text.
        input: Token ids int32 (T,) or features float (F,).
        domain: Its domain, if it has one.
    """

    id: str
    target: str
    input: InputArray
    domain: str | None = None

    @property
    def num_bytes(self) -> int:
        """Memory that storing this example takes, from above, in bytes."""
        words = self.id + self.target + (self.domain or "")
        return int(self.input.nbytes) + len(words.encode("utf-8", "surrogatepass")) + OVERHEAD_BYTES
