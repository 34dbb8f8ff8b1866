"""Labels as a service takes them: what became of each example of a batch, told one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from everlearn.journal.acts import AskedAct
from everlearn.journal.records import UNLEARNABLE, KnownExample
from everlearn.runtime.loop.arrivals import TEXT_OPTION
from everlearn.runtime.run import Run
from everlearn.runtime.serving.place import Place
from everlearn.runtime.step_outcome import StepOutcome
from everlearn.stream.rejections import is_duplicate
from everlearn.types import Example, Json

__all__ = ["SET_ASIDE", "batches_of", "example_of", "learned_together"]

_STATUS_OF_ROLE = {"exam": "exam", "held": "held", "thinned": "thinned", UNLEARNABLE: "unlearnable"}
_MOST_TOGETHER = 256

SET_ASIDE = (
    "it is known, but a rollback or the guard has set it aside, so it is not learned; another target (a "
    "correction) or another id has it learned"
)
"""Why what was brought again, or corrected to what it was, is not learned."""


def example_of(told: Mapping[str, Json]) -> Example:
    """An example of a message. Raises InputError where it is none."""
    return Example(**told)


def batches_of(asked: Sequence[Sequence[Example]]) -> list[list[int]]:
    """Which requests are learned in one step: neighbours, without an id twice, and not too many examples."""
    batches: list[list[int]] = []
    ids: set[str] = set()
    for place, examples in enumerate(asked):
        own = {example.id for example in examples}
        if not batches or ids & own or len(ids) + len(own) > _MOST_TOGETHER:
            batches.append([])
            ids = set()
        batches[-1].append(place)
        ids |= own
    return batches


def learned_together(
    place: Place, tenant: str, asked: Sequence[Sequence[Example]], acts: Sequence[AskedAct] = ()
) -> tuple[StepOutcome, list[list[dict[str, Json]]]]:
    """Learn what several requests bring, in one step.

    Args:
        place: Has the runs.
        tenant: Whose examples they are.
        asked: The examples of each request.
        acts: Who asks for what; noted in the journal.

    Returns:
        What became of the step, and for each request what became of each example.

    Raises:
        EverlearnError: As of ``Run.learn``; nothing was taken.
    """
    batch = [example for examples in asked for example in examples]
    ids = [example.id for example in batch]
    run: Run
    with place.run(tenant) as run:
        with run.noting(acts):
            outcome = place.learn(tenant, batch)
        known = run.known(ids)
    reasons = {
        one.id: (one.reason.replace(TEXT_OPTION, " (the field text)"), is_duplicate(one))
        for one in outcome.rejected
        if one.id is not None
    }
    return outcome, [
        [_became(example, outcome, known.get(example.id), reasons.get(example.id)) for example in examples]
        for examples in asked
    ]


def _became(
    example: Example, outcome: StepOutcome, known: KnownExample | None, refused: tuple[str, bool] | None
) -> dict[str, Json]:
    """What became of an example: its status, its offset, and what was said of it before."""
    told: dict[str, Json] = {"id": example.id, "status": "rejected", "offset": None, "reason": None}
    said = outcome.predictions.get(example.id)
    if said is not None and said.label is not None:
        told |= {"predicted": said.label, "confidence": said.confidence}
    if known is not None:
        told["offset"] = known.offset
    if refused is not None and known is not None and refused[1]:
        # The same again, as after an answer that got lost; or without a target, which says nothing new.
        is_same = example.target is None or known.target == example.target
        if not is_same:
            return told | {"reason": refused[0]}
        return told | (
            {"status": "set_aside", "reason": SET_ASIDE} if known.is_set_aside else {"status": "known"}
        )
    if refused is not None or known is None:
        return told | {"reason": "it could not be taken" if refused is None else refused[0]}
    if example.id not in outcome.offsets:
        return told | {"status": "corrected"}
    return told | {"status": _status(known)}


def _status(known: KnownExample) -> str:
    """What a new example is now."""
    if known.role in _STATUS_OF_ROLE:
        return _STATUS_OF_ROLE[known.role]
    if known.is_held:
        return "learned"
    return "waiting" if known.is_waiting and known.target is not None else "unlabelled"
