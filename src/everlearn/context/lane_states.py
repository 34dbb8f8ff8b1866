"""Recurrent states of all lanes: tensors by name, one row a lane.

Legend: B lanes, R rows of the present chunk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from everlearn.errors import StateError
from everlearn.types import State

__all__ = ["LaneStates"]


class LaneStates:
    """What each lane's document left behind.

    Args:
        num_lanes: B.
        dtype: What states are kept in; None: as the model makes them.
        device: Where the model is.
        fresh_values: What states start with that do not start with 0, by name.
    """

    def __init__(
        self,
        num_lanes: int,
        dtype: torch.dtype | None,
        device: torch.device,
        fresh_values: Mapping[str, float] | None = None,
    ) -> None:
        self.num_lanes = num_lanes
        self._dtype = dtype
        self._device = device
        self._fresh_values = dict(fresh_values or {})
        self._clear()

    def _clear(self) -> None:
        self._tensors: dict[str, Tensor] = {}
        # What the model makes, to give it back: it may keep float32 states in a bfloat16 model.
        self._model_dtypes: dict[str, torch.dtype] = {}
        self._document_B: Tensor | None = None

    def read(self, lanes_R: Tensor, document_R: Tensor) -> dict[str, Tensor] | None:
        """The states that rows start from; None where all start anew.

        Args:
            lanes_R: Lane of each row.
            document_R: Document of each row; a lane's state is only given to the document that made it.
        """
        if self._document_B is None:
            return None
        is_new_R = self._document_B.index_select(0, lanes_R) != document_R
        if bool(is_new_R.all()):
            return None
        read = {}
        for name, tensor in self._tensors.items():
            rows = tensor.index_select(0, lanes_R).to(self._model_dtypes[name])
            mask = is_new_R.view(-1, *(1,) * (rows.dim() - 1))
            read[name] = rows.masked_fill(mask, self._fresh_values.get(name, 0.0))
        return read

    def write(self, lanes_R: Tensor, document_R: Tensor, states: Mapping[str, Tensor], detach: bool) -> None:
        """Replace the states of the rows' lanes."""
        if self._document_B is None:
            self._document_B = document_R.new_full((self.num_lanes,), -1)
        for name, tensor in states.items():
            self._model_dtypes[name] = tensor.dtype
            kept = (tensor.detach() if detach else tensor).to(self._dtype or tensor.dtype)
            if name not in self._tensors:
                self._tensors[name] = kept.new_zeros(self.num_lanes, *kept.shape[1:])
            self._tensors[name] = self._tensors[name].index_copy(0, lanes_R, kept)
        self._document_B = self._document_B.index_copy(0, lanes_R, document_R)

    def detach(self) -> None:
        """Cut the gradient."""
        self._tensors = {name: tensor.detach() for name, tensor in self._tensors.items()}

    def reset(self, lanes: Sequence[int]) -> None:
        """Forget the states of some lanes; they are overwritten by zeros."""
        if self._document_B is None or not len(lanes):
            return
        is_gone_B = torch.zeros_like(self._document_B, dtype=torch.bool)
        is_gone_B[list(lanes)] = True
        self._document_B = self._document_B.masked_fill(is_gone_B, -1)
        self._tensors = {
            name: tensor.masked_fill(is_gone_B.view(-1, *(1,) * (tensor.dim() - 1)), 0)
            for name, tensor in self._tensors.items()
        }

    @property
    def num_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self._tensors.values())

    def state(self) -> State:
        """A copy, detached."""
        tensors = {f"states/{name}": tensor.detach().clone() for name, tensor in self._tensors.items()}
        if self._document_B is not None:
            tensors["document_B"] = self._document_B.clone()
        names = {name: str(dtype).removeprefix("torch.") for name, dtype in self._model_dtypes.items()}
        return State(tensors, {"model_dtypes": names})

    def restore(self, state: State) -> None:
        """Invert ``state``.

        Raises:
            StateError: The state is damaged.
        """
        try:
            dtypes = {name: getattr(torch, dtype) for name, dtype in state.data["model_dtypes"].items()}
            tensors = {name: state.tensors[f"states/{name}"].clone().to(self._device) for name in dtypes}
            document_B = state.tensors["document_B"].clone().to(self._device) if tensors else None
        except (KeyError, TypeError, AttributeError) as error:
            raise StateError(f"the saved context is damaged: {error!r}") from error
        if any(len(tensor) != self.num_lanes for tensor in tensors.values()):
            raise StateError("the saved context is damaged: it is not of this number of lanes")
        self._clear()
        self._tensors, self._model_dtypes, self._document_B = tensors, dtypes, document_B
