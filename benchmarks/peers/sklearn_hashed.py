"""scikit-learn: ``partial_fit`` on hashed word 1-2-grams.

Run: ``.venv-peers/bin/python -m benchmarks.peers.sklearn_hashed --dataset clinc150 --model sgd-log``

scikit-learn must be told every label before the first batch; the other settings are the same for all sets.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.naive_bayes import ComplementNB, MultinomialNB

from benchmarks.datasets import Row
from benchmarks.peers.protocol import add_arguments, limit_threads, load_stream, measure, print_result

__all__ = ["MODELS", "HashedPeer", "main"]

MODELS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "sgd-log": lambda options: SGDClassifier(
        loss="log_loss", alpha=options.regularization, random_state=options.seed
    ),
    "sgd-hinge": lambda options: SGDClassifier(
        loss="hinge", alpha=options.regularization, random_state=options.seed
    ),
    "passive-aggressive": lambda options: SGDClassifier(
        loss="hinge", penalty=None, learning_rate="pa1", eta0=options.c, random_state=options.seed
    ),
    "complement-nb": lambda options: ComplementNB(alpha=options.smoothing),
    "multinomial-nb": lambda options: MultinomialNB(alpha=options.smoothing),
}


class HashedPeer:
    """A linear or naive Bayes classifier on hashed n-grams.

    Args:
        name: Name of the classifier in ``MODELS``.
        classifier: An estimator with ``partial_fit``.
        labels: All labels of the stream.
        feature_bits: Binary logarithm of the number of hashed features.
    """

    def __init__(self, name: str, classifier: Any, labels: Sequence[str], feature_bits: int) -> None:
        self.name = f"scikit-learn {name}"
        counts = name.endswith("-nb")
        self._vectorizer = HashingVectorizer(
            ngram_range=(1, 2),
            n_features=2**feature_bits,
            norm=None if counts else "l2",
            alternate_sign=not counts,
            token_pattern=r"(?u)\b\w+\b",
        )
        self._classifier = classifier
        self._labels = list(labels)
        self._started = False
        self._last: tuple[Sequence[str], Any] | None = None

    def learn(self, rows: Sequence[Row]) -> None:
        """One call of ``partial_fit``."""
        features = self._features([row.text for row in rows])
        self._classifier.partial_fit(features, [row.label for row in rows], classes=self._labels)
        self._started = True

    def predict(self, texts: Sequence[str]) -> list[str | None]:
        """One label a text; None before the first batch."""
        if not self._started:
            return [None] * len(texts)
        return [str(label) for label in self._classifier.predict(self._features(texts))]

    def _features(self, texts: Sequence[str]) -> Any:
        # A batch is hashed once, though it is predicted and then learned.
        if self._last is None or self._last[0] != texts:
            self._last = (texts, self._vectorizer.transform(texts))
        return self._last[1]


def main() -> None:
    """Measure one scikit-learn classifier on one data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_arguments(parser, list(MODELS))
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--feature-bits", type=int, default=18)
    parser.add_argument("--regularization", type=float, default=1e-5, help="alpha of SGD")
    parser.add_argument("--smoothing", type=float, default=0.1, help="alpha of naive Bayes")
    parser.add_argument("--c", type=float, default=1.0, help="aggressiveness of passive-aggressive")
    options = parser.parse_args()
    limit_threads(options.threads)
    stream = load_stream(options)
    peer = HashedPeer(options.model, MODELS[options.model](options), stream.labels, options.feature_bits)
    result = measure(peer, stream, batch_size=options.batch_size, prequential=True)
    settings: dict[str, Any] = {"batch_size": options.batch_size, "feature_bits": options.feature_bits}
    if options.model.startswith("sgd"):
        settings["regularization"] = options.regularization
    elif options.model.endswith("-nb"):
        settings["smoothing"] = options.smoothing
    else:
        settings["c"] = options.c
    print_result(
        peer.name, stream, result, settings=settings, packages=["scikit-learn", "numpy"], arguments=options
    )


if __name__ == "__main__":
    main()
