"""Experiences: what is noted where one ends, and the test on all of them that is made then."""

from __future__ import annotations

from everlearn.journal.records import After, EndedExperience
from everlearn.learning.run_learner import RunLearner
from everlearn.runtime.fold.work_clock import WorkClock
from everlearn.runtime.loop.feeds import ArrangedFeed
from everlearn.tasks.held_out import HeldOut
from everlearn.tasks.scores import RunScores

__all__ = ["Experiences"]


class Experiences:
    """The experiences of an arranged stream.

    Args:
        feed: Gives them.
        order: How they were made.
        held_out: Is scored at the end of each; None: nothing is.
    """

    def __init__(self, feed: ArrangedFeed, order: str, held_out: HeldOut | None) -> None:
        self._feed = feed
        self._order = order
        self._held_out = held_out

    def ended(self, num_examples: int) -> After:
        """What follows a step, its batch counted in: something where that ends an experience."""
        index = self._feed.completed_experience()
        if index is None:
            return After()
        boundary = EndedExperience(index, self._feed.experiences[index].name, num_examples)
        is_measured = self._held_out is not None and len(self._feed.experiences) > 1
        # Measured with everything learned; the next batch is predicted by what was solved for that.
        is_settled = is_measured and self._order in ("by-class", "by-domain")
        return After(boundary=boundary, settle=is_settled)

    def test(
        self, learner: RunLearner, scores: RunScores, clock: WorkClock, boundary: EndedExperience
    ) -> None:
        """Test on all experiences where one ended."""
        if self._held_out is None:
            return
        with clock.measure("evaluate"):
            matrix = self._held_out.after_experience(
                learner, scores.matrix, self._feed.experiences, self._order, boundary.index
            )
        if matrix is not None:
            scores.matrix = matrix
            scores.rest()
