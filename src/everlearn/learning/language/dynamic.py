"""Dynamic evaluation: a model that adapts to a text while it is scored on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from everlearn.learning.language.learner import LanguageLearner
from everlearn.learning.language.reading import place_of
from everlearn.types import Example, TextLoss

__all__ = ["dynamic_losses"]


def dynamic_losses(
    learner: LanguageLearner, examples: Sequence[Example], *, forget_documents: bool = False
) -> tuple[TextLoss, ...]:
    """Losses by domain of texts that are learned as they are read; the learner is as before at the end.

    Each step's text is predicted before it is learned (Krause et al., "Dynamic evaluation of neural sequence
    models", ICML 2018). What waited in the lanes is learned first. A vocabulary that is to grow does not,
    meanwhile.

    Args:
        learner: Its steps, methods and context are what it adapts with.
        examples: Documents, or their pieces one after another.
        forget_documents: Go back to the state before after each document, so that each is adapted to alone.
    """
    before = learner.state()
    losses: list[TextLoss] = []
    try:
        with learner.without_growth():
            learner.settle()
            start = learner.state() if forget_documents else None
            for _, pieces in groupby(examples, key=lambda example: place_of(example).document):
                for piece in pieces:
                    losses += learner.learn([piece]).text_losses
                if start is not None:
                    losses += learner.settle().text_losses
                    learner.restore(start)
            losses += learner.settle().text_losses
    finally:
        learner.restore(before)
    return joined(losses)


def joined(losses: Iterable[TextLoss]) -> tuple[TextLoss, ...]:
    """One loss a domain, in the order of their first appearance."""
    sums: dict[str | None, list[float]] = {}
    for loss in losses:
        total = sums.setdefault(loss.domain, [0.0, 0, 0])
        total[0] += loss.nats
        total[1] += loss.tokens
        total[2] += loss.bytes
    return tuple(
        TextLoss(domain=domain, nats=nats, tokens=int(tokens), bytes=int(num_bytes))
        for domain, (nats, tokens, num_bytes) in sums.items()
    )
