"""Finding the examples that a learner cannot learn, when a step with them has failed."""

from __future__ import annotations

from collections.abc import Sequence

from everlearn.errors import EverlearnError, ModelError
from everlearn.learning.run_learner import RunLearner
from everlearn.runtime.fold.failed_steps import is_out_of_memory
from everlearn.types import Example

__all__ = ["find_unlearnable", "require_sound"]

_NEUTRAL = Example(id="", text="a", target="a")


def find_unlearnable(
    learner: RunLearner, candidates: Sequence[Example], learned: Sequence[Example], error: Exception
) -> dict[str, str]:
    """Which examples cannot be learned, and why: they fail by themselves, or (as the last resort) all.

    Args:
        learner: In the state before the step that failed; it is in that state afterwards.
        candidates: Examples that the step would have learned.
        learned: Some that were learned before without trouble.
        error: What happened.

    Raises:
        ModelError: What was learned before cannot be read any more either: the weights are at fault.
    """
    require_sound(learner, learned, error)
    found = _failing(learner, candidates)
    reason = _told(error)
    return found or {
        example.id: f"{reason} (in a step with {len(candidates):,} examples)" for example in candidates
    }


def require_sound(learner: RunLearner, learned: Sequence[Example], error: Exception | None = None) -> None:
    """Make sure that it is not the weights that are at fault.

    Raises:
        ModelError: What was learned before cannot be read any more.
    """
    problem = next((failure for failure in (_read(learner, example) for example in learned) if failure), None)
    if not learned and learner.reads_text:
        problem = _read(learner, _NEUTRAL)
    if problem is not None:
        raise ModelError(
            f"training diverged: {_told(error) if error else problem}, and the model fails at text that it "
            "learned before. The run is as before this batch: go back to an earlier version (everlearn "
            "versions, everlearn rollback), and go on with a lower --learning-rate"
        ) from error


def _failing(learner: RunLearner, group: Sequence[Example]) -> dict[str, str]:
    """Those of a group that fail by themselves: halves that do not fail hold none."""
    problem = _trial(learner, group)
    if problem is None:
        return {}
    if len(group) == 1:
        return {group[0].id: problem}
    half = len(group) // 2
    return _failing(learner, group[:half]) | _failing(learner, group[half:])


def _trial(learner: RunLearner, group: Sequence[Example]) -> str | None:
    if not group:
        return None
    if not learner.learns_at_once:
        return _read(learner, *group)  # by itself: what waits within it would be learned too
    before = learner.state()
    try:
        learner.learn(group)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return _told(error)
    finally:
        learner.restore(before)
    return None


def _read(learner: RunLearner, *examples: Example) -> str | None:
    try:
        return learner.problem_with(examples)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return _told(error)


def _told(error: Exception) -> str:
    text = str(error).split("; use a lower")[0]
    return text if isinstance(error, EverlearnError) else f"{type(error).__name__}: {text}"
