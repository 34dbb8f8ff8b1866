"""How the closed-form learner's parts become tensors and JSON, and come back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from everlearn.errors import ConfigError
from everlearn.memory.hash_sample import HashSample, Sampled
from everlearn.types import Code, Json

__all__ = [
    "FORMAT",
    "codes_from_tensors",
    "codes_to_tensors",
    "identity",
    "require_same",
    "sample_from_state",
    "sample_to_state",
]

_FORMAT_VERSION = 1  # of what a fingerprint is made of, and part of it
FORMAT = 2
"""Of a saved state. 1: with sums of features. 2: without them where the sample has all examples' codes."""

# The settings that change what the sums or the sample hold. The others only say how they are used.
_IDENTITY_FIELDS = frozenset({"num_features", "gram_bits", "sample_size", "seed"})
# Named where they are on: identities of before do not have them.
_LATER_IDENTITY_FIELDS = frozenset({"word_ridge"})


def identity(config: Mapping[str, Json], code_sizes: Mapping[str, int], coder: str | None) -> dict[str, Json]:
    """What two learners must have in common where the one is to take what the other learned."""
    return {
        "format": _FORMAT_VERSION,
        **code_sizes,
        "coder": coder,
        **{name: value for name, value in config.items() if name in _IDENTITY_FIELDS},
        **{name: value for name, value in config.items() if name in _LATER_IDENTITY_FIELDS and value},
    }


def require_same(mine: Mapping[str, Json], theirs: Mapping[str, Json]) -> None:
    """Raise ConfigError that names the first setting in which two learners differ."""
    for key in sorted({*mine, *theirs}):
        if mine.get(key) != theirs.get(key):
            raise ConfigError(
                f"the learners differ in {key}: {mine.get(key)!r} here, {theirs.get(key)!r} there"
            )


def codes_to_tensors(codes: Sequence[Code], prefix: str) -> dict[str, torch.Tensor]:
    """Codes as tensors whose names begin with a prefix."""
    dense = [code.dense for code in codes]
    ids = [code.gram_ids for code in codes]
    values = [code.gram_values for code in codes]
    return {
        f"{prefix}dense": torch.from_numpy(np.stack(dense) if dense else np.zeros((0, 0), np.int8)),
        # Their bits: not all libraries take numbers without a sign.
        f"{prefix}gram_ids": torch.from_numpy(
            np.concatenate(ids).view(np.int32) if ids else np.zeros(0, np.int32)
        ),
        f"{prefix}gram_values": torch.from_numpy(np.concatenate(values) if values else np.zeros(0, np.uint8)),
        f"{prefix}lengths": torch.tensor([len(one) for one in ids], dtype=torch.int64),
    }


def codes_from_tensors(tensors: Mapping[str, torch.Tensor], prefix: str) -> list[Code]:
    """The inverse of ``codes_to_tensors``."""
    ends = np.cumsum(tensors[f"{prefix}lengths"].numpy())
    ids = tensors[f"{prefix}gram_ids"].numpy().astype(np.uint32)
    values = tensors[f"{prefix}gram_values"].numpy()
    dense = tensors[f"{prefix}dense"].numpy()
    starts = [0, *ends[:-1].tolist()]
    return [
        Code(dense[k].copy(), ids[start:stop].copy(), values[start:stop].copy())
        for k, (start, stop) in enumerate(zip(starts, ends.tolist(), strict=False))
    ]


def sample_to_state(sample: HashSample, prefix: str) -> tuple[dict[str, torch.Tensor], dict[str, Json]]:
    """The sample's codes as tensors whose names begin with a prefix, ids and labels as JSON."""
    members = sample.members()
    tensors = codes_to_tensors([member.code for member in members], prefix)
    data = {
        "ids": [member.id for member in members],
        "labels": [member.label for member in members],
        # A 64-bit integer does not survive every JSON reader.
        "horizon": None if sample.horizon is None else str(sample.horizon),
    }
    return tensors, data


def sample_from_state(
    sample: HashSample, tensors: Mapping[str, torch.Tensor], data: Mapping[str, Json], prefix: str
) -> None:
    """The inverse of ``sample_to_state``."""
    codes = codes_from_tensors(tensors, prefix)
    members = [
        Sampled.of(id_, label, code)
        for id_, label, code in zip(data["ids"], data["labels"], codes, strict=True)
    ]
    horizon = data["horizon"]
    sample.load(members, None if horizon is None else int(horizon))
