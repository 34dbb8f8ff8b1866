"""The state of a gradient learner as tensors by name and JSON, and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence

from torch import Tensor

from everlearn.errors import StateError
from everlearn.learning.gradient.body import sha256_of_tensors
from everlearn.learning.method import Method
from everlearn.types import Json, State

__all__ = [
    "check_description",
    "check_weights",
    "fingerprint_of",
    "methods_state",
    "most_forgotten",
    "restore_methods",
    "with_prefix",
    "without_prefix",
]


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors with longer names."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix, without it."""
    start = f"{prefix}/"
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def most_forgotten(methods: Sequence[Method], ids: Collection[str]) -> int:
    """Let all methods forget examples; returns of how many something was kept.

    Methods say how many, and not which: those that several of them kept are counted once.
    """
    return max((method.forget(ids) for method in methods), default=0)


def fingerprint_of(state: State) -> str:
    """SHA-256 of tensors and data: equal for learners that go on equally."""
    digest = hashlib.sha256(sha256_of_tensors(dict(state.tensors)).encode())
    digest.update(json.dumps(state.data, sort_keys=True).encode())
    return digest.hexdigest()


def check_description(state: State, description: Mapping[str, Json]) -> None:
    """Compare what a state says of its learner with what this one says; None stands for no entry.

    Raises:
        StateError: They differ; names the first entry that does.
    """
    for key, expected in description.items():
        if state.data.get(key) != expected:
            raise StateError(
                f"the state has {key} {state.data.get(key)!r}, this learner {expected!r}; "
                "make the learner as it was when the state was saved"
            )


def methods_state(methods: Sequence[Method]) -> State:
    """The states of all methods in one, by their place in the list."""
    tensors: dict[str, Tensor] = {}
    data = []
    for place, method in enumerate(methods):
        state = method.state()
        tensors.update(with_prefix(str(place), state.tensors))
        data.append({"class": type(method).__name__, "data": state.data})
    return State(tensors, {"methods": data})


def restore_methods(methods: Sequence[Method], state: State) -> None:
    """Invert ``methods_state``.

    Raises:
        StateError: The methods are not those that were saved, or one refuses its state.
    """
    entries = state.data["methods"]
    saved, present = [entry["class"] for entry in entries], [type(method).__name__ for method in methods]
    if saved != present:
        raise StateError(f"the state was saved with the methods {saved}, this learner has {present}")
    for place, (method, entry) in enumerate(zip(methods, entries, strict=True)):
        method.restore(State(without_prefix(str(place), state.tensors), entry["data"]))


def check_weights(
    saved: Mapping[str, Tensor], present: Mapping[str, Tensor], num_labels: int | None = None
) -> None:
    """Compare names and shapes before anything is changed.

    Args:
        saved: Weights of the state.
        present: Weights of the learner; those of the head may have another number of rows.
        num_labels: Rows that the state's growing head must have; None: there is none.

    Raises:
        StateError: They do not fit; names the first that does not.
    """
    if saved.keys() != present.keys():
        names = sorted(saved.keys() ^ present.keys())
        raise StateError(
            f"the state has other trained weights than this learner: {len(names)} differ, first {names[0]!r}"
        )
    for name, tensor in saved.items():
        shape = tuple(present[name].shape)
        expected = (num_labels, *shape[1:]) if num_labels is not None and name.startswith("head.") else shape
        if tuple(tensor.shape) != expected or tensor.dtype != present[name].dtype:
            raise StateError(
                f"the saved weight {name!r} is {tensor.dtype} {tuple(tensor.shape)}, "
                f"expected {present[name].dtype} {expected}"
            )
