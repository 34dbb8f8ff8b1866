"""New rows that mean to the model what their pieces meant.

The model itself is the teacher: it reads a text that was seen before, in the old tokens and in the new ones.
Where a new token ends, its pieces end too, and the hidden states there should be the same. Only the new rows
move. The lower third of the layers is enough, as pieces are put together there, and costs a third of a pass
(after "Token Distillation", Dobler et al. 2025, https://arxiv.org/abs/2505.20133).

L: new tokens of a row, K: old tokens of the same text, H: hidden size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from everlearn.errors import ModelError
from everlearn.models.added_rows import AddedRows

__all__ = ["align_rows"]


def align_rows(
    model: Any,
    rows: AddedRows,
    pieces: Mapping[int, tuple[int, ...]],
    texts: Sequence[Tensor],
    *,
    num_passes: int = 2,
    learning_rate: float = 1e-2,
    num_layers: int | None = None,
) -> list[float]:
    """Train the new input rows until the lower layers see in them what they saw in the pieces, in place.

    Args:
        model: A transformers model with split rows; it runs as it is, in train() or eval() mode.
        rows: Its rows.
        pieces: Old ids of each new token, of ``Growth``.
        texts: int64 (L,) each, texts that were seen in the new tokens, no longer than the model reads.
        num_passes: Over the texts.
        learning_rate: Of Adam, in units of the embedding; falls to zero linearly.
        num_layers: Layers to run; None: a third of the model's.

    Returns:
        Mean squared distance of the states relative to their square, by pass.

    Raises:
        ModelError: The network has no list of layers.
    """
    layers = _layers(model)
    depth = max(1, len(layers) // 3) if num_layers is None else min(num_layers, len(layers) - 1)
    stop_at = layers[depth]
    parameter = rows.parameters[0]
    optimizer = torch.optim.Adam([parameter], lr=learning_rate, betas=(0.9, 0.98))
    num_steps = max(1, num_passes * len(texts))
    device = parameter.device
    distances = []
    for number in range(num_passes):
        total = 0.0
        for k, new_L in enumerate(texts):
            old_K, ends_L = _in_old_tokens(new_L, pieces)
            with torch.no_grad():
                target_LH = _states(model, stop_at, old_K.to(device))[ends_L.to(device)]
            difference_LH = _states(model, stop_at, new_L.to(device)) - target_LH
            # Relative at each token: the first one's state is a hundred times as long as the others'.
            loss = (difference_LH.square().sum(1) / target_LH.square().sum(1)).mean()
            (parameter.grad,) = torch.autograd.grad(loss, [parameter])
            optimizer.param_groups[0]["lr"] = learning_rate * (1 - (number * len(texts) + k) / num_steps)
            optimizer.step()
            total += loss.item()
        distances.append(total / max(1, len(texts)))
    parameter.grad = None
    return distances


def _in_old_tokens(new_L: Tensor, pieces: Mapping[int, tuple[int, ...]]) -> tuple[Tensor, Tensor]:
    """The same text in old tokens (K,), and where each new token ends in it (L,)."""
    parts = [pieces.get(id_, (id_,)) for id_ in new_L.tolist()]
    old_K = torch.tensor([id_ for part in parts for id_ in part])
    return old_K, torch.tensor([len(part) for part in parts]).cumsum(0) - 1


class _Reached(Exception):
    """The layer behind the last one to run was called."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


def _states(model: Any, stop_at: nn.Module, ids_L: Tensor) -> Tensor:
    """float32 hidden states (L, H) that a layer is given; nothing behind it is run."""

    def stop(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        raise _Reached(inputs[0] if inputs else named["hidden_states"])

    # A cache would be filled a second time where layers are run again in the backward pass.
    named = {"use_cache": False} if getattr(model.config, "use_cache", False) else {}
    handle = stop_at.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        model(input_ids=ids_L[None], **named)
    except _Reached as reached:
        return reached.states[0].float()
    finally:
        handle.remove()
    raise AssertionError("the layer was not reached")


def _layers(model: nn.Module) -> nn.ModuleList:
    count = getattr(model.config, "num_hidden_layers", 0)
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count > 1:
            return module
    raise ModelError(f"the network has no list of {count} layers, or no more than one")
