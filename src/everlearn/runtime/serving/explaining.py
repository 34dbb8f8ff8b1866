"""Why a tenant says what it says of a text: learned examples that are like it, and words that count."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from everlearn.journal.journal import Journal
from everlearn.journal.rows.code_blocks import leading_codes
from everlearn.journal.standing.held import HeldTargets
from everlearn.runtime.fold.served_learner import Served
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.given import given_texts
from everlearn.runtime.serving.place import Place
from everlearn.runtime.serving.plain import plain
from everlearn.runtime.serving.told import answer_told
from everlearn.types import Example, Json, Prediction

__all__ = ["MOST_WORDS", "explain", "telling_words"]

MOST_WORDS = 64
"""So many words of a text are left out, one after the other; the first ones."""
_MOST_CHARS = 500_000
"""Of a very long text fewer are, so that no more characters are read than this."""
_TEXTS_AT_ONCE = 16
_SPARE = 8
_WORD = re.compile(r"\w+(?:['’\-]\w+)*")


def explain(place: Place, asked: Mapping[str, Json]) -> dict[str, Json]:
    """What a tenant says of a text, and why.

    The run is not held up: codes are read from a journal opened for reading, and texts are predicted a few
    at a time, so that those of others get in between.

    Returns:
        ``said``, ``by``; ``nearest``: learned examples whose codes are nearest to the text's; ``words``.
    """
    served = place.predictor(asked["tenant"], None)
    (example,) = given_texts([asked["text"]])
    if served is None:
        by = {"version": None, "step": 0}
        return {"said": {}, "by": by, "nearest": [], "words": [], "num_words_left_out": 0}
    (prediction,) = served.predict([example])
    words, num_left_out = telling_words(served, example, prediction)
    return plain(
        {
            "said": answer_told(served.task.answer(example, prediction, asked["top"])),
            "by": {"version": served.version, "step": served.step},
            "nearest": _nearest(place, asked, served, example) if asked["nearest"] else [],
            "words": words,
            "num_words_left_out": num_left_out,
        }
    )


def telling_words(
    served: Served, example: Example, prediction: Prediction
) -> tuple[list[dict[str, Json]], int]:
    """By how much the probability of the predicted label drops where a word is left out of a text.

    Where there may be several labels, that is the most probable one.

    Args:
        served: Predicts.
        example: With the text.
        prediction: What is said of it.

    Returns:
        The words that speak most for or against the label first, each once, as spelled where it first
        stands; and how many there were beyond those that are looked at.
    """
    if not served.task.counts_by_label or not len(prediction.probabilities) or example.text is None:
        return [], 0
    text = example.text
    spelled: dict[str, str] = {}
    for found in _WORD.finditer(text):
        spelled.setdefault(found[0].casefold(), found[0])
    most = max(1, min(MOST_WORDS, _MOST_CHARS // len(text)))
    shorter = {
        word: shortened for word in list(spelled)[:most] if (shortened := _without(text, word)).strip()
    }
    label = prediction.labels[int(prediction.probabilities.argmax())]
    whole = prediction.probability_of(label)
    told: list[dict[str, Json]] = []
    names = list(shorter)
    for start in range(0, len(names), _TEXTS_AT_ONCE):
        some = names[start : start + _TEXTS_AT_ONCE]
        for word, without in zip(some, served.predict(given_texts([shorter[w] for w in some])), strict=True):
            told.append({"word": spelled[word], "weight": whole - without.probability_of(label)})
    told.sort(key=lambda one: -abs(one["weight"]))
    return told, max(0, len(spelled) - most)


def _without(text: str, word: str) -> str:
    """A text without a word, wherever it stands."""
    return _WORD.sub(lambda found: "" if found[0].casefold() == word else found[0], text)


def _nearest(
    place: Place, asked: Mapping[str, Json], served: Served, example: Example
) -> list[dict[str, Json]]:
    """Learned examples that are nearest to a text; none where the run keeps no codes that compare."""
    if served.coder is None:
        return []
    (code,) = served.coder.encode_examples([example])
    size = served.coder.leading_size
    with RunFolder.snapshot_of(place.folder(asked["tenant"])) as run:
        if run.learner_record().coder_fingerprint != served.coder.fingerprint:
            return []  # a version is served from before the trunk was tuned
        # Not all that has a code is learned; of what is deleted, nothing is there any more.
        near = _most_alike(run.journal, code.dense[:size], asked["nearest"] * _SPARE)
        held = HeldTargets(run.journal)
        told: list[dict[str, Json]] = []
        for offset, similarity in near:
            arrival = next(found for _, found in run.journal.examples.arrivals(offset, offset))
            target = held(offset, arrival.role, arrival.example.target)
            if target is not None and len(told) < asked["nearest"]:
                told.append(
                    {
                        "id": arrival.example.id,
                        "text": arrival.example.text,
                        "target": target,
                        "similarity": similarity,
                    }
                )
        return told


def _most_alike(journal: Journal, code_D: npt.NDArray[np.int8], most: int) -> list[tuple[int, float]]:
    """Offsets and cosines of the codes whose first part is most like this one, the most alike first."""
    wanted_D = code_D.astype(np.float32)
    wanted_D /= max(float(np.linalg.norm(wanted_D)), 1e-12)
    best: npt.NDArray[np.int64] = np.zeros(0, np.int64)
    cosines: npt.NDArray[np.float32] = np.zeros(0, np.float32)
    for offsets_N, codes_ND in leading_codes(journal, len(code_D)):
        block_ND = codes_ND.astype(np.float32)
        norms_N = np.maximum(np.sqrt(np.einsum("nd,nd->n", block_ND, block_ND)), 1e-12)
        cosines = np.concatenate([cosines, block_ND @ wanted_D / norms_N])
        best = np.concatenate([best, offsets_N])
        order = np.argsort(-cosines, kind="stable")[:most]
        best, cosines = best[order], cosines[order]
    return [(int(offset), float(cosine)) for offset, cosine in zip(best, cosines, strict=True)]
