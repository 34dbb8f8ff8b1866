"""Experience replay: learn a few earlier examples beside every fresh batch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from everlearn.errors import ConfigError
from everlearn.learning.batch import Batch
from everlearn.learning.method import Method, StepContext
from everlearn.memory import Memory, ModelExample, ReservoirMemory
from everlearn.types import State

__all__ = ["ExperienceReplay", "ReplayConfig"]


@dataclass(frozen=True, kw_only=True)
class ReplayConfig:
    """Settings of experience replay.

    Attributes:
        memory_examples: Bound of the memory in examples.
        memory_bytes: Bound of the memory in bytes.
        num_replayed: Examples drawn for every step; fewer while the memory holds fewer.
        replay_share: Where examples are of very different lengths: draw until the inputs of the drawn ones
            are so many times as long as those of the fresh ones together (0.5: one replayed token to two
            fresh ones). Takes the place of ``num_replayed``.
        seed: Of the reservoir and the draws.

    Raises:
        ConfigError: Names the field and the value.
    """

    memory_examples: int = 1_500
    memory_bytes: int = 64 * 2**20
    num_replayed: int = 32
    replay_share: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("memory_examples", "memory_bytes", "num_replayed"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)!r}")
        if self.replay_share is not None and not 0.0 < self.replay_share < 1_000.0:
            raise ConfigError(f"replay_share must be None or a positive number, not {self.replay_share!r}")


# The batch itself stands for its labels. Of four times as many drawn as needed there are mostly enough
# of other labels, unless nearly all of the memory is of the batch's.
_DRAWN_PER_REPLAYED = 4


class ExperienceReplay(Method):
    """Extends each batch by examples of a memory, then offers the fresh ones to it.

    Drawn uniformly, but examples whose labels (or, without labels, whose domains) the fresh batch lacks go
    first: it is these that a step on the fresh batch forgets, and in a stream of few labels at a time they
    would be the fewer. Fresh and replayed examples weigh the same in the loss (Chaudhry et al., "On tiny
    episodic memories in continual learning", 2019).

    Args:
        config: Sizes and seed.
        memory: Another memory than the uniform reservoir that ``config`` describes; the method takes
            it over.

    Example:
        >>> from everlearn.memory import ModelExample
        >>> method = ExperienceReplay(ReplayConfig(memory_examples=100, num_replayed=8))
        >>> len(method.memory)
        0
    """

    def __init__(self, config: ReplayConfig | None = None, memory: Memory | None = None) -> None:
        self.config = config if config is not None else ReplayConfig()
        self.memory: Memory = (
            memory
            if memory is not None
            else ReservoirMemory(self.config.memory_examples, self.config.memory_bytes, self.config.seed)
        )

    def extend_batch(self, batch: Batch, context: StepContext) -> Batch:
        """Append examples of the memory, those of absent labels or domains first."""
        present = {_group(example) for example in batch.fresh}
        wanted = self._num_wanted(batch)
        drawn = self.memory.sample(_DRAWN_PER_REPLAYED * wanted)
        drawn.sort(key=lambda example: _group(example) in present)  # stable: else in the order drawn
        if self.config.replay_share is None:
            return batch.extended(drawn[:wanted])
        left = self.config.replay_share * sum(len(example.input) for example in batch.fresh)
        chosen = []
        for example in drawn:
            if len(example.input) <= left:
                chosen.append(example)
                left -= len(example.input)
        return batch.extended(chosen)

    def _num_wanted(self, batch: Batch) -> int:
        if self.config.replay_share is None:
            return self.config.num_replayed
        return max(1, round(self.config.replay_share * batch.num_fresh))

    def after_step(self, fresh: Batch, context: StepContext) -> None:
        """Offer the fresh examples to the memory."""
        self.memory.add(fresh.fresh)

    def state(self) -> State:
        """The memory's state."""
        return self.memory.state()

    def restore(self, state: State) -> None:
        """Replace the memory. Raises StateError where it does not fit."""
        self.memory.restore(state)

    def forget(self, ids: Collection[str]) -> int:
        """Remove examples from the memory; returns how many had something in it."""
        found = {example.example_id for example in self.memory.examples() if example.example_id in ids}
        self.memory.remove(found)
        return len(found)


def _group(example: ModelExample) -> tuple[str, str | None]:
    return (example.target, None) if example.target else ("", example.domain)
