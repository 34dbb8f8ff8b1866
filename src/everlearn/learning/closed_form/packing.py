"""What predictions are made by as tensors and JSON, and back, to the bit: for files that are mapped.

A predictor is a tree of objects, arrays and numbers. The objects are those of the table here, and nothing
else is made of what a file says. Its parts go by the names of attributes, so a file is of use to the very
version of everlearn that wrote it: it is derived, and made anew by another.

Unlike the state of a learner, it holds nothing that only learning needs, and nothing is computed or copied
where it is taken up: arrays are used where they lie.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from everlearn.learning.closed_form.class_means import ClassMeans
from everlearn.learning.closed_form.few_solution import FewSolution
from everlearn.learning.closed_form.label_sets.calibration import Calibration
from everlearn.learning.closed_form.label_sets.live import LiveSets
from everlearn.learning.closed_form.label_sets.settings import SetSettings
from everlearn.learning.closed_form.label_sets.solution import SetSolution
from everlearn.learning.closed_form.live.few_examples import FeatureRows
from everlearn.learning.closed_form.live.fresh_bayes import FreshBayes
from everlearn.learning.closed_form.live.fresh_ridge import FreshRidge
from everlearn.learning.closed_form.live.fresh_words import FreshWords, GramRows
from everlearn.learning.closed_form.live.live_solution import LiveSolution
from everlearn.learning.closed_form.live.ridge_base import DualBase, PrimalBase
from everlearn.learning.closed_form.live.row_blocks import RowBlocks, TriangleBlocks
from everlearn.learning.closed_form.live.signed_rows import SignedRows
from everlearn.learning.closed_form.mixture import Mixture
from everlearn.learning.closed_form.naive_bayes import NaiveBayesScorer
from everlearn.learning.closed_form.remade import Kept, Remade
from everlearn.learning.closed_form.ridge import RidgeSolution
from everlearn.learning.closed_form.solution import Settings, Solution
from everlearn.learning.closed_form.word_ridge import WordRidge
from everlearn.types import Json, State

__all__ = ["pack", "unpack"]

_CLASSES: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        Calibration,
        ClassMeans,
        DualBase,
        FeatureRows,
        FewSolution,
        FreshBayes,
        FreshRidge,
        FreshWords,
        GramRows,
        LiveSets,
        LiveSolution,
        Mixture,
        NaiveBayesScorer,
        PrimalBase,
        RidgeSolution,
        RowBlocks,
        SetSettings,
        SetSolution,
        Settings,
        SignedRows,
        Solution,
        TriangleBlocks,
        WordRidge,
    )
}
_PASSING = frozenset({"_last", "_last_words", "_of_classes"})
"""Attributes that hold what was made for what was seen last; None where they are taken up."""
_TRIMMED: dict[type[Any], Callable[[Any], Any]] = {
    FreshRidge: FreshRidge.trimmed,
    SignedRows: SignedRows.trimmed,
}
"""How objects with room to spare are made without."""


def pack(solution: Any) -> State:
    """A solution as tensors and JSON; see ``unpack``."""
    packing = _Packing()
    tree = packing.of(solution)
    return State(packing.tensors, {"solution": tree})


def unpack(state: State) -> Any:
    """What ``pack`` was given. It computes on the tensors themselves.

    Raises:
        ValueError: It is none, or of another version.
        KeyError: A part is missing.
    """
    return _unpacked(state.data["solution"], state.tensors)


@dataclass(slots=True)
class _Packing:
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    _names: dict[int, str] = field(default_factory=dict)  # by identity of what is packed here, and so alive

    def of(self, value: Any) -> Json:
        """A value as JSON, which names its tensors."""
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return float(value)
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, tuple | list):
            return {"list": [self.of(item) for item in value], "is_tuple": isinstance(value, tuple)}
        if isinstance(value, Mapping):
            return {"mapping": [[key, self.of(item)] for key, item in value.items()]}
        if isinstance(value, torch.Tensor):
            return {"tensor": self._named(value)}
        if isinstance(value, np.ndarray):
            return {"array": self._named(torch.from_numpy(np.ascontiguousarray(value)))}
        if sp.issparse(value):
            parts = [self.of(part) for part in (value.data, value.indices, value.indptr)]
            return {"csr": parts, "shape": [int(size) for size in value.shape]}
        if isinstance(value, Kept | Remade):
            return {"kept": self.of(value.get())}
        return self._of_object(value)

    def _of_object(self, value: Any) -> Json:
        kind = type(value)
        if _CLASSES.get(kind.__name__) is not kind:
            raise TypeError(f"a {kind.__name__} is no part of what predictions are made by")
        value = _TRIMMED.get(kind, lambda as_it_is: as_it_is)(value)
        names = [one.name for one in fields(value)] if is_dataclass(value) else list(vars(value))
        parts = {name: None if name in _PASSING else self.of(getattr(value, name)) for name in names}
        return {"object": kind.__name__, "parts": parts}

    def _named(self, tensor: torch.Tensor) -> str:
        known = self._names.get(id(tensor))
        if known is not None:
            return known
        name = f"{len(self.tensors):04d}"
        self.tensors[name], self._names[id(tensor)] = tensor, name
        return name


def _unpacked(tree: Json, tensors: Mapping[str, torch.Tensor]) -> Any:
    if not isinstance(tree, Mapping):
        return tree
    if "object" in tree:
        kind = _CLASSES[str(tree["object"])]
        made = object.__new__(kind)
        for name, part in tree["parts"].items():
            object.__setattr__(made, name, _unpacked(part, tensors))  # some of them are frozen
        return made
    if "tensor" in tree:
        return tensors[tree["tensor"]]
    if "array" in tree:
        return tensors[tree["array"]].numpy()
    if "list" in tree:
        items = (_unpacked(item, tensors) for item in tree["list"])
        return tuple(items) if tree["is_tuple"] else list(items)
    if "mapping" in tree:
        return {key: _unpacked(item, tensors) for key, item in tree["mapping"]}
    if "csr" in tree:
        parts = tuple(_unpacked(part, tensors) for part in tree["csr"])
        return sp.csr_matrix(parts, shape=tuple(tree["shape"]))
    if "kept" in tree:
        return Kept(_unpacked(tree["kept"], tensors))
    raise ValueError(f"{sorted(tree)} is no part of what predictions are made by")
