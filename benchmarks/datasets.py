"""The benchmarks' data sets by name, from a folder that the user has; none ships with the project."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import NamedTuple

__all__ = ["SOURCES", "DatasetNotFoundError", "Row", "data_folder", "load_rows", "split_path"]

SOURCES = {
    "clinc150": "github.com/clinc/oos-eval, data/data_full.json and data/domains.json",
    "banking77": "github.com/PolyAI-LDN/task-specific-datasets, banking_data/train.csv and test.csv",
    "20newsgroups": "the 'bydate' split with headers, decoded as latin-1; "
    "github.com/tg44/Lucene_20news, 20news/20news-bydate-train and -test",
    "snips": "github.com/sonos/nlu-benchmark, 2017-06-custom-intent-engines (full training files; "
    "test = the validation files)",
    "goemotions_multi": "github.com/monologg/GoEmotions-pytorch, data/original/train.tsv, dev.tsv "
    "(here val) and test.tsv; label is a list",
    "trec_questions": "github.com/nltk/nltk_data, packages/corpora/qc.zip (coarse classes)",
}
"""Where each set that the benchmarks report on is published."""

DATA_VARIABLE = "EVERLEARN_DATA"


class Row(NamedTuple):
    """One labelled text; ``id`` is the file's own or ``split:line``, lines counted from 1."""

    id: str
    text: str
    label: str


class DatasetNotFoundError(FileNotFoundError):
    """A data set's file is not where it was looked for; the message says how to get it."""


def data_folder(data: str | os.PathLike[str] | None = None) -> Path:
    """The folder with one folder a data set.

    Args:
        data: The folder, where the caller was told it; else the environment variable
            ``EVERLEARN_DATA``, else ``../shared/data`` beside the repository.

    Raises:
        DatasetNotFoundError: None of the three is an existing folder.
    """
    named = data if data is not None else os.environ.get(DATA_VARIABLE) or None
    folder = Path(named) if named is not None else _beside_repository()
    if not folder.is_dir():
        raise DatasetNotFoundError(f"no data folder at {folder}. {_REMEDY}")
    return folder


def split_path(name: str, split: str = "train", data: str | os.PathLike[str] | None = None) -> Path:
    """The file of one split of a data set, for example ``clinc150/train.jsonl.gz``.

    Raises:
        DatasetNotFoundError: There is no such file.
    """
    path = data_folder(data) / name / f"{split}.jsonl.gz"
    if not path.is_file():
        source = f" Published at {SOURCES[name]}." if name in SOURCES else ""
        raise DatasetNotFoundError(f"no data set at {path}. {_REMEDY}{source}")
    return path


def load_rows(name: str, split: str = "train", data: str | os.PathLike[str] | None = None) -> list[Row]:
    """All rows of one split, in the file's order.

    Raises:
        DatasetNotFoundError: There is no such file.
    """
    rows = []
    with gzip.open(split_path(name, split, data), "rb") as file:
        # Binary lines end at \n only; text mode would also break at a lone carriage return.
        for number, line in enumerate(file, start=1):
            record = json.loads(line)
            rows.append(Row(str(record.get("id", f"{split}:{number}")), record["text"], str(record["label"])))
    return rows


def _beside_repository() -> Path:
    return Path(__file__).resolve().parents[2] / "shared" / "data"


_REMEDY = (
    f"Pass --data DIR or set {DATA_VARIABLE}=DIR, where DIR/NAME/train.jsonl.gz and test.jsonl.gz hold one "
    'JSON object a line with "text" and "label".'
)
