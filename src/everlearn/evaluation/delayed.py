"""Targets that become known only after a while: a queue between predicting and learning."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import torch

from everlearn.errors import ConfigError, StateError
from everlearn.types import Code, Example, Json, State

__all__ = ["DelayedTargets"]

STATE_VERSION = 1

_PLAIN = ("id", "text", "target", "domain", "time")


class DelayedTargets:
    """Holds back examples so that each is learned ``delay`` examples after it was predicted.

    Example i (counted over the stream) is released once example ``i + delay`` has arrived, in the
    order of arrival. With ``delay`` 0 everything is released at once, which is plain test-then-train.

    Example:
        >>> from everlearn.types import Example
        >>> queue = DelayedTargets(delay=1)
        >>> [e.id for e in queue.push([Example(id="a"), Example(id="b")])]
        ['a']
        >>> [e.id for e in queue.flush()]
        ['b']

    Args:
        delay: Number of examples between the prediction of an example and its target.

    Raises:
        ConfigError: ``delay`` is negative.
    """

    def __init__(self, delay: int) -> None:
        if delay < 0:
            raise ConfigError(f"delay must not be negative, not {delay}")
        self.delay = delay
        self._waiting: deque[Example] = deque()

    def __len__(self) -> int:
        """Examples that were predicted and wait to be learned; at most ``delay`` between batches."""
        return len(self._waiting)

    def push(self, examples: Sequence[Example]) -> list[Example]:
        """Take examples that were just predicted, targets included; return those to learn now."""
        self._waiting.extend(examples)
        return [self._waiting.popleft() for _ in range(len(self._waiting) - self.delay)]

    def flush(self) -> list[Example]:
        """Release all that wait, for the end of the stream."""
        released = list(self._waiting)
        self._waiting.clear()
        return released

    def state(self) -> State:
        """The waiting examples: codes and vectors as tensors, the rest as JSON."""
        examples = list(self._waiting)
        tensors: dict[str, torch.Tensor] = {}
        coded = [(i, e.code) for i, e in enumerate(examples) if e.code is not None]
        if coded:
            codes = [code for _, code in coded]
            lengths = [len(code.gram_ids) for code in codes]
            tensors["code.rows"] = torch.tensor([i for i, _ in coded])
            tensors["code.dense"] = torch.from_numpy(np.stack([code.dense for code in codes]))
            tensors["code.gram_counts"] = torch.tensor(lengths)
            ids = np.concatenate([code.gram_ids for code in codes]).astype(np.int64)
            tensors["code.gram_ids"] = torch.from_numpy(ids)
            tensors["code.gram_values"] = torch.from_numpy(np.concatenate([c.gram_values for c in codes]))
        data: list[dict[str, Json]] = []
        for i, example in enumerate(examples):
            record: dict[str, Json] = {name: getattr(example, name) for name in _PLAIN}
            record["fields"] = dict(example.fields)
            if example.vector is not None:
                tensors[f"vector.{i}"] = torch.from_numpy(np.array(example.vector))
            data.append(record)
        return State(tensors, {"version": STATE_VERSION, "delay": self.delay, "examples": data})

    def restore(self, state: State) -> None:
        """Replace the waiting examples and the delay by those of a saved state.

        Raises:
            StateError: The state is damaged or of another version.
        """
        try:
            if state.data["version"] != STATE_VERSION:
                raise StateError(
                    f"delayed targets of format version {state.data['version']} cannot be read; "
                    f"this program reads version {STATE_VERSION}"
                )
            codes = _codes(state)
            waiting: deque[Example] = deque()
            for i, record in enumerate(state.data["examples"]):
                vector = state.tensors.get(f"vector.{i}")
                waiting.append(
                    Example(
                        **{name: record[name] for name in _PLAIN},
                        fields=record["fields"],
                        code=codes.get(i),
                        vector=None if vector is None else vector.numpy().copy(),
                    )
                )
            delay = int(state.data["delay"])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise StateError(f"delayed targets are damaged: {error!r}") from error
        self.delay, self._waiting = delay, waiting


def _codes(state: State) -> dict[int, Code]:
    """Codes by position in the queue."""
    if "code.rows" not in state.tensors:
        return {}
    arrays = {
        name: state.tensors[f"code.{name}"].numpy()
        for name in ("rows", "dense", "gram_counts", "gram_ids", "gram_values")
    }
    ends = np.cumsum(arrays["gram_counts"])
    if len(arrays["gram_ids"]) != ends[-1] or len(arrays["gram_values"]) != ends[-1]:
        raise ValueError(f"{ends[-1]} grams expected, found {len(arrays['gram_ids'])}")
    ids = np.split(arrays["gram_ids"].astype(np.uint32), ends[:-1])
    values = np.split(arrays["gram_values"].astype(np.uint8), ends[:-1])
    dense = arrays["dense"].astype(np.int8)
    return {
        int(row): Code(dense[k].copy(), ids[k].copy(), values[k].copy())
        for k, row in enumerate(arrays["rows"])
    }
