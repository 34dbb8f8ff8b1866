"""What a lane carries from one chunk to the next, behind one interface.

Legend: R rows (one a lane), B lanes, L tokens of a row, H hidden size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from everlearn.context.lanes import LaneChunk
from everlearn.errors import ConfigError, StateError
from everlearn.settings.language import CarrySettings
from everlearn.settings.learner_config import LearnerConfig
from everlearn.types import State

__all__ = ["Carry", "CarryConfig", "CarryDtype", "CarryKind", "CarryResult", "Rows"]

CarryKind = Literal["auto", "attention", "recurrent", "rnn", "none"]
CarryDtype = Literal["model", "float32", "bfloat16"]


class CarryConfig(CarrySettings, LearnerConfig):
    """What is carried, and how much of it.

    With ``gradient_chunks`` of 0 the carried context is detached. k: chunks are learned in groups of k + 1
    within which it is not (truncated back-propagation through time; recurrent memory transformers,
    arXiv:2207.06881).
    """

    kind: CarryKind = "auto"
    """"attention" (keys and values of earlier tokens), "recurrent" (states of Mamba, RWKV, gated delta nets),
    "rnn" (hidden state of a torch RNN), "none", or "auto": by the model."""
    window: int | None = Field(default=1024, ge=1)
    """Last tokens that are kept; None: all of the document. Of "attention". The default has room in models
    that were trained on 2,048 tokens; see ``ROOMY_WINDOW`` for those with more."""
    dtype: CarryDtype = "model"
    """What the carried tensors are kept in; "model": as the model makes them."""

    @property
    def tensor_dtype(self) -> torch.dtype | None:
        """``dtype`` as torch's; None for "model"."""
        return None if self.dtype == "model" else getattr(torch, self.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What a model reads of a ``LaneChunk``, as int64 tensors on the model's device.

    Attributes:
        lanes_R: Lane of each row; no lane twice.
        ids_RL: Tokens; any valid id where padded.
        document_RL: Number of the document, -1 for padding, which only follows tokens.
        position_RL: Position within the document, from 0.
    """

    lanes_R: Tensor
    ids_RL: Tensor
    document_RL: Tensor
    position_RL: Tensor

    @classmethod
    def from_chunk(cls, chunk: LaneChunk, device: torch.device | str = "cpu") -> Rows:
        """The tensors of a chunk."""
        arrays = (chunk.lanes, chunk.ids, chunk.document, chunk.position)
        return cls(*(torch.from_numpy(array).to(device) for array in arrays))


@dataclass(frozen=True, slots=True, eq=False)
class CarryResult:
    """What one forward pass gives.

    Attributes:
        states_RLH: Last hidden states, as they go into the LM head; arbitrary where padded.
        carried: New context for ``Carry.advance`` of the same carry; opaque to everybody else.
    """

    states_RLH: Tensor
    carried: Any


class Carry(ABC):
    """The context of all lanes.

    Between two chunks: ``result = carry.forward(model, rows)``, the loss on ``result.states_RLH``, the
    optimizer's step, then ``carry.advance(rows, result)``. A lane's context belongs to the document of its
    last token; a token of another document does not see it.

    Attributes:
        kind: As in ``CarryConfig``.
        config: The settings.
        num_lanes: B.
        one_document_per_row: Whether a row may hold tokens of one document only, because the model
            cannot start anew within a row; ``Lanes`` takes this flag.
    """

    kind: CarryKind
    one_document_per_row: bool = False

    def __init__(self, config: CarryConfig, num_lanes: int) -> None:
        if num_lanes < 1:
            raise ConfigError(f"num_lanes must be at least 1, not {num_lanes!r}")
        self.config = config
        self.num_lanes = num_lanes

    @abstractmethod
    def forward(self, model: nn.Module, rows: Rows) -> CarryResult:
        """Run the model on the rows with their lanes' context; changes nothing.

        Args:
            model: The causal LM, bare or wrapped by peft; its head is not run.
            rows: Rows of different lanes.
        """

    @abstractmethod
    def advance(self, rows: Rows, result: CarryResult, detach: bool = True) -> None:
        """Make ``result`` the context of the rows' lanes.

        Args:
            rows: As passed to ``forward``.
            result: What ``forward`` gave for them.
            detach: Cut the gradient; False keeps the graph, so that later losses reach these tokens.
        """

    @abstractmethod
    def detach(self) -> None:
        """Cut the gradient of all lanes' context, in place."""

    @abstractmethod
    def reset(self, lanes: Sequence[int]) -> None:
        """Drop the context of these lanes; nothing of it stays in memory."""

    @property
    @abstractmethod
    def num_bytes(self) -> int:
        """Bytes of the carried tensors."""

    @abstractmethod
    def state(self) -> State:
        """The context, detached; restoring it elsewhere gives bit-identical results."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Replace the context.

        Raises:
            StateError: The state is damaged, or of a carry with other settings.
        """

    def _settings(self) -> dict[str, Any]:
        """What a saved state must agree with."""
        return {"format": 1, "kind": self.kind, "num_lanes": self.num_lanes}

    def _check_settings(self, state: State) -> None:
        for name, present in self._settings().items():
            saved = state.data.get(name)
            if saved != present:
                raise StateError(f"the saved context has {name}={saved!r}, this one {present!r}")
