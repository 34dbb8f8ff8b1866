"""An example as a model takes it: the input as one array, and nothing a step does not need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["InputArray", "ModelExample", "part_id"]

InputArray = npt.NDArray[np.integer[Any]] | npt.NDArray[np.floating[Any]]

# A long example is kept in parts: this character stands between its id and what tells the parts apart.
_PART_SEPARATOR = "\x1f"

# Python's own share of one stored example (object, array header, two strings, key, list entries),
# measured with tracemalloc on 64-bit CPython and rounded up.
OVERHEAD_BYTES = 640


def part_id(example_id: str, part: int) -> str:
    """The id under which one part of an example is stored.

    >>> ModelExample(part_id("moby", 3), "", np.zeros(1, np.int32)).example_id
    'moby'
    """
    return f"{example_id}{_PART_SEPARATOR}{part}"


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
    def example_id(self) -> str:
        """The id of the example that this is, or is a part of."""
        return self.id.split(_PART_SEPARATOR, 1)[0]

    @property
    def num_bytes(self) -> int:
        """Memory that storing this example takes, from above, in bytes."""
        words = self.id + self.target + (self.domain or "")
        return int(self.input.nbytes) + len(words.encode("utf-8", "surrogatepass")) + OVERHEAD_BYTES
