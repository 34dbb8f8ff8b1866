"""Experiences: what is noted where one ends, and the test on all of them that is made then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from everlearn.evaluation.matrix import AccuracyMatrix
from everlearn.evaluation.text_scores import DomainMatrix
from everlearn.runtime.fold.work_clock import WorkClock
from everlearn.runtime.loop.feeds import ArrangedFeed
from everlearn.tasks.classification.held_out import HeldOut, score
from everlearn.tasks.learners import RunLearner
from everlearn.tasks.texts.held_out import TextHeldOut
from everlearn.tasks.texts.scores import AnyRunScores, TextRunScores
from everlearn.types import Json

__all__ = ["Experiences"]


class Experiences:
    """The experiences of an arranged stream.

    Args:
        feed: Gives them.
        order: How they were made.
        held_out: Is scored at the end of each; None: nothing is.
    """

    def __init__(self, feed: ArrangedFeed, order: str, held_out: HeldOut | TextHeldOut | None) -> None:
        self._feed = feed
        self._order = order
        self._held_out = held_out

    def ended(self, num_examples: int) -> dict[str, Json]:
        """What a step notes whose batch ends an experience; empty for other steps.

        Args:
            num_examples: Examples of the run, the batch's included.
        """
        index = self._feed.completed_experience()
        if index is None:
            return {}
        boundary = {
            "index": index,
            "name": self._feed.experiences[index].name,
            "num_examples": num_examples,
        }
        is_measured = self._held_out is not None and len(self._feed.experiences) > 1
        # Measured with everything learned; the next batch is predicted by what was solved for that.
        is_settled = is_measured and self._order in ("by-class", "by-domain")
        return {"boundary": boundary, **({"settle": True} if is_settled else {})}

    def test(
        self, learner: RunLearner, scores: AnyRunScores, clock: WorkClock, boundary: Mapping[str, Any]
    ) -> None:
        """Test on all experiences where one ended."""
        if self._held_out is None:
            return
        if isinstance(scores, TextRunScores):
            self._test_texts(learner, scores, clock, boundary)
            return
        assert isinstance(self._held_out, HeldOut)
        experiences = self._feed.experiences
        with clock.measure("evaluate"):
            self._held_out.prepare(learner)
            split = self._held_out.by_experience(experiences, self._order)
            if split is None or len(experiences) < 2:
                return
            names = [experience.name for experience in experiences]
            matrix = scores.matrix
            if matrix is None or list(matrix.experience_names) != names:
                matrix = scores.matrix = AccuracyMatrix(names)
            for on, examples in enumerate(split):
                accuracy = score(learner, examples).summary()["accuracy"]
                if accuracy is not None:
                    matrix.record(int(boundary["index"]), on, accuracy)
        scores.rest()

    def _test_texts(
        self, learner: RunLearner, scores: TextRunScores, clock: WorkClock, boundary: Mapping[str, Any]
    ) -> None:
        """Bits per byte of every domain of the test set, where a domain ended."""
        if self._order != "by-domain" or len(self._feed.experiences) < 2 or self._held_out is None:
            return
        with clock.measure("evaluate"):
            domains = self._held_out.scores(learner)["domains"]  # type: ignore[index]
            matrix = scores.matrix if scores.matrix is not None else DomainMatrix()
            measured = {name: one["bits_per_byte"] for name, one in domains.items()}
            matrix.add(
                str(boundary["name"]), {name: bits for name, bits in measured.items() if bits is not None}
            )
            scores.matrix = matrix
        scores.rest()
