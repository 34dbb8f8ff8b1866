"""A pretrained encoder below the head.

B: texts, T: tokens, H: hidden size.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from everlearn.errors import InputError
from everlearn.learning.gradient.body import Body
from everlearn.learning.gradient.length_groups import length_groups
from everlearn.memory import InputArray
from everlearn.models.encoder.load import Trunk
from everlearn.models.encoder.token_limits import may_exceed, token_problem
from everlearn.types import Example, Json

__all__ = ["TextBody", "pool"]

# Padded tokens of one run of the encoder: bounds the attention scores, which grow with length squared.
_MAX_TOKENS = 8_192


class TextBody(Body):
    """Tokens → encoder → pooled float32 features.

    The encoder is copied, as other tasks may share the trunk. Its weights are float32; matrix
    products run in bfloat16 where ``autocast_dtype`` says so. The texts of a batch are run in groups
    of like length, with one lookup of word embeddings for all of them: their gradient is as large as
    the vocabulary, and one a group would cost more than the groups save.

    Args:
        trunk: Encoder, tokenizer and pooling. Load it in float32 for training: weights that were
            rounded to bfloat16 once stay rounded.
        max_length: Tokens of a text that are read; None: as the trunk says.
        autocast_dtype: Reduced precision for matrix products; None: float32.
    """

    def __init__(
        self, trunk: Trunk, max_length: int | None = None, autocast_dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        # Imported here, as transformers takes seconds to load and vectors do without it.
        from transformers import PreTrainedModel

        self.network = copy.deepcopy(trunk.model).float().eval().requires_grad_(True)
        if isinstance(self.network, PreTrainedModel) and trunk.device.type == "cpu":
            # The backward pass of the fused attention kernel for CPUs takes several times as long as
            # plain matrix products at the lengths that are common here.
            self.network.set_attn_implementation("eager")
        self.feature_size = trunk.hidden_size
        self.num_layers = trunk.num_layers
        self.max_length = min(max_length or trunk.max_length, trunk.max_length)
        self.autocast_dtype = autocast_dtype
        self._tokenizer: Any = trunk.tokenizer
        self._device, self._pooling = trunk.device, trunk.pooling
        self._identity = {
            "kind": "text",
            "sha256": trunk.sha256,
            "pooling": trunk.pooling,
            "max_length": self.max_length,
        }

    def to_inputs(self, examples: Sequence[Example]) -> list[InputArray]:
        """Token ids int32 (T,), special tokens included, cut to ``max_length``."""
        texts: list[str] = []
        for example in examples:
            if example.text is None:
                raise InputError(f"example {example.id!r} has no text; this learner reads texts")
            texts.append(example.text)
        if not texts:
            return []
        encoded = self._tokenizer(texts, truncation=True, max_length=self.max_length)["input_ids"]
        return [np.asarray(ids, dtype=np.int32) for ids in encoded]

    def reading_problem(self, example: Example) -> str | None:
        """Why a text cannot be read; None: it can."""
        if not may_exceed(self._tokenizer, self.network):
            return None
        return token_problem(self._tokenizer, self.network, self.to_inputs([example])[0])

    def forward(self, inputs: Sequence[InputArray]) -> Tensor:
        """Pooled features float32 (B, H)."""
        groups = length_groups([len(ids) for ids in inputs], max_tokens=_MAX_TOKENS)
        batches = [self._pad([inputs[index] for index in group]) for group in groups]
        device = self._device
        enabled = self.autocast_dtype is not None
        with torch.autocast(device.type, self.autocast_dtype or torch.bfloat16, enabled=enabled):
            states = self._encode(batches)
        features = torch.cat(
            [
                pool(states_BTH.float(), mask_BT, self._pooling)
                for states_BTH, (_, mask_BT) in zip(states, batches, strict=True)
            ]
        )
        place = np.argsort(np.concatenate([np.asarray(group) for group in groups]))
        return features[torch.from_numpy(place).to(device)]

    def _encode(self, batches: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        embedding = self._word_embedding()
        if embedding is None or len(batches) == 1:
            return [
                self.network(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
                for ids_BT, mask_BT in batches
            ]
        words = embedding(torch.cat([ids_BT.flatten() for ids_BT, _ in batches]))
        parts = words.split([ids_BT.numel() for ids_BT, _ in batches])
        return [
            self.network(inputs_embeds=part.view(*ids_BT.shape, -1), attention_mask=mask_BT).last_hidden_state
            for part, (ids_BT, mask_BT) in zip(parts, batches, strict=True)
        ]

    def _word_embedding(self) -> torch.nn.Module | None:
        from transformers import PreTrainedModel

        if not (torch.is_grad_enabled() and isinstance(self.network, PreTrainedModel)):
            return None
        embedding: torch.nn.Module = self.network.get_input_embeddings()
        return embedding if any(weight.requires_grad for weight in embedding.parameters()) else None

    def _pad(self, inputs: Sequence[InputArray]) -> tuple[Tensor, Tensor]:
        length = max(len(ids) for ids in inputs)
        ids_BT = np.full((len(inputs), length), self._tokenizer.pad_token_id or 0, dtype=np.int64)
        mask_BT = np.zeros((len(inputs), length), dtype=np.int64)
        for row, ids in enumerate(inputs):
            ids_BT[row, : len(ids)] = ids
            mask_BT[row, : len(ids)] = 1
        device = self._device
        return torch.from_numpy(ids_BT).to(device), torch.from_numpy(mask_BT).to(device)

    def identity(self) -> Json:
        """Which weights, pooling and length."""
        return self._identity


def pool(states_BTH: Tensor, mask_BT: Tensor, pooling: str) -> Tensor:
    """One vector (B, H) a text from its tokens' states.

    Args:
        states_BTH: Hidden states of the last layer.
        mask_BT: 1 for tokens, 0 for padding; every text has at least one token.
        pooling: "mean", "cls" or "max".
    """
    if pooling == "cls":
        return states_BTH[:, 0]
    is_token_BT1 = mask_BT.unsqueeze(-1).bool()
    if pooling == "max":
        return states_BTH.masked_fill(~is_token_BT1, float("-inf")).amax(dim=1)
    assert pooling == "mean", pooling
    return (states_BTH * is_token_BT1).sum(dim=1) / mask_BT.sum(dim=1, keepdim=True)
