"""Prequential BLEU and chrF of translations, in bounded memory (extra ``translation``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from everlearn.errors import ConfigError, MissingExtraError, StateError
from everlearn.evaluation.domains import MAX_DOMAINS, ByDomain
from everlearn.types import Json

__all__ = ["BLEU_TOKENIZERS", "TranslationScores"]

BLEU_TOKENIZERS = ("13a", "intl", "zh", "char", "none", "ja-mecab", "ko-mecab")
"""Those of sacrebleu that fetch no model; the last two need its own extras ``ja`` and ``ko``."""

STATE_VERSION = 1

# Lengths of translation and target, then hits and totals of the n-grams of 1 to 4 words.
_NUM_BLEU = 10
# For n-grams of 1 to 6 characters: those of the translation, of the target, of both.
_NUM_CHRF = 18

Counts = npt.NDArray[np.int64]


class TranslationScores:
    """BLEU and chrF of translations that were made before their targets were learned.

    Both are corpus scores: counts of n-grams are summed over the pairs, and the score is computed from
    the sums. So the cumulative scores equal those of sacrebleu over all pairs at once, while only sums
    are kept; the rolling ones equal those over the last ``window`` pairs.

    K. Papineni, S. Roukos, T. Ward and W.-J. Zhu: BLEU: a Method for Automatic Evaluation of Machine
    Translation, ACL 2002. M. Popović: chrF: character n-gram F-score for automatic MT evaluation, WMT
    2015. M. Post: A Call for Clarity in Reporting BLEU Scores, WMT 2018 (sacrebleu).

    Example:
        >>> scores = TranslationScores()
        >>> scores.update(["the cat sat on the mat ."], ["the cat sat on a mat ."])
        >>> round(scores.summary()["bleu"], 1)
        48.9

    Args:
        tokenize: How BLEU cuts words: "13a" for languages with spaces between words, "zh" for Chinese
            targets, or another of ``BLEU_TOKENIZERS``. chrF needs no words.
        window: Pairs that the rolling scores cover.
        max_domains: So many domains have figures of their own, all others one together; None: all.

    Raises:
        ConfigError: A value is out of range, or the tokenizer needs what is not installed.
        MissingExtraError: sacrebleu is not installed.
    """

    def __init__(
        self, tokenize: str = "13a", *, window: int = 1000, max_domains: int | None = MAX_DOMAINS
    ) -> None:
        if tokenize not in BLEU_TOKENIZERS:
            raise ConfigError(f"tokenize must be one of {', '.join(BLEU_TOKENIZERS)}, not {tokenize!r}")
        if window < 1:
            raise ConfigError(f"window must be at least 1, not {window}")
        self.tokenize = tokenize
        self.window = window
        self.max_domains = max_domains
        self._metrics = _Metrics(tokenize)
        self._total = _Tally(window)
        self._domains = ByDomain(self._new_tally, max_domains)

    @property
    def signature(self) -> str:
        """What sacrebleu calls these settings of BLEU; to be told with every figure."""
        return self._metrics.signature

    def update(
        self,
        translations: Sequence[str],
        targets: Sequence[str | None],
        domains: Sequence[str | None] | None = None,
    ) -> None:
        """Score one batch.

        Args:
            translations: What was predicted before the targets were known (N).
            targets: The targets (N); pairs without one are not scored.
            domains: Where the pairs come from (N), if that is known.

        Raises:
            ValueError: The lengths differ.
        """
        names = [None] * len(translations) if domains is None else domains
        for translation, target, domain in zip(translations, targets, names, strict=True):
            if target is None:
                continue
            counts = self._metrics.counts(translation, target)
            self._total.add(counts)
            if domain is not None:
                self._domains[domain].add(counts)

    def _new_tally(self) -> _Tally:
        return _Tally(self.window)

    def summary(self, max_domains: int | None = None) -> dict[str, Json]:
        """``pairs, bleu, chrf, rolling_bleu, rolling_chrf`` (0 to 100; None without a pair), signature.

        ``domains`` holds the same of each domain, in order of appearance.

        Args:
            max_domains: Only the largest; None: all.
        """
        chosen = self._domains.largest(max_domains, lambda tally: tally.num_pairs)
        figures = {name: self._figures(tally) for name, tally in chosen}
        return {**self._figures(self._total), "bleu_signature": self.signature, "domains": figures}

    def _figures(self, tally: _Tally) -> dict[str, Json]:
        bleu, chrf = self._metrics.scores(tally.sums) if tally.num_pairs else (None, None)
        rolling = self._metrics.scores(tally.recent().sum(axis=0)) if tally.num_pairs else (None, None)
        return {
            "pairs": tally.num_pairs,
            "bleu": bleu,
            "chrf": chrf,
            "rolling_bleu": rolling[0],
            "rolling_chrf": rolling[1],
        }

    def state(self) -> dict[str, Json]:
        """Everything needed to go on exactly, as JSON."""
        return {
            "version": STATE_VERSION,
            "tokenize": self.tokenize,
            "window": self.window,
            "total": self._total.state(),
            "domains": [[name, tally.state()] for name, tally in self._domains.items()],
        }

    def restore(self, state: Mapping[str, Json]) -> None:
        """Replace everything by a saved state, tokenizer and window included.

        Raises:
            StateError: The state is damaged or of another version.
        """
        try:
            if state["version"] != STATE_VERSION:
                raise StateError(
                    f"translation scores of format version {state['version']} cannot be read; "
                    f"this program reads version {STATE_VERSION}"
                )
            fresh = TranslationScores(
                state["tokenize"], window=int(state["window"]), max_domains=self.max_domains
            )
            fresh._total.load(state["total"])
            for name, saved in state["domains"]:
                tally = fresh._new_tally()
                tally.load(saved)
                fresh._domains.put(str(name), tally)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise StateError(f"translation scores are damaged: {error!r}") from error
        self.__dict__.update(fresh.__dict__)


class _Tally:
    # Counts summed over all pairs, and those of the last pairs one by one; room comes as it is needed.

    def __init__(self, window: int) -> None:
        self.window = window
        self.num_pairs = 0
        self.sums: Counts = np.zeros(_NUM_BLEU + _NUM_CHRF, np.int64)
        self._ring: Counts = np.zeros((0, _NUM_BLEU + _NUM_CHRF), np.int64)

    def add(self, counts: Counts) -> None:
        self.sums += counts
        if len(self._ring) < min(self.num_pairs + 1, self.window):
            self._make_room(2 * self.num_pairs + 1)
        self._ring[self.num_pairs % len(self._ring)] = counts
        self.num_pairs += 1

    def _make_room(self, num: int) -> None:
        rows = np.zeros((min(num, self.window), self._ring.shape[1]), np.int64)
        rows[: len(self._ring)] = self._ring
        self._ring = rows

    def recent(self) -> Counts:
        """Counts of the last pairs, the oldest first."""
        window = self.window
        if self.num_pairs <= window:
            return self._ring[: self.num_pairs]
        return np.roll(self._ring, -(self.num_pairs % window), axis=0)

    def state(self) -> Json:
        return [self.num_pairs, self.sums.tolist(), self.recent().tolist()]

    def load(self, state: Json) -> None:
        num_pairs, sums, recent = state
        num_recent = min(int(num_pairs), self.window)
        self._make_room(num_recent)
        rows = np.array(recent, np.int64).reshape(num_recent, self._ring.shape[1])
        self.num_pairs = int(num_pairs)
        self.sums = np.array(sums, np.int64).reshape(self.sums.shape)
        places = np.arange(self.num_pairs - num_recent, self.num_pairs) % max(num_recent, 1)
        self._ring[places] = rows


class _Metrics:
    # The one place that knows sacrebleu. Its public functions give scores of whole corpora only; the
    # counts of one pair, which can be added up, are behind an underscore since version 2.0.

    def __init__(self, tokenize: str) -> None:
        try:
            from sacrebleu import BLEU, CHRF
        except ImportError as error:
            raise MissingExtraError("sacrebleu", "translation") from error
        # ``force`` only silences a warning for text that looks tokenized.
        try:
            self._bleu: Any = BLEU(tokenize=tokenize, force=True)
        except RuntimeError as error:
            raise ConfigError(
                f"tokenize {tokenize!r} cannot be used: {' '.join(str(error).split())}"
            ) from error
        self._chrf: Any = CHRF()
        self.counts("", "")  # a signature needs the number of targets of a pair
        self.signature = str(self._bleu.get_signature())

    def counts(self, translation: str, target: str) -> Counts:
        """The counts of one pair (28,)."""
        pair = [translation], [[target]]
        (bleu,) = self._bleu._extract_corpus_statistics(*pair)
        (chrf,) = self._chrf._extract_corpus_statistics(*pair)
        return np.array([*bleu, *chrf], np.int64)

    def scores(self, sums: Counts) -> tuple[float, float]:
        """BLEU and chrF of summed counts (28,)."""
        numbers = sums.tolist()
        bleu = self._bleu._compute_score_from_stats(numbers[:_NUM_BLEU])
        chrf = self._chrf._compute_score_from_stats(numbers[_NUM_BLEU:])
        return float(bleu.score), float(chrf.score)
