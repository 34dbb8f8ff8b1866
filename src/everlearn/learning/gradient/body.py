"""What is below the head: a module that turns inputs into features.

B: examples, F: input features, H: features for the head.
"""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from everlearn.errors import InputError, ModelError
from everlearn.learning.gradient.growing_head import GrowingHead
from everlearn.memory import InputArray
from everlearn.types import Example, Json

__all__ = ["Body", "Classifier", "VectorBody", "sha256_of_tensors"]


class Body(nn.Module, ABC):
    """Turns examples into input arrays once, and input arrays into features at every step.

    Attributes:
        feature_size: H.
        num_layers: Encoder layers, for ``trainable="layers:K-N"``; 0 where there are none.
        network: The module whose parameters are trained.
    """

    feature_size: int
    num_layers: int
    network: nn.Module

    @abstractmethod
    def to_inputs(self, examples: Sequence[Example]) -> list[InputArray]:
        """Input arrays of examples.

        Raises:
            InputError: An example lacks what this body reads; names its id.
        """

    def reading_problem(self, example: Example) -> str | None:
        """Why an example cannot be read, where that is told without a forward pass; None: it can."""
        return None

    @abstractmethod
    def forward(self, inputs: Sequence[InputArray]) -> Tensor:
        """Features (B, H), not in reduced precision."""

    @abstractmethod
    def identity(self) -> Json:
        """JSON that is equal for two bodies exactly when a saved state of one fits the other."""


class Classifier(nn.Module):
    """A body and its head; maps a sequence of input arrays to logits (B, C)."""

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body
        reference = next(body.parameters(), torch.zeros(()))
        dtype = torch.float64 if reference.dtype == torch.float64 else torch.float32
        self.head = GrowingHead(body.feature_size, dtype=dtype, device=reference.device)

    def forward(self, inputs: Sequence[InputArray]) -> Tensor:
        """Logits (B, C)."""
        logits: Tensor = self.head(self.body(inputs))
        return logits


class VectorBody(Body):
    """Any module over vectors, for examples with ``vector`` instead of a text.

    Args:
        network: Maps float (B, F) to (B, H). It is copied; the learner trains its own copy.
        feature_size: H.
        autocast_dtype: Reduced precision for matrix products; None: the module's own.
    """

    def __init__(
        self, network: nn.Module, feature_size: int, autocast_dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval()
        self.feature_size = feature_size
        self.num_layers = 0
        self.autocast_dtype = autocast_dtype

    def to_inputs(self, examples: Sequence[Example]) -> list[InputArray]:
        """Vectors in the module's precision; refuses missing, non-finite and not one-dimensional ones."""
        reference = next(self.network.parameters(), torch.zeros(()))
        dtype = np.float64 if reference.dtype == torch.float64 else np.float32
        inputs: list[InputArray] = []
        for example in examples:
            if example.vector is None:
                raise InputError(
                    f"example {example.id!r} has no vector; this learner reads vectors, not texts"
                )
            vector: npt.NDArray[np.floating[Any]] = np.asarray(example.vector, dtype=dtype)
            if vector.ndim != 1 or not np.isfinite(vector).all():
                raise InputError(
                    f"the vector of example {example.id!r} must be one-dimensional and finite, "
                    f"not of shape {vector.shape} with {int((~np.isfinite(vector)).sum())} other values"
                )
            if inputs and vector.shape != inputs[0].shape:
                raise InputError(
                    f"the vector of example {example.id!r} has {vector.shape[0]} values, "
                    f"others of its batch {inputs[0].shape[0]}"
                )
            inputs.append(vector)
        return inputs

    def forward(self, inputs: Sequence[InputArray]) -> Tensor:
        """Features (B, H)."""
        reference = next(self.network.parameters(), torch.zeros(()))
        vectors_BF = torch.from_numpy(np.stack(inputs)).to(reference.device)
        enabled = self.autocast_dtype is not None
        with torch.autocast(vectors_BF.device.type, self.autocast_dtype or torch.bfloat16, enabled=enabled):
            features_BH: Tensor = self.network(vectors_BF)
        if features_BH.shape != (len(inputs), self.feature_size):
            raise ModelError(
                f"the network gave features of shape {tuple(features_BH.shape)}, expected "
                f"({len(inputs)}, {self.feature_size}); set feature_size to what it gives"
            )
        return features_BH.float() if features_BH.dtype != vectors_BF.dtype else features_BH

    def identity(self) -> Json:
        """Hash of the weights that are not trained, so that differently started copies fit."""
        frozen = {
            name: weight for name, weight in self.network.named_parameters() if not weight.requires_grad
        }
        return {"kind": "vector", "feature_size": self.feature_size, "sha256": sha256_of_tensors(frozen)}


def sha256_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes, dtypes and bytes, in order of names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        # A copy, as a single value can count as contiguous with a stride of 0, and has no view as bytes then.
        tensor = tensors[name].detach().cpu().clone(memory_format=torch.contiguous_format)
        digest.update(f"{name}|{tuple(tensor.shape)}|{tensor.dtype}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
