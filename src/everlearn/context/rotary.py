"""How a model rotates its keys by their positions, found by looking at the keys.

Rotary embeddings (Su et al., "RoFormer", arXiv:2104.09864) turn pairs of a key's dimensions by an angle
proportional to the position, so a key can be moved by d positions afterwards: turn it by d more. Models
differ in which dimensions are pairs, how many turn at all and how fast. Rather than knowing every
architecture, single tokens are run at several positions: alone, a token attends to itself only, so in all
layers nothing but the rotation of its key depends on where it stands.

Legend: T probed tokens, N probed positions, H key heads, D dimensions of a key, F pairs, B rows, P slots.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from everlearn.context.decoder import USE_NONE, decoder_of, evaluating, is_mixed, position_limit, takes
from everlearn.errors import ModelError

__all__ = ["Rotation", "find_rotations"]

Pairing = Literal["halves", "neighbours"]

_NUM_TOKENS = 16
_MAX_POSITION = 8192
# Share of the largest component below which a difference is rounding.
_TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-4}
_LOW_PRECISION_TOLERANCE = 3e-2


@dataclass(frozen=True, slots=True, eq=False)
class Rotation:
    """How one layer turns its keys.

    Attributes:
        first: First dimension that is turned.
        pairing: "halves": dimension i turns with i + F; "neighbours": 2i with 2i + 1.
        frequencies_F: float64: radians a position; none where the layer does not turn its keys.
    """

    first: int
    pairing: Pairing
    frequencies_F: Tensor

    def same_as(self, other: Rotation) -> bool:
        """Whether both turn keys alike."""
        return (self.first, self.pairing) == (other.first, other.pairing) and torch.equal(
            self.frequencies_F, other.frequencies_F
        )

    def angles(self, shift_BP: Tensor, keys_dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosine and sine (B, 1, P, F) of what shifts turn by; layers that turn alike share them.

        Args:
            shift_BP: int64: numbers of positions; may be negative.
            keys_dtype: Of the keys to be turned.

        Returns:
            In float32 (float64 for float64 keys), from angles in float64.
        """
        dtype = torch.float64 if keys_dtype == torch.float64 else torch.float32
        angle_B1PF = (shift_BP[..., None].double() * self.frequencies_F.to(shift_BP.device))[:, None]
        return angle_B1PF.cos().to(dtype), angle_B1PF.sin().to(dtype)

    def turn(self, keys_BHPD: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
        """Move keys by a number of positions, each by its own; a shift of 0 changes nothing, to the bit.

        Args:
            keys_BHPD: Keys as the model caches them.
            angles: Of this rotation.
        """
        num_pairs = len(self.frequencies_F)
        if num_pairs == 0:
            return keys_BHPD
        cos_B1PF, sin_B1PF = angles
        stop = self.first + 2 * num_pairs
        turned = keys_BHPD[..., self.first : stop].to(cos_B1PF.dtype)
        pairs = (num_pairs, 2) if self.pairing == "neighbours" else (2, num_pairs)
        axis = -1 if self.pairing == "neighbours" else -2
        x, y = turned.reshape(*turned.shape[:-1], *pairs).unbind(axis)
        turned = torch.stack((x * cos_B1PF - y * sin_B1PF, y * cos_B1PF + x * sin_B1PF), axis).flatten(-2)
        parts = (keys_BHPD[..., : self.first], turned.to(keys_BHPD.dtype), keys_BHPD[..., stop:])
        return torch.cat(parts, -1)


def find_rotations(model: nn.Module) -> list[Rotation] | None:
    """How each layer of a model turns its keys.

    Args:
        model: A causal LM with an attention cache, bare or wrapped by peft.

    Returns:
        One rotation a layer; None for a model that knows positions in another way (learned, ALiBi, …).

    Raises:
        ModelError: The model has rotary embeddings, but its keys do not turn by them.
    """
    decoder = decoder_of(model)
    if not takes(decoder, "position_ids"):
        return None
    positions = _probed_positions(position_limit(model))
    keys = _probe(decoder, positions)
    buffers = [buffer.double().cpu() for name, buffer in decoder.named_buffers() if name.endswith("inv_freq")]
    # Norms may give float32 what was computed in less.
    is_rounded = is_mixed(decoder)
    rotations: list[Rotation] = []
    for keys_TNHD in keys:
        found = _rotation_of(keys_TNHD, positions, buffers, is_rounded)
        if found is None and buffers:
            name = type(decoder).__name__
            raise ModelError(f"{name} turns its keys in a way that is not understood; {USE_NONE}")
        if found is None:
            return None
        # One object for all layers that agree, so that angles are computed once.
        rotations.append(next((rotation for rotation in rotations if rotation.same_as(found)), found))
    return rotations if any(len(rotation.frequencies_F) for rotation in rotations) else None


def _probed_positions(limit: int | None) -> list[int]:
    last = min(limit or _MAX_POSITION, _MAX_POSITION) - 1
    return [0, *(2**power for power in range(last.bit_length()) if 2**power <= last)]


def _probe(decoder: Any, positions: Sequence[int]) -> list[Tensor]:
    """The keys (T, N, H, D) of each layer for single tokens at the positions."""
    device = next(decoder.parameters()).device
    tokens = torch.arange(1, _NUM_TOKENS + 1, device=device) * (
        decoder.config.vocab_size // (_NUM_TOKENS + 2)
    )
    ids = tokens.repeat_interleave(len(positions))[:, None]
    position_ids = torch.tensor(positions, device=device).repeat(_NUM_TOKENS)[:, None]
    with evaluating(decoder):
        output = decoder(input_ids=ids, position_ids=position_ids, use_cache=True)
    return [layer.keys[:, :, 0].unflatten(0, (_NUM_TOKENS, -1)) for layer in output.past_key_values.layers]


def _rotation_of(
    keys_TNHD: Tensor, positions: Sequence[int], buffers: Sequence[Tensor], is_rounded: bool
) -> Rotation | None:
    """The rotation that explains best how the keys differ by position; None if none does.

    Every way to pair dimensions is tried on all of the key, as in bfloat16 single dimensions are too small
    against the largest to tell their partners.
    """
    dtype = torch.bfloat16 if is_rounded else keys_TNHD.dtype
    tolerance = _TOLERANCES.get(dtype, _LOW_PRECISION_TOLERANCE)
    keys_TNHD = keys_TNHD.double().cpu()
    keys_TNHD = keys_TNHD / keys_TNHD.abs().max()
    if (keys_TNHD - keys_TNHD[:, :1]).abs().max() <= tolerance:
        return Rotation(0, "halves", torch.empty(0, dtype=torch.float64))
    # The model's angles are float32 and large: position times 2**-24.
    allowed = 2 * tolerance + positions[-1] * 2e-7
    # The model's own numbers have no error of measurement; models without a buffer of them are measured.
    for find in (partial(_with_buffers, keys_TNHD, buffers), partial(_measured, keys_TNHD, positions)):
        candidates = find()
        errors = [(_error(rotation, keys_TNHD, positions), k) for k, rotation in enumerate(candidates)]
        least, place = min(errors, default=(allowed, 0))
        if least < allowed:
            return candidates[place]
    return None


def _places(size: int, num_pairs: int) -> Iterator[tuple[int, Pairing]]:
    """Where pairs may lie in a key: at its start or its end, in both ways."""
    for first in sorted({0, size - 2 * num_pairs}):
        yield first, "halves"
        yield first, "neighbours"


def _with_buffers(keys_TNHD: Tensor, buffers: Sequence[Tensor]) -> list[Rotation]:
    size = keys_TNHD.shape[-1]
    return [
        Rotation(first, pairing, buffer_F)
        for buffer_F in buffers
        if 0 < 2 * len(buffer_F) <= size
        for first, pairing in _places(size, len(buffer_F))
    ]


def _measured(keys_TNHD: Tensor, positions: Sequence[int]) -> list[Rotation]:
    size = keys_TNHD.shape[-1]
    return [
        Rotation(
            first,
            pairing,
            _frequencies(keys_TNHD[..., first : first + 2 * num_pairs], pairing, positions),
        )
        for num_pairs in range(1, size // 2 + 1)
        for first, pairing in _places(size, num_pairs)
    ]


def _frequencies(keys_TNHD: Tensor, pairing: Pairing, positions: Sequence[int]) -> Tensor:
    """Radians a position of each pair (F,), from positions that double.

    Each position gives the angle up to whole turns, which the estimate from half the position tells.
    """
    shape = (-1, 2) if pairing == "neighbours" else (2, -1)
    x, y = keys_TNHD.reshape(*keys_TNHD.shape[:-1], *shape).unbind(-1 if pairing == "neighbours" else -2)
    cross_NF = (x[:, :1] * y - y[:, :1] * x).sum((0, 2))
    dot_NF = (x[:, :1] * x + y[:, :1] * y).sum((0, 2))
    angle_NF = torch.atan2(cross_NF, dot_NF)
    frequencies_F = angle_NF[1] / positions[1]
    for place in range(2, len(positions)):
        position, angle_F = positions[place], angle_NF[place]
        turns_F = ((frequencies_F * position - angle_F) / (2 * math.pi)).round()
        frequencies_F = (angle_F + 2 * math.pi * turns_F) / position
    return frequencies_F


def _error(rotation: Rotation, keys_TNHD: Tensor, positions: Sequence[int]) -> float:
    """Largest difference between the keys and those at the first position, turned."""
    start_THND = keys_TNHD[:, :1].expand_as(keys_TNHD).transpose(1, 2)
    shift_TN = torch.tensor(positions).expand(len(keys_TNHD), -1)
    angles = rotation.angles(shift_TN, start_THND.dtype)
    return float((rotation.turn(start_THND, angles) - keys_TNHD.transpose(1, 2)).abs().max())
