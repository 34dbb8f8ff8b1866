"""Healing of a tied model: it learns, from texts without labels, to say what the original says.

After each layer its hidden states are to be those of the original (as in TinyBERT, Jiao et al. 2020,
https://arxiv.org/abs/1909.10351): the loss is the squared distance in units of the original's own variance,
the mean over all layers. Embeddings stay as they are; all else is trained by AdamW (Loshchilov and Hutter
2019) with a warm-up and a cosine to zero.

Shapes: B texts, T tokens, L layers, D hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.nn import functional

from everlearn.errors import ConfigError, ModelError
from everlearn.learning.gradient.schedules import learning_rate_factor
from everlearn.models.tying.structure import layer_stack
from everlearn.types import State

__all__ = ["Closeness", "Healing", "HealingConfig", "Original"]

_BETAS = (0.9, 0.98)


class Original(Protocol):
    """What is tied: a ``Trunk`` or a ``LanguageModel``."""

    @property
    def model(self) -> Any:
        """The transformers model."""

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def sha256(self) -> str:
        """Of the weights on disk (hex)."""

    @property
    def max_length(self) -> int | None:
        """Most tokens that it reads; None: it knows no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealingConfig:
    """How to heal.

    Attributes:
        num_steps: Steps in all, which the learning rate falls over.
        batch_size: Texts a step.
        learning_rate: Peak.
        max_tokens: Most tokens of a text that are looked at.
        warmup_share: Share of the steps over which the rate rises.
        weight_decay: Of AdamW.
    """

    num_steps: int
    batch_size: int = 32
    learning_rate: float = 5e-4
    max_tokens: int = 128
    warmup_share: float = 0.05
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        for name in ("num_steps", "batch_size", "max_tokens"):
            if getattr(self, name) < 1:
                what = name.removeprefix("num_")
                raise ConfigError(f"{what} must be at least 1, not {getattr(self, name)}")
        if not 0 < self.learning_rate < 1:
            raise ConfigError(f"learning_rate must be above 0 and below 1, not {self.learning_rate}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Closeness:
    """How near a tied model is to what it was made of.

    Attributes:
        distance: Mean squared distance of hidden states in units of the original's variance; 0: none.
        cosine: Of the mean last hidden states, the mean over texts.
        bits_per_byte: Of the original and of the tied model, each text by itself, its first token given;
            None: they do not write.
    """

    distance: float
    cosine: float
    bits_per_byte: tuple[float, float] | None


class Healing:
    """Heals step by step. Between steps its state can be saved.

    Args:
        original: The model that it was made of, in float32; stays as it is.
        model: The tied model, in float32; is trained in place.
        config: How.
        depths: For each layer of the model, after how many layers of the original its states are to be
            like the original's; None: it has as many layers.

    Attributes:
        model: As given.
        num_steps: Steps made.
    """

    def __init__(
        self, original: Original, model: Any, config: HealingConfig, depths: Sequence[int] | None = None
    ) -> None:
        self._original, self.model, self._config = original, model, config
        self._depths = depths or range(1, len(layer_stack(original.model)) + 1)
        self.num_steps = 0
        own = set(layer_stack(model).parameters())
        self._trained: dict[str, torch.nn.Parameter] = {}
        for name, parameter in model.named_parameters():  # each once
            parameter.requires_grad_(parameter in own)
            if parameter in own:
                self._trained[name] = parameter
        self._optimizer = torch.optim.AdamW(
            self._trained.values(),
            lr=config.learning_rate,
            betas=_BETAS,
            weight_decay=config.weight_decay,
            fused=True,
        )

    def step(self, texts: Sequence[str]) -> float:
        """Learn from texts (B); gives the loss before.

        Raises:
            ModelError: The loss is not a number any more: the learning rate is too high.
        """
        config = self._config
        factor = learning_rate_factor(
            self.num_steps,
            "cosine",
            warmup_steps=max(1, round(config.warmup_share * config.num_steps)),
            total_steps=config.num_steps + 1,
            final_factor=0.0,
        )
        for group in self._optimizer.param_groups:
            group["lr"] = config.learning_rate * factor
        self.model.train(False)  # what is random in training is no part of what is to be said
        loss = self._loss(texts)
        if not bool(torch.isfinite(loss)):
            step = self.num_steps + 1
            raise ModelError(f"healing diverged at step {step}: the loss is no number; take a lower rate")
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._trained.values(), 1.0)
        self._optimizer.step()
        self.num_steps += 1
        return float(loss.detach())

    @torch.inference_mode()
    def closeness(self, texts: Sequence[str]) -> Closeness:
        """How near the tied model is to the original, by texts that are not learned."""
        distances, cosines, nats, num_bytes = [], [], torch.zeros(2), 0
        for batch in self._batches(texts):
            inputs = self._inputs(batch)
            mask = inputs["attention_mask"]
            original, own = (
                model(**inputs, output_hidden_states=True) for model in (self._original.model, self.model)
            )
            distances.append(self._distance(original.hidden_states, own.hidden_states, mask))
            vectors = [(one.hidden_states[-1] * mask[:, :, None]).sum(dim=1) for one in (original, own)]
            cosines.append(functional.cosine_similarity(*vectors))
            if "logits" in own:
                ids, is_written = inputs["input_ids"][:, 1:], mask[:, 1:].bool()
                for place, one in enumerate((original, own)):
                    losses = functional.cross_entropy(
                        one.logits[:, :-1].transpose(1, 2), ids, reduction="none"
                    )
                    nats[place] += losses[is_written].sum()
                written = (row[row_mask] for row, row_mask in zip(ids, is_written, strict=True))
                num_bytes += sum(len(self._original.tokenizer.decode(row).encode()) for row in written)
        bits = [float(one) / math.log(2) / max(1, num_bytes) for one in nats]
        return Closeness(
            distance=float(torch.stack(distances).mean()),
            cosine=float(torch.cat(cosines).mean()),
            bits_per_byte=(bits[0], bits[1]) if num_bytes else None,
        )

    def state(self) -> State:
        """All that the next step depends on."""
        tensors: dict[str, torch.Tensor] = {}
        for name, parameter in self._trained.items():
            tensors[f"weights.{name}"] = parameter.detach().clone()
            for key, value in self._optimizer.state.get(parameter, {}).items():
                tensors[f"{key}.{name}"] = value.detach().clone()
        return State(tensors, {"num_steps": self.num_steps})

    def restore(self, state: State) -> None:
        """Replace the state by a saved one.

        Raises:
            KeyError, ValueError, RuntimeError: It is of another model, or damaged.
        """
        moments: dict[int, Mapping[str, torch.Tensor]] = {}
        with torch.no_grad():
            for place, (name, parameter) in enumerate(self._trained.items()):
                parameter.copy_(state.tensors[f"weights.{name}"])
                moments[place] = {
                    key: state.tensors[f"{key}.{name}"].clone()
                    for key in ("step", "exp_avg", "exp_avg_sq")
                    if f"{key}.{name}" in state.tensors
                }
        saved = self._optimizer.state_dict()
        saved["state"] = {place: dict(own) for place, own in moments.items() if own}
        self._optimizer.load_state_dict(saved)
        self.num_steps = int(state.data["num_steps"])

    def _loss(self, texts: Sequence[str]) -> torch.Tensor:
        inputs = self._inputs(texts)
        with torch.inference_mode():
            wanted = self._original.model(**inputs, output_hidden_states=True).hidden_states
        said = self.model(**inputs, output_hidden_states=True).hidden_states
        return self._distance(wanted, said, inputs["attention_mask"])

    def _distance(
        self, wanted: Sequence[torch.Tensor], said: Sequence[torch.Tensor], mask_BT: torch.Tensor
    ) -> torch.Tensor:
        is_token = mask_BT.bool()
        losses = []
        for one, other in zip(said[1:], (wanted[depth] for depth in self._depths), strict=True):
            target = other[is_token].clone()  # made without gradients, and to be used with them
            spread = target.var(dim=0).mean().clamp(min=1e-6)
            losses.append((one[is_token] - target).square().mean() / spread)
        return torch.stack(losses).mean()

    def _inputs(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Token ids and mask (B, T); language models may have no token to fill up with."""
        tokenizer, most = self._original.tokenizer, self._config.max_tokens
        limit = min(most, self._original.max_length or most)
        fill = tokenizer.pad_token_id or 0
        rows = [
            torch.tensor(ids or [fill])
            for ids in tokenizer(list(texts), truncation=True, max_length=limit)["input_ids"]
        ]
        ids_BT = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=fill)
        lengths_B = torch.tensor([len(row) for row in rows])
        mask_BT = (torch.arange(ids_BT.shape[1]) < lengths_B[:, None]).long()
        device = next(self.model.parameters()).device
        return {"input_ids": ids_BT.to(device), "attention_mask": mask_BT.to(device)}

    def _batches(self, texts: Sequence[str]) -> list[Sequence[str]]:
        size = self._config.batch_size
        return [texts[first : first + size] for first in range(0, len(texts), size)]
