"""What the translation benchmark trains on, streams and tests never overlap; scores are sacrebleu's."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from benchmarks.translation.data import Corpus, read_corpus, topic_of
from benchmarks.translation.scores import score_texts

SOURCES = ["A man sits.", "A dog runs.", "Two teams play soccer.", "A puppy plays tennis.", "A skirt."]


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    folder = tmp_path / "multi30k_en_de"
    folder.mkdir()
    for split in ("train", "val", "test", "test_2017_flickr", "test_2017_mscoco"):
        lines = [json.dumps({"source": source, "target": f"{source} ({split})"}) for source in SOURCES * 4]
        (folder / f"{split}.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return read_corpus(tmp_path)


def test_topics_are_found_by_whole_words() -> None:
    topics = [topic_of(source) for source in SOURCES]
    assert topics == [None, "dogs", "sport", "sport", None]


def test_a_corpus_is_divided_without_overlap(corpus: Corpus) -> None:
    parts = [corpus.initial, corpus.development, corpus.streams["topics"]]
    ids = [example.id for part in parts for example in part]
    assert len(ids) == len(set(ids)) == 20
    assert all(topic_of(example.text or "") is None for example in corpus.initial)
    assert [len(part) for part in parts] == [8, 3, 9]
    assert [example.domain for example in corpus.streams["topics"]] == ["sport"] * 6 + ["dogs"] * 3
    assert (len(corpus.first_test), len(corpus.first_test_all), len(corpus.validation)) == (8, 20, 8)


def test_scores_are_of_the_whole_corpus() -> None:
    texts = ["Ein Mann sitzt auf einer Bank.", "Ein Hund rennt über die Wiese."]
    perfect = score_texts(texts, texts)
    assert perfect.bleu == pytest.approx(100.0)
    assert perfect.chrf == pytest.approx(100.0)
    assert score_texts(texts, texts[::-1]).bleu < 30
