"""Learning rates as a function of the number of the step, so that they need no state."""

from __future__ import annotations

import math

from everlearn.settings.gradient import ScheduleName

__all__ = ["learning_rate_factor"]


def learning_rate_factor(
    step: int, schedule: ScheduleName, *, warmup_steps: int, total_steps: int | None, final_factor: float
) -> float:
    """Share of the peak learning rate at a step.

    Args:
        step: Steps made before this one.
        schedule: What follows the warm-up.
        warmup_steps: W; the factor rises as 1/W, 2/W, … and is 1 from step W - 1 on.
        total_steps: Step at which "linear" and "cosine" reach ``final_factor``.
        final_factor: See ``total_steps``.

    Returns:
        A number in [0, 1].
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    if schedule == "inverse-sqrt":
        return math.sqrt(max(warmup_steps, 1) / max(step + 1, warmup_steps, 1))
    assert total_steps is not None
    progress = min(1.0, (step - warmup_steps) / (total_steps - warmup_steps))
    falling = 1.0 - progress if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))
    return final_factor + (1.0 - final_factor) * falling
