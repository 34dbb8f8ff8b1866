"""Training the rows of new tokens alone: the rows of old tokens are not even part of the optimizer.

The embedding and the head are split in two while they are trained. Old rows stay frozen parameters, so that
neither momentum nor weight decay can move them and no gradient of their size is computed; new rows are one
float32 parameter, shared by embedding and head where the model ties them. Where the old rows were in training
before they can go on being, as a parameter of their own. ``merge`` makes one ordinary matrix of both again.

V: old rows, N: new rows, H: hidden size, B: texts, L: tokens.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from everlearn.errors import ModelError

__all__ = ["AddedRows", "SplitEmbedding", "SplitHead"]


class SplitEmbedding(nn.Module):
    """An embedding whose last rows are a parameter of their own.

    Args:
        embedding: The whole embedding (V + N, H); it is not changed.
        old_rows: Parameter (V, H).
        new_rows: Parameter (N, H).
    """

    def __init__(self, embedding: nn.Embedding, old_rows: nn.Parameter, new_rows: nn.Parameter) -> None:
        super().__init__()
        self.first_row = len(old_rows)
        # Copies of the module, as some models scale in their embedding's forward.
        self.old = _with_rows(embedding, old_rows)
        self.new = _with_rows(embedding, new_rows)
        self.new.padding_idx = None

    @property
    def weight(self) -> Tensor:
        """Both parts as one matrix (V + N, H), in the number format of the old rows."""
        return torch.cat([self.old.weight, self.new.weight.to(self.old.weight.dtype)])

    def forward(self, ids_BL: Tensor) -> Tensor:
        """Rows of the tokens (B, L, H)."""
        is_new_BL = ids_BL >= self.first_row
        old_BLH: Tensor = self.old(ids_BL.masked_fill(is_new_BL, 0))
        new_BLH = self.new((ids_BL - self.first_row).clamp(min=0)).to(old_BLH.dtype)
        return torch.where(is_new_BL[..., None], new_BLH, old_BLH)


class SplitHead(nn.Module):
    """A language model's head whose last rows are a parameter of their own.

    Args:
        head: The whole head (V + N outputs); it is not changed.
        old_rows: Parameter (V, H).
        new_rows: Parameter (N, H).
    """

    def __init__(self, head: nn.Linear, old_rows: nn.Parameter, new_rows: nn.Parameter) -> None:
        super().__init__()
        self.first_row = len(old_rows)
        self.in_features, self.out_features = head.in_features, head.out_features
        self.old_weight = old_rows
        self.new_weight = new_rows
        self.bias: nn.Parameter | None
        # The bias of a new token is not trained: what it could say, its row says.
        self.register_parameter(
            "bias", None if head.bias is None else nn.Parameter(head.bias.detach(), False)
        )

    @property
    def weight(self) -> Tensor:
        """Both parts as one matrix (V + N, H), in the number format of the old rows."""
        return torch.cat([self.old_weight, self.new_weight.to(self.old_weight.dtype)])

    def forward(self, states_BLH: Tensor) -> Tensor:
        """Logits (B, L, V + N)."""
        old_BLV = functional.linear(states_BLH, self.old_weight)
        new_BLN = functional.linear(states_BLH, self.new_weight.to(self.old_weight.dtype))
        logits_BLT = torch.cat([old_BLV, new_BLN], dim=-1)
        return logits_BLT if self.bias is None else logits_BLT + self.bias.to(logits_BLT.dtype)


class AddedRows:
    """The rows of new tokens of a model, in training.

    Splits the model's embedding and head in place. Everything else of the model stays as it was, so adapters
    on its linear layers go on, before or after. ``merge`` must come before the model is saved.

    Args:
        model: A transformers model, or an adapted one that gives its embeddings.
        first_row: Id of the first new token; that row and all behind it are trained.
        trains_old: Old rows of a matrix that takes gradients take them further; else they are frozen.

    Attributes:
        parameters: float32 (N, H), the input rows; and the output rows where they are not tied.
        old_parameters: The rows of old tokens (V, H), of the same matrices.

    Raises:
        ModelError: There are no such rows, they are split already, or embedding or head are of a kind that
            cannot be split (quantised, adapted).

    Example:
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> sizes = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=12, tie_word_embeddings=True, **sizes))
        >>> rows = AddedRows(model, first_row=10)
        >>> [tuple(parameter.shape) for parameter in rows.parameters]
        [(2, 8)]
        >>> rows.merge()
        >>> tuple(model.get_input_embeddings().weight.shape)
        (12, 8)
    """

    def __init__(self, model: Any, first_row: int, *, trains_old: bool = False) -> None:
        self._model = model
        self.first_row = first_row
        self._embedding = model.get_input_embeddings()
        self._head = model.get_output_embeddings()
        self._check()
        self.is_tied = self._head is not None and self._head.weight is self._embedding.weight
        self._wholes = [self._embedding.weight]
        if self._head is not None and not self.is_tied:
            self._wholes.append(self._head.weight)
        self.parameters = [_new_parameter(weight, first_row) for weight in self._wholes]
        self.old_parameters = [
            nn.Parameter(weight.detach()[:first_row], trains_old and weight.requires_grad)
            for weight in self._wholes
        ]
        model.set_input_embeddings(
            SplitEmbedding(self._embedding, self.old_parameters[0], self.parameters[0])
        )
        if self._head is not None:
            model.set_output_embeddings(SplitHead(self._head, self.old_parameters[-1], self.parameters[-1]))

    def merge(self) -> None:
        """Write the rows into the ordinary embedding and head and put these back, in place.

        They are the same modules and parameters as before the split, so what is tied stays tied.
        """
        with torch.no_grad():
            for whole, old, new in zip(self._wholes, self.old_parameters, self.parameters, strict=True):
                whole[self.first_row :] = new.to(whole.dtype)
                if old.requires_grad:  # they mostly share their memory, but need not
                    whole[: self.first_row] = old
        self._model.set_input_embeddings(self._embedding)
        if self._head is not None:
            self._model.set_output_embeddings(self._head)

    def _check(self) -> None:
        embedding, head = self._embedding, self._head
        if not isinstance(embedding, nn.Embedding) or not (head is None or type(head) is nn.Linear):
            kinds = f"{type(embedding).__name__} and {type(head).__name__}"
            raise ModelError(f"rows can be trained alone of a plain embedding and head, not of {kinds}")
        if not 0 < self.first_row < embedding.num_embeddings:
            raise ModelError(
                f"no new rows: {embedding.num_embeddings} rows, the first new is {self.first_row}"
            )


def _new_parameter(weight: Tensor, first_row: int) -> nn.Parameter:
    return nn.Parameter(weight.detach()[first_row:].to(torch.float32, copy=True))


def _with_rows(embedding: nn.Embedding, rows: nn.Parameter) -> nn.Embedding:
    other = copy.copy(embedding)
    # A copied module shares the tables of its original.
    other._parameters = {**embedding._parameters, "weight": rows}
    other._buffers, other._modules = dict(embedding._buffers), dict(embedding._modules)
    other.num_embeddings = len(rows)
    return other
