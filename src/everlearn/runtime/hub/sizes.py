"""How much memory it takes to predict by what a closed-form run has learned."""

from __future__ import annotations

from everlearn.learning.closed_form.config import ClosedFormConfig

__all__ = ["head_bytes"]

_CODE_OVERHEAD = 1_000
_OVERHEAD = 100_000


def head_bytes(num_examples: int, num_labels: int, dense_size: int, config: ClosedFormConfig) -> int:
    """About so many bytes.

    Few examples are held as codes and features, and two ridge experts have a factor of their products each.
    Of more there are a factor of all features and weights by class.

    Args:
        num_examples: That it holds.
        num_labels: That it knows.
        dense_size: Length of a code's dense part.
        config: Sizes of the learner.
    """
    if num_examples <= config.sample_size:
        each = config.num_features + dense_size + _CODE_OVERHEAD + 2 * 8 * num_examples
        return _OVERHEAD + num_examples * each
    return _OVERHEAD + 4 * config.num_features * (config.num_features + num_labels)
