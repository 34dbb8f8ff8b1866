"""Which words would save most tokens."""

from __future__ import annotations

import heapq

from everlearn.errors import ConfigError
from everlearn.models.vocabulary.watch import VocabularyWatch

__all__ = ["propose"]


def propose(watch: VocabularyWatch, max_new: int, min_count: int = 5) -> list[str]:
    """Pick words greedily by the tokens that each saves beside those picked before.

    A word saves its count times the tokens it costs less one. When a word is picked, what it contains is
    counted without it, and what contains it costs less. Equal savings are decided by the word itself.

    Args:
        watch: What was counted.
        max_new: Words at most.
        min_count: A rarer word is not worth a row, which would hardly be trained.

    Returns:
        Words in the order in which they were picked, which is the order to add them in.

    Raises:
        ConfigError: Names the argument and the value.
    """
    for name, value in (("max_new", max_new), ("min_count", min_count)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, not {value!r}")
    counts = {word: count for word, count in watch.candidates.items() if count >= min_count}
    costs = {word: watch.num_tokens(word) for word in counts}
    picked: dict[str, None] = {}

    def saving(word: str) -> int:
        return counts[word] * (_cost(word, costs, picked, watch) - 1) if counts[word] >= min_count else 0

    # Savings only ever fall, so a word that is still on top after its saving was renewed is the best.
    queue = [(-counts[word] * (costs[word] - 1), word) for word in counts]
    heapq.heapify(queue)
    while queue and len(picked) < max_new:
        stale, word = heapq.heappop(queue)
        renewed = saving(word)
        if renewed <= 0:
            continue
        if renewed < -stale:
            heapq.heappush(queue, (-renewed, word))
            continue
        picked[word] = None
        for part, times in _parts(word).items():
            if part in counts:
                counts[part] -= times * counts[word]
    return list(picked)


def _cost(word: str, costs: dict[str, int], picked: dict[str, None], watch: VocabularyWatch) -> int:
    """Tokens of a word with what is picked: the cheapest way to write it."""
    if not picked or len(word) < 2:
        return costs[word]
    cheapest = [0]
    for stop in range(1, len(word) + 1):
        ways = [
            cheapest[start] + (1 if word[start:stop] in picked else watch.num_tokens(word[start:stop]))
            for start in range(stop)
            if stop - start == 1 or word[start:stop] in picked
        ]
        cheapest.append(min(ways))
    # The tokenizer's own pieces may be longer than a character.
    return min(costs[word], cheapest[-1])


def _parts(word: str) -> dict[str, int]:
    """Proper substrings and how often each occurs."""
    found: dict[str, int] = {}
    for start in range(len(word)):
        for stop in range(start + 1, len(word) + 1):
            if stop - start < len(word):
                found[word[start:stop]] = found.get(word[start:stop], 0) + 1
    return found
