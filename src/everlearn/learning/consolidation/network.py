"""A trunk with trainable adapters, and the unit vectors that codes are rounded from, with gradients.

Shapes: B texts of a batch, T tokens, D hidden size.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from everlearn.errors import MissingExtraError
from everlearn.learning.gradient.text_body import pool
from everlearn.models.encoder.load import Trunk
from everlearn.models.storage.adapters import Adapter

__all__ = ["AdaptedNetwork", "require_peft"]

_WIDTH_STEP = 8  # batches are as wide as a multiple of it: few shapes, so that the library caches few kernels


def require_peft() -> None:
    """Raise MissingExtraError where peft is not installed."""
    if importlib.util.find_spec("peft") is None:
        raise MissingExtraError("peft", "lora")


class AdaptedNetwork:
    """A frozen copy of a trunk with float32 adapters on all linear layers but an unused pooler's.

    Args:
        trunk: The base trunk; not changed.
        rank: Of the adapters.
        seed: Of their start.
        start: An adapter to start from, if it has no more ranks and no other layers than what is trained;
            None: from no change at all.

    Raises:
        MissingExtraError: peft is not installed.
    """

    def __init__(self, trunk: Trunk, rank: int, seed: int, start: Adapter | None = None) -> None:
        require_peft()
        from peft import LoraConfig, inject_adapter_in_model

        self._trunk = trunk
        model: Any = trunk.model
        self.network: Any = copy.deepcopy(model).eval().requires_grad_(False)
        self.network.set_attn_implementation("eager")  # the fused kernel's backward pass is slow on CPUs
        names = [
            name
            for name, module in self.network.named_modules()
            if isinstance(module, nn.Linear) and not name.startswith("pooler")
        ]
        with torch.random.fork_rng(devices=[trunk.device] if trunk.device.type == "cuda" else []):
            torch.manual_seed(seed)
            inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=names), self.network)
        self._weights: dict[str, nn.Parameter] = {}
        for name, module in self.network.named_modules():
            if hasattr(module, "lora_A"):
                for part in ("lora_A", "lora_B"):
                    weight = getattr(module, part)["default"].weight
                    weight.data = weight.data.float()
                    weight.requires_grad_(True)
                    self._weights[f"{name}.{part}"] = weight
        if start is not None and self._holds(start):
            self.load(start)

    def parameters(self) -> list[nn.Parameter]:
        """What is trained, in a fixed order."""
        return list(self._weights.values())

    def adapter(self) -> Adapter:
        """A copy of the adapters as they are."""
        return Adapter({name: weight.detach().cpu().clone() for name, weight in self._weights.items()})

    def load(self, adapter: Adapter) -> None:
        """Put the numbers of an adapter in place; of a lower rank, or fewer layers, beside what is there."""
        with torch.no_grad():
            for name, numbers in adapter.tensors.items():
                factor = adapter.scaling if name.endswith(".lora_B") else 1.0
                rows, columns = numbers.shape
                self._weights[name][:rows, :columns] = numbers.to(self._trunk.device) * factor

    def _holds(self, adapter: Adapter) -> bool:
        return all(
            name in self._weights
            and all(own <= most for own, most in zip(numbers.shape, self._weights[name].shape, strict=True))
            for name, numbers in adapter.tensors.items()
        )

    def unit_vectors(self, token_ids: Sequence[Sequence[int]], layers: Sequence[int]) -> list[Tensor]:
        """Pooled unit vectors float32 (B, D) of each of these layers."""
        from peft.helpers import disable_input_dtype_casting

        trunk = self._trunk
        longest = max(len(ids) for ids in token_ids)
        width = min(trunk.max_length, -(-longest // _WIDTH_STEP) * _WIDTH_STEP)
        ids_BT = np.full((len(token_ids), width), trunk.tokenizer.pad_token_id or 0, dtype=np.int64)
        mask_BT = np.zeros_like(ids_BT)
        for row, ids in enumerate(token_ids):
            ids_BT[row, : len(ids)] = ids
            mask_BT[row, : len(ids)] = 1
        mask = torch.from_numpy(mask_BT).to(trunk.device)
        enabled = trunk.dtype != torch.float32
        autocast = torch.autocast(
            trunk.device.type, trunk.dtype if enabled else torch.bfloat16, enabled=enabled
        )
        # Adapters are float32 and stay so; products run in the trunk's format by autocast alone.
        with autocast, disable_input_dtype_casting(self.network):
            states = self.network(
                input_ids=torch.from_numpy(ids_BT).to(trunk.device),
                attention_mask=mask,
                output_hidden_states=True,
                return_dict=True,
            ).hidden_states
        return [
            functional.normalize(pool(states[layer].float(), mask, trunk.pooling), dim=-1) for layer in layers
        ]
