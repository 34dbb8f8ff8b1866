"""From examples to codes and features: all that a predictor needs of a learner beside its solution."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch

from everlearn.errors import ConfigError, StateError
from everlearn.learning.closed_form.features import FeatureMap
from everlearn.learning.closed_form.remade import Spare
from everlearn.types import Code, Example

__all__ = ["Coder", "Coding", "Featurize", "RecentFeatures"]

Featurize = Callable[[Sequence[Code]], torch.Tensor]
"""Gives int8 features (B, M) of codes."""


class Coder(Protocol):
    """Turns examples into codes; see ``everlearn.models.TextCoder`` and ``VectorCoder``."""

    dense_size: int
    leading_size: int
    sketch_size: int

    @property
    def fingerprint(self) -> str:
        """Names the model and every setting that changes codes."""
        ...

    def encode_examples(self, examples: Sequence[Example]) -> list[Code]:
        """One code an example, in order."""
        ...

    def reading_problem(self, text: str) -> str | None:
        """Why a text cannot be read; None: it can."""
        ...


class Coding:
    """Codes of examples, and features of codes.

    Args:
        coder: Makes codes of examples that have none; None where all come with codes.
        dense_size: Length of the codes.
        feature_map: Makes features of them.
        device: Where features are computed.

    Attributes:
        sizes: Codings of the same make the same features of the same codes.
        sketched: Which features are the sketch's.
        views: Which features are the codes' leading components, and which the others of the trunk.
    """

    def __init__(
        self, coder: Coder | None, dense_size: int, feature_map: FeatureMap, device: torch.device
    ) -> None:
        self._coder = coder
        self._dense_size = dense_size
        self._feature_map = feature_map
        self.sizes = feature_map.sizes
        self.sketched = feature_map.sketched
        self.views = feature_map.views
        self._device = device

    def prepare(self, examples: Sequence[Example]) -> list[Example]:
        """The examples with codes; codes are computed once, for those that have none.

        Raises:
            ConfigError: One has none, and there is no coder.
        """
        bare = [k for k, example in enumerate(examples) if example.code is None]
        prepared = list(examples)
        if bare:
            if self._coder is None:
                raise ConfigError(
                    f"example {examples[bare[0]].id!r} has no code and this learner has no coder"
                )
            codes = self._coder.encode_examples([examples[k] for k in bare])
            for k, code in zip(bare, codes, strict=True):
                prepared[k] = examples[k].with_code(code)
        return prepared

    def reading_problem(self, example: Example) -> str | None:
        """Why an example cannot be read; None: it can."""
        if self._coder is None or example.code is not None or example.text is None:
            return None
        return self._coder.reading_problem(example.text)

    def codes(self, examples: Sequence[Example]) -> list[Code]:
        """The code of each example.

        Raises:
            ConfigError: As ``prepare``.
            StateError: One was made by another model or other settings.
        """
        codes = [example.code for example in self.prepare(examples)]
        result = [code for code in codes if code is not None]
        for example, code in zip(examples, result, strict=True):
            if code.dense.shape != (self._dense_size,):
                raise StateError(
                    f"example {example.id!r} has a code of length {code.dense.shape}, not "
                    f"{self._dense_size}: it was encoded by another model or other settings"
                )
        return result

    def features(self, codes: Sequence[Code]) -> torch.Tensor:
        """int8 features (B, M)."""
        dense = np.zeros((len(codes), self._dense_size), dtype=np.int8)
        for row, code in zip(dense, codes, strict=True):
            row[:] = code.dense
        return self._feature_map(torch.from_numpy(dense).to(self._device))


class RecentFeatures:
    """Features of codes; those of the last batch are kept: it is predicted, then learned.

    Args:
        featurize: Makes them.
    """

    def __init__(self, featurize: Featurize) -> None:
        self._featurize = featurize
        self._last: tuple[Sequence[Code], Spare[torch.Tensor]] | None = None

    def __call__(self, codes: Sequence[Code]) -> torch.Tensor:
        """int8 features (B, M)."""
        known, spare = self._last or ((), None)
        if spare is not None and len(known) == len(codes) and all(map(operator.is_, known, codes)):
            features = spare.get()
            if features is not None:
                return features
        features = self._featurize(codes)
        self._last = (codes, Spare(features, features.nbytes))
        return features
