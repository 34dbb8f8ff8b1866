"""Several labels a text: GoEmotions, learned in one pass, beside one classifier a label.

Run: ``python -m benchmarks.several_labels [--data DIR] [--codes FOLDER] [--limit N]``

The stream is learned as it comes by ``everlearn learn``, with defaults; test texts are predicted at its end,
and each batch of the stream before it is learned. Beside it a linear SVM on TF-IDF of words and pairs of
words, and logistic regression on the same encoder's last layer (the leading components of the same codes),
both one classifier a label and fitted on all training texts at once. The validation part is theirs:
thresholds (of each label, or one for all) and one of three strengths of regularisation are those of best
micro-F1 on it. Seconds are of learning and testing, without encoding.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import MultiLabelBinarizer
from sklearn.svm import LinearSVC

from benchmarks.command_line import run_json, scratch_folder
from benchmarks.datasets import split_path
from benchmarks.environment import describe_environment, environment_line
from everlearn.stream.files.codes import CodesSource
from everlearn.stream.source import FieldNames, SourceConfig
from everlearn.tasks.reading import read_all

__all__ = ["main"]

NAME = "goemotions_multi"
LEADING = 384  # components of the last layer
STRENGTHS = (0.1, 1.0, 10.0)

Matrix = npt.NDArray[Any]


def main() -> None:
    """Learn, fit the others, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    parser.add_argument("--codes", type=Path, help="folder to keep codes in, so that they are made once")
    parser.add_argument("--limit", type=int, help="training texts (default: all)")
    options = parser.parse_args()
    print(environment_line(describe_environment(("torch", "scikit-learn"))), flush=True)
    scratch = scratch_folder()
    codes = options.codes or scratch
    codes.mkdir(parents=True, exist_ok=True)
    parts = {part: _records(part, options, scratch) for part in ("train", "val", "test")}
    coded = {part: _coded(part, path, codes, options.limit) for part, path in parts.items()}
    print("| learner | micro-F1 % | macro-F1 % | whole sets right % | seconds |\n|---|---|---|---|---|")
    started = time.perf_counter()
    summary = run_json(["learn", coded["train"], "--test", coded["test"], "--out", scratch / "run"])
    seconds = time.perf_counter() - started
    for name, prefix in (("closed form, test texts", "test"), ("the same, prequential", "prequential")):
        scores = [summary[f"{prefix}_{one}"] for one in ("micro_f1", "macro_f1", "subset_accuracy")]
        _print(name, scores, seconds)
    rows = {part: _rows(path) for part, path in parts.items()}
    binarizer = MultiLabelBinarizer().fit([labels for _, labels in rows["train"]])
    targets = {part: binarizer.transform([labels for _, labels in some]) for part, some in rows.items()}
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    started = time.perf_counter()
    texts = {part: [text for text, _ in some] for part, some in rows.items()}
    inputs = {"train": words.fit_transform(texts["train"])}
    inputs |= {part: words.transform(texts[part]) for part in ("val", "test")}
    scores = _best(inputs, targets, lambda strength: LinearSVC(C=strength))
    _print("linear SVM a label, TF-IDF", scores, time.perf_counter() - started)
    started = time.perf_counter()
    dense = {part: _leading(path) for part, path in coded.items()}
    scores = _best(dense, targets, lambda strength: LogisticRegression(C=strength, max_iter=300))
    _print("logistic regression a label, same encoder", scores, time.perf_counter() - started)


def _records(part: str, options: argparse.Namespace, scratch: Path) -> Path:
    """The part's first records, with ids of their own: the set has some texts twice under one id."""
    path = scratch / f"{part}.jsonl"
    with (
        gzip.open(split_path(NAME, part, options.data), "rt", encoding="utf-8") as lines,
        path.open("w") as out,
    ):
        for number, line in enumerate(lines):
            if part == "train" and options.limit is not None and number >= options.limit:
                break
            record = json.loads(line)
            row = {"id": f"{part}:{number}", "text": record["text"], "label": record["label"]}
            out.write(json.dumps(row) + "\n")
    return path


def _coded(part: str, path: Path, folder: Path, limit: int | None) -> Path:
    coded = folder / f"{part}{limit if limit and part == 'train' else ''}.codes.parquet"
    if not coded.exists():
        run_json(["encode", path, "--out", coded])
    return coded


def _rows(path: Path) -> list[tuple[str, list[str]]]:
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(record["text"], record["label"]) for record in records]


def _leading(path: Path) -> Matrix:
    """The last layer of each text, of unit length."""
    source = CodesSource(path, SourceConfig(fields=FieldNames(several_labels=True)))
    codes = [example.code for example in read_all(source)[0]]
    dense = np.array([code.dense[:LEADING] for code in codes if code is not None], dtype=np.float32)
    return np.asarray(dense / np.linalg.norm(dense, axis=1, keepdims=True) * 10)


def _best(inputs: dict[str, Any], targets: dict[str, Matrix], make: Callable[[float], Any]) -> list[float]:
    """Test scores of the strength, and of the way to threshold, that are best on the validation part."""
    found = []
    for strength in STRENGTHS:
        model = OneVsRestClassifier(make(strength)).fit(inputs["train"], targets["train"])
        on_val, on_test = (model.decision_function(inputs[part]) for part in ("val", "test"))
        of_each = [_threshold(on_val[:, k], targets["val"][:, k]) for k in range(on_val.shape[1])]
        of_all = _threshold(on_val.ravel(), targets["val"].ravel())
        for threshold in (of_each, of_all):
            scores = {
                part: _scores(targets[part], one >= threshold)
                for part, one in (("val", on_val), ("test", on_test))
            }
            found.append((scores["val"][0], scores["test"]))
    return max(found)[1]


def _threshold(scores: Matrix, targets: Matrix) -> float:
    """The score from which on a label is said for the best F1."""
    order = np.argsort(-scores)
    hits = targets[order].cumsum()
    f1 = 2 * hits / (np.arange(1, len(scores) + 1) + targets.sum())
    return float(scores[order[int(f1.argmax())]])


def _scores(targets: Matrix, said: Matrix) -> list[float]:
    return [
        float(f1_score(targets, said, average="micro")),
        float(f1_score(targets, said, average="macro", zero_division=0)),
        float((targets == said).all(axis=1).mean()),
    ]


def _print(name: str, scores: list[float], seconds: float) -> None:
    print(f"| {name} | {' | '.join(f'{100 * one:.1f}' for one in scores)} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
