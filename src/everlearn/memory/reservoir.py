"""A uniform sample of the stream in bounded memory."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from hashlib import blake2b

import torch

from everlearn.errors import ConfigError, StateError
from everlearn.memory.model_example import ModelExample
from everlearn.memory.packing import pack_examples, unpack_examples
from everlearn.types import State

__all__ = ["ReservoirMemory", "sampling_key"]

_NO_THRESHOLD = 1 << 64


def sampling_key(example_id: str, seed: int) -> int:
    """A pseudo-random number in [0, 2**64) that depends on the seed and the id alone."""
    key = seed.to_bytes(16, "little", signed=True)
    return int.from_bytes(
        blake2b(example_id.encode("utf-8", "surrogatepass"), digest_size=8, key=key).digest(), "little"
    )


class ReservoirMemory:
    """Keeps the examples with the smallest keys, bounded in examples and in bytes.

    Each example has a key that is a hash of its id, so the examples with the smallest keys are a
    uniform sample without replacement of all that were offered (bottom-k sampling; Cohen and Kaplan,
    "Summarizing data using bottom-k sketches", PODC 2007). Against the usual reservoir (Vitter,
    "Random sampling with a reservoir", 1985) the content does not depend on the order of the stream,
    and after a removal it is still a uniform sample of what remains. An id that is offered again
    replaces its earlier example.

    Where the byte bound is the tighter one, the example with the largest key goes first whatever its
    size, so that long examples are not less likely to be kept than short ones. Only an example that
    is larger than the whole memory is refused; ``num_refused`` counts these.

    Args:
        max_examples: Upper bound of stored examples.
        max_bytes: Upper bound of ``num_bytes``.
        seed: Chooses the sample and the draws from it.

    Raises:
        ConfigError: A bound is not positive.

    Example:
        >>> import numpy as np
        >>> memory = ReservoirMemory(max_examples=2, max_bytes=10_000, seed=0)
        >>> tokens = np.array([101, 102], dtype=np.int32)
        >>> memory.add([ModelExample(str(i), "greeting", tokens) for i in range(5)])
        >>> len(memory), memory.num_seen
        (2, 5)
    """

    def __init__(self, max_examples: int, max_bytes: int = 256 * 2**20, seed: int = 0) -> None:
        for name, value in (("max_examples", max_examples), ("max_bytes", max_bytes)):
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, not {value!r}")
        self.max_examples = max_examples
        self.max_bytes = max_bytes
        self.seed = seed
        self.num_seen = 0
        self.num_refused = 0
        self._generator = torch.Generator().manual_seed(seed)
        self._clear()

    def _clear(self) -> None:
        self._keys: list[int] = []
        self._examples: list[ModelExample] = []
        self._num_bytes = 0
        # Everything at or above the smallest key ever dropped stays out. Without this an example
        # could slip in after a removal that an earlier one with a smaller key was denied.
        self._threshold = _NO_THRESHOLD

    def __len__(self) -> int:
        return len(self._examples)

    @property
    def num_bytes(self) -> int:
        """Bytes stored, counted as ``ModelExample.num_bytes``."""
        return self._num_bytes

    def examples(self) -> list[ModelExample]:
        """All stored examples, by increasing key."""
        return list(self._examples)

    def add(self, examples: Sequence[ModelExample]) -> None:
        """Offer examples; keeps those whose keys are among the smallest and that fit."""
        for example in examples:
            self.num_seen += 1
            self._discard(example.id)
            if example.num_bytes > self.max_bytes:
                self.num_refused += 1
                continue
            self._insert(example)
            while len(self._examples) > self.max_examples or self._num_bytes > self.max_bytes:
                self._threshold = self._keys.pop()
                self._num_bytes -= self._examples.pop().num_bytes

    def _insert(self, example: ModelExample) -> None:
        key = sampling_key(example.id, self.seed)
        if key < self._threshold:
            place = bisect_left(self._keys, key)
            self._keys.insert(place, key)
            self._examples.insert(place, example)
            self._num_bytes += example.num_bytes

    def _discard(self, example_id: str) -> bool:
        key = sampling_key(example_id, self.seed)
        place = bisect_left(self._keys, key)
        # Two ids can share a key, so all examples at the key are looked at.
        while place < len(self._keys) and self._keys[place] == key:
            if self._examples[place].id == example_id:
                del self._keys[place]
                self._num_bytes -= self._examples.pop(place).num_bytes
                return True
            place += 1
        return False

    def sample(self, count: int) -> list[ModelExample]:
        """Draw ``min(count, len(self))`` different examples, each subset equally likely."""
        order = torch.randperm(len(self._examples), generator=self._generator)[:count]
        return [self._examples[index] for index in order.tolist()]

    def remove(self, ids: Collection[str]) -> int:
        """Remove the examples with these ids, all parts of each; returns how many entries went."""
        wanted = set(ids)
        return sum(self._discard(example.id) for example in self.examples() if example.example_id in wanted)

    def state(self) -> State:
        """Everything that decides what the memory does next."""
        packed = pack_examples(self._examples)
        return State(
            {**packed.tensors, "generator": self._generator.get_state()},
            {
                **packed.data,
                "max_examples": self.max_examples,
                "max_bytes": self.max_bytes,
                "seed": self.seed,
                "num_seen": self.num_seen,
                "num_refused": self.num_refused,
                # As text: JSON readers outside Python lose integers beyond 2**53.
                "threshold": str(self._threshold),
            },
        )

    def restore(self, state: State) -> None:
        """Replace the state.

        Raises:
            StateError: The state is damaged or of a memory with other bounds or another seed.
        """
        for name in ("max_examples", "max_bytes", "seed"):
            saved, present = state.data.get(name), getattr(self, name)
            if saved != present:
                raise StateError(
                    f"the saved memory has {name}={saved!r}, this one {present!r}; "
                    "make the learner with the settings it was saved with"
                )
        examples = unpack_examples(state)
        try:
            num_seen, num_refused = int(state.data["num_seen"]), int(state.data["num_refused"])
            threshold = int(state.data["threshold"])
            generator_state = state.tensors["generator"]
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"the saved memory is damaged: {error}") from error
        self._clear()
        for example in examples:
            self._insert(example)
        self.num_seen, self.num_refused, self._threshold = num_seen, num_refused, threshold
        self._generator.set_state(generator_state)
