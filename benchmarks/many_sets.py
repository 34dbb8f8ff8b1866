"""Accuracy after one pass over many kinds of text, one configuration, beside what is fitted offline.

Run: ``python -m benchmarks.many_sets --out FOLDER [--data DIR] [SET …]``

Every set is encoded once, then learned in random order by ``everlearn learn`` with its defaults and tested.
Beside it, all fitted on the whole training part at once, with C chosen on a fifth of it:

* ``words``, ``characters``: a linear SVM on TF-IDF of word 1-2-grams (single characters where a script has no
  spaces) or of characters' 2-4-grams;
* ``embeddings``: logistic regression on the same encoder's last layer, as the codes hold it.

What is done is kept in FOLDER: the same command goes on where it was stopped. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.codes_files import read_codes
from benchmarks.command_line import run_json
from benchmarks.datasets import Row, load_rows, split_path
from benchmarks.environment import environment_line
from everlearn.models.encoder.lexical import tokens

__all__ = ["main"]

SETS = (
    "thucnews_titles_zh",
    "shopping_reviews_10domains_zh",
    "hausa_news_noisy",
    "yoruba_news_noisy",
    "goemotions_single",
    "yelp_5star",
    "sms_spam",
    "trec_questions",
    "snips",
    "banking77",
    "clinc150",
    "vader_4domains",
    "ag_news",
    "dbpedia14",
    "amazon_reviews_4domains",
    "health_tweets_dated",
    "20newsgroups",
)
RIVALS = ("words", "characters", "embeddings")
_LEADING = 384
_STRENGTHS = {
    "words": (0.1, 0.3, 1.0, 3.0),
    "characters": (0.1, 0.3, 1.0, 3.0),
    "embeddings": (1.0, 10.0, 100.0),
}


def main() -> None:
    """Run what is missing, and print the table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sets", nargs="*", default=list(SETS), metavar="SET")
    parser.add_argument("--out", type=Path, required=True, help="folder that results are kept in")
    parser.add_argument("--data", help="folder of data sets (default: $EVERLEARN_DATA or ../shared/data)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(environment_line(), flush=True)
    results = {}
    for name in options.sets:
        results[name] = _result(name, options.out, options.data)
        print(json.dumps({"set": name, **results[name]}), flush=True)
    print(_table(results))


def _result(name: str, out: Path, data: str | None) -> dict[str, Any]:
    """What is known of a set; what is missing is found out, and kept at once."""
    kept = out / f"{name}.json"
    result: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    codes = {part: out / f"{name}.{part}.parquet" for part in ("train", "test")}
    for part, path in codes.items():
        if not path.exists():
            unfinished = out / f"unfinished.{path.name}"
            run_json(["encode", split_path(name, part, data), "--out", unfinished])
            unfinished.rename(path)
    if "everlearn" not in result:
        run = out / f"{name}.run"
        shutil.rmtree(run, ignore_errors=True)  # of a run that was stopped
        summary = run_json(
            ["learn", codes["train"], "--order", "shuffled", "--test", codes["test"], "--out", run]
        )
        result |= {
            "everlearn": summary["test_accuracy"],
            "prequential": summary["prequential_accuracy"],
            "examples": summary["examples"],
        }
        kept.write_text(json.dumps(result))
    missing = [rival for rival in RIVALS if rival not in result]
    if missing:
        parts = {part: load_rows(name, part, data) for part in ("train", "test")}
        for rival in missing:
            result[rival] = _offline(rival, parts["train"], parts["test"], codes)
            kept.write_text(json.dumps(result))
    return result


def _offline(rival: str, train: Sequence[Row], test: Sequence[Row], codes: dict[str, Path]) -> float:
    """Accuracy of a rival whose C was chosen on a fifth of the training part."""
    chosen_on = np.random.default_rng(0).permutation(len(train)) < len(train) // 5
    labels = {"train": np.array([row.label for row in train]), "test": np.array([row.label for row in test])}
    if rival == "embeddings":
        inputs = {part: _embeddings(path) for part, path in codes.items()}
        fitted, judged = inputs["train"][~chosen_on], inputs["train"][chosen_on]
    else:
        texts = np.array([row.text for row in train], dtype=object)
        fitted, judged = _weighted(rival, texts[~chosen_on], texts[chosen_on])
    own = labels["train"]
    scores = {
        strength: _accuracy(rival, strength, (fitted, own[~chosen_on]), (judged, own[chosen_on]))
        for strength in _STRENGTHS[rival]
    }
    best = max(scores, key=lambda strength: scores[strength])
    if rival == "embeddings":
        whole, tested = inputs["train"], inputs["test"]
    else:
        whole, tested = _weighted(rival, texts, np.array([row.text for row in test], dtype=object))
    return _accuracy(rival, best, (whole, own), (tested, labels["test"]))


def _accuracy(rival: str, strength: float, fitted: tuple[Any, Any], judged: tuple[Any, Any]) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import LinearSVC

    model = LogisticRegression(C=strength, max_iter=1000) if rival == "embeddings" else LinearSVC(C=strength)
    return float(model.fit(*fitted).score(*judged))


def _weighted(rival: str, texts: npt.NDArray[Any], others: npt.NDArray[Any]) -> tuple[Any, Any]:
    """TF-IDF matrices of both, weighed by the first."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    if rival == "words":
        vectorizer = TfidfVectorizer(
            tokenizer=tokens, token_pattern=None, lowercase=False, ngram_range=(1, 2), sublinear_tf=True
        )
    else:
        vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(2, 4), sublinear_tf=True)
    return vectorizer.fit_transform(texts), vectorizer.transform(others)


def _embeddings(path: Path) -> npt.NDArray[np.float32]:
    """Unit vectors of the last layer, in the file's order."""
    rows = [example.code.dense[:_LEADING] for example in read_codes(path) if example.code is not None]
    vectors = np.stack(rows).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _table(results: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| set | everlearn | words | characters | embeddings | to the best |",
        "|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        percent = [100 * result[column] for column in ("everlearn", *RIVALS)]
        ahead = percent[0] - max(percent[1:])
        lines.append(f"| {name} | {' | '.join(f'{value:.1f}' for value in percent)} | {ahead:+.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
