"""River: bag of words and its one-pass classifiers, one example at a time.

Run: ``.venv-peers/bin/python -m benchmarks.peers.river_text --dataset clinc150 --model multinomial-nb``
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from typing import Any

from river import compose, feature_extraction, forest, linear_model, multiclass, naive_bayes, optim

from benchmarks.datasets import Row
from benchmarks.peers.protocol import add_arguments, load_stream, measure, print_result

__all__ = ["MODELS", "RiverPeer", "main"]


class ComplementNaiveBayes(naive_bayes.ComplementNB):
    """River's complement naive Bayes with a prediction that a test part can wait for.

    River 0.26 computes the sum of a class's complement counts by walking the whole vocabulary for each
    class and each prediction (about a second a text here), and its ``predict_many`` mixes up labels after
    ``learn_one``. The same sum follows from totals that River keeps, so the scores are equal.
    """

    def joint_log_likelihood(  # type: ignore[override]  # River's own returns a dict too
        self, x: dict[Any, float]
    ) -> dict[Any, float]:
        """Scores by class for term counts ``x``, as River defines them."""
        total = sum(self.class_totals.values()) + self.alpha * len(self.feature_counts)
        scores = dict.fromkeys(self.class_counts, 0.0)
        log_sums = {label: math.log(total - self.class_totals[label]) for label in scores}
        for feature, count in x.items():
            by_class = self.feature_counts.get(feature, {})
            overall = self.feature_totals.get(feature, 0) + self.alpha
            for label in scores:
                scores[label] += count * (log_sums[label] - math.log(overall - by_class.get(label, 0)))
        return scores


def _alpha(options: argparse.Namespace) -> float:
    if options.alpha is not None:
        return float(options.alpha)
    return 0.1 if options.model == "multinomial-nb" else 1.0


def _one_vs_rest(binary: Any) -> Any:
    return multiclass.OneVsRestClassifier(binary)


MODELS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "multinomial-nb": lambda options: naive_bayes.MultinomialNB(alpha=_alpha(options)),
    "complement-nb": lambda options: ComplementNaiveBayes(alpha=_alpha(options)),
    "softmax": lambda options: linear_model.SoftmaxRegression(optim.SGD(options.learning_rate)),
    "logistic-one-vs-rest": lambda options: _one_vs_rest(
        linear_model.LogisticRegression(optim.SGD(options.learning_rate))
    ),
    "passive-aggressive-one-vs-rest": lambda options: _one_vs_rest(linear_model.PAClassifier(C=options.c)),
    "adaptive-random-forest": lambda options: forest.ARFClassifier(seed=options.seed),
}


class RiverPeer:
    """A River pipeline from text to label.

    Args:
        name: Name of the classifier in ``MODELS``.
        classifier: The classifier itself.
        max_ngram: Bags hold word n-grams of 1 to this length.
    """

    def __init__(self, name: str, classifier: Any, max_ngram: int) -> None:
        self.name = f"river {name}"
        self._pipeline: Any = compose.Pipeline(
            feature_extraction.BagOfWords(ngram_range=(1, max_ngram)), classifier
        )

    def learn(self, rows: Sequence[Row]) -> None:
        """Learn the rows one at a time."""
        for row in rows:
            self._pipeline.learn_one(row.text, row.label)

    def predict(self, texts: Sequence[str]) -> list[str | None]:
        """Predict the texts one at a time."""
        return [self._pipeline.predict_one(text) for text in texts]


def main() -> None:
    """Measure one River classifier on one data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_arguments(parser, list(MODELS))
    parser.add_argument("--max-ngram", type=int, default=2)
    parser.add_argument("--alpha", type=float, help="smoothing (default: 0.1 multinomial, 1.0 complement)")
    parser.add_argument("--learning-rate", type=float, default=0.3, help="of SGD")
    parser.add_argument("--c", type=float, default=1.0, help="aggressiveness of passive-aggressive")
    parser.add_argument("--prequential", action="store_true", help="predict each example before learning it")
    options = parser.parse_args()
    stream = load_stream(options)
    peer = RiverPeer(options.model, MODELS[options.model](options), options.max_ngram)
    result = measure(peer, stream, batch_size=1, prequential=options.prequential)
    settings: dict[str, Any] = {"max_ngram": options.max_ngram}
    if options.model.endswith("-nb"):
        settings["alpha"] = _alpha(options)
    elif options.model.startswith("passive"):
        settings["c"] = options.c
    elif "forest" not in options.model:
        settings["learning_rate"] = options.learning_rate
    print_result(peer.name, stream, result, settings=settings, packages=["river", "numpy"], arguments=options)


if __name__ == "__main__":
    main()
