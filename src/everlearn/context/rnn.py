"""A language model over a torch RNN, GRU or LSTM, and its carried hidden state.

Legend: R rows, L tokens of a row, N layers, H hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from everlearn.context.carry import Carry, CarryConfig, CarryResult, Rows
from everlearn.context.decoder import causal_lm_of
from everlearn.context.lane_states import LaneStates
from everlearn.errors import ConfigError
from everlearn.types import State

__all__ = ["CellName", "RnnCarry", "RnnLanguageModel"]

CellName = Literal["rnn", "gru", "lstm"]
_CELLS: dict[str, Any] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class RnnLanguageModel(nn.Module):
    """Embedding, recurrent layers, head.

    Args:
        vocabulary: V.
        hidden: H, also of the embedding.
        num_layers: N.
        cell: "rnn", "gru" or "lstm".

    Raises:
        ConfigError: The cell is none of these.

    Example:
        >>> model = RnnLanguageModel(vocabulary=50, hidden=8, cell="gru")
        >>> model(torch.zeros(2, 5, dtype=torch.long)).shape
        torch.Size([2, 5, 50])
    """

    is_rnn_language_model = True

    def __init__(self, vocabulary: int, hidden: int, num_layers: int = 1, cell: CellName = "gru") -> None:
        super().__init__()
        if cell not in get_args(CellName):
            raise ConfigError(f"cell must be one of {list(get_args(CellName))}, not {cell!r}")
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.rnn = _CELLS[cell](hidden, hidden, num_layers, batch_first=True)
        self.head = nn.Linear(hidden, vocabulary)

    def get_input_embeddings(self) -> nn.Module:
        """The embedding."""
        return self.embedding

    def get_output_embeddings(self) -> nn.Module:
        """The head."""
        return self.head

    def states(
        self, ids_RL: Tensor, start: Sequence[Tensor] | None, length_R: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What the head reads, and where the rows end.

        Args:
            ids_RL: Tokens.
            start: Hidden state (R, N, H), for an LSTM also the cell's; None: zeros.
            length_R: Tokens of each row before padding; None: all L.

        Returns:
            (R, L, H), zero where padded, and the states after each row's last token.
        """
        if length_R is None:
            length_R = torch.full((len(ids_RL),), ids_RL.shape[1])
        # Lengths have to be on the processor, whatever the device of the tokens.
        packed = pack_padded_sequence(
            self.embedding(ids_RL), length_R.cpu(), batch_first=True, enforce_sorted=False
        )
        begin = None if start is None else tuple(state.transpose(0, 1).contiguous() for state in start)
        is_lstm = isinstance(self.rnn, nn.LSTM)
        output, end = self.rnn(packed, begin if begin is None or is_lstm else begin[0])
        states_RLH, _ = pad_packed_sequence(output, batch_first=True, total_length=ids_RL.shape[1])
        ends = end if is_lstm else (end,)
        return states_RLH, tuple(state.transpose(0, 1) for state in ends)

    def forward(self, ids_RL: Tensor) -> Tensor:
        """Logits (R, L, V) of the next tokens."""
        logits_RLV: Tensor = self.head(self.states(ids_RL, None)[0])
        return logits_RLV


class RnnCarry(Carry):
    """The hidden state of a ``RnnLanguageModel``; a row holds one document.

    Args:
        model: The language model.
        config: The settings; sinks and window do not apply.
        num_lanes: B.
    """

    kind = "rnn"
    one_document_per_row = True

    def __init__(self, model: nn.Module, config: CarryConfig, num_lanes: int) -> None:
        super().__init__(config, num_lanes)
        self._states = LaneStates(num_lanes, config.tensor_dtype, next(model.parameters()).device)

    def forward(self, model: nn.Module, rows: Rows) -> CarryResult:
        """See ``Carry``."""
        starts = self._states.read(rows.lanes_R, rows.document_RL[:, 0])
        begin = None if starts is None else [starts[name] for name in sorted(starts)]
        length_R = (rows.document_RL >= 0).sum(1)
        states_RLH, ends = causal_lm_of(model).states(rows.ids_RL, begin, length_R)
        return CarryResult(states_RLH, {str(number): end for number, end in enumerate(ends)})

    def advance(self, rows: Rows, result: CarryResult, detach: bool = True) -> None:
        """See ``Carry``."""
        self._states.write(rows.lanes_R, rows.document_RL[:, 0], result.carried, detach)

    def detach(self) -> None:
        """See ``Carry``."""
        self._states.detach()

    def reset(self, lanes: Sequence[int]) -> None:
        """See ``Carry``."""
        self._states.reset(lanes)

    @property
    def num_bytes(self) -> int:
        """See ``Carry``."""
        return self._states.num_bytes

    def state(self) -> State:
        """See ``Carry``."""
        saved = self._states.state()
        return State(saved.tensors, {**saved.data, **self._settings()})

    def restore(self, state: State) -> None:
        """See ``Carry``."""
        self._check_settings(state)
        self._states.restore(state)
