"""The guard of language models and encoder-decoders: losses on what is held back decide."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.learning_seq2seq.pairs_of_words import word_pairs
from tests.runtime.text_runs import (
    corpus,
    documents,
    language_settings,
    learn,
    translation_settings,
    write_jsonl,
    write_language_model,
    write_translator,
)

from everlearn.errors import ConfigError, InputError
from everlearn.journal.history_records import Decision
from everlearn.runtime.fold.served_learner import open_learner
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.lineage import list_versions
from everlearn.runtime.history.review import review_run
from everlearn.runtime.history.verify import verify_run
from everlearn.tasks.exam_rows import hash_share
from everlearn.tasks.exams import Examined
from everlearn.tasks.texts.exams import LossExams, LossItem
from everlearn.types import Example, Prediction, TextLoss

Settings = dict[str, Any]
GUARD: Settings = {
    "guard.enabled": True,
    "guard.share": 0.3,
    "guard.every": 40,
    "guard.recent": 30,
    "guard.long_term": 30,
    "stream.batch_size": 20,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def settings(model: Path) -> Settings:
    quick: Settings = {"learner.gradient.trainable": "all", "learner.gradient.replay": 0}
    return language_settings(model) | quick | GUARD


def records(texts: Sequence[str], name: str) -> list[dict[str, Any]]:
    return [{"id": f"{name}-{k}", "text": text} for k, text in enumerate(texts)]


def garbage(count: int) -> list[str]:
    generator = random.Random(5)
    return ["".join(generator.choices("0123456789", k=60)) for _ in range(count)]


def decisions_of(run: Path) -> list[Decision]:
    return [one for one in list_versions(run).decisions if one.kind == "guard"]


def test_garbage_is_refused_and_set_aside_and_good_text_accepted(tmp_path: Path, settings: Settings) -> None:
    good = records(documents(120, sentences=2), "good")
    bad = records(garbage(40), "bad")
    run, never = tmp_path / "run", tmp_path / "never"
    outcome = learn(write_jsonl(tmp_path / "a.jsonl", [*good[:80], *bad, *good[80:]]), run, settings)
    found = decisions_of(run)
    assert [one.verdict for one in found] == ["accepted", "accepted", "rejected", "accepted"]
    assert "exam: bits per byte go from" in found[2].reason
    assert any("set aside" in note for note in outcome.notes)
    numbers = found[2].numbers
    assert set(numbers) == {"recent", "long_term", "own"}  # nothing is said of surprise
    assert numbers["long_term"]["lost"] > numbers["long_term"]["won"]
    assert numbers["own"]["lost"] < numbers["own"]["won"]  # of digits it has learned something
    versions = list_versions(run)
    assert versions.serving == versions.versions[-1].version == 3
    assert set(versions.versions[-1].scores) == {"recent_bits_per_byte", "long_term_bits_per_byte"}
    assert verify_run(run).is_valid
    # As if the bad interval had never come.
    learn(write_jsonl(tmp_path / "b.jsonl", good), never, settings)
    folder, learner = open_learner(run)
    folder.close()
    other_folder, other = open_learner(never)
    other_folder.close()
    assert learner.fingerprint() == versions.versions[-1].fingerprint == other.fingerprint()
    assert "bits per byte" in (run / "report.html").read_text(encoding="utf-8")
    # Somebody knows better.
    readmitted = review_run(run, readmit=found[2].decision)
    assert readmitted.num_learned == sum(hash_share(one["id"], "exam") >= 0.3 for one in bad)
    assert verify_run(run).is_valid


def test_an_interruption_changes_no_decision(tmp_path: Path, settings: Settings) -> None:
    texts = [*documents(60, sentences=2), *garbage(40)]
    stream = write_jsonl(tmp_path / "a.jsonl", records(texts, "text"))
    whole = learn(stream, tmp_path / "whole", settings).summary
    run = tmp_path / "run"
    assert learn(stream, run, settings, batches=3).interrupted
    rest = learn(stream, run).summary
    for name in ("learned", "tokens", "bytes", "prequential_bits_per_byte", "fingerprint"):
        assert rest[name] == whole[name]
    found, expected = decisions_of(run), decisions_of(tmp_path / "whole")
    assert [(one.step, one.verdict, one.reason) for one in found] == [
        (one.step, one.verdict, one.reason) for one in expected
    ]
    assert "rejected" in [one.verdict for one in found]


def test_pieces_of_a_document_are_held_back_together(tmp_path: Path, settings: Settings) -> None:
    run = tmp_path / "run"
    stream = corpus(tmp_path / "log.txt", 12, sentences=16)
    learn(stream, run, settings | {"guard.every": 30})
    roles: dict[str, set[str]] = {}
    with RunFolder.open_to_read(run) as folder:
        for _, one in folder.journal.examples.arrivals(1, folder.journal.next_offset - 1):
            roles.setdefault(str(one.example.fields["document"]), set()).add(one.role)
        held_back = [name for name, found in roles.items() if found == {"exam"}]
        assert set(map(frozenset, roles.values())) == {frozenset({"exam"}), frozenset({"learn"})}
        assert held_back == [name for name in roles if hash_share(name, "exam") < 0.3]
        exams = LossExams(folder.journal, 30, 30, group_of=folder.task.group_of)
        recent, long_term = exams.choose()
        assert exams.choose(recent[-1].offsets[0])[1] == sorted(recent[:-1], key=lambda one: one.offsets)
        assert [one.name for one in recent] == held_back
        assert sorted(one.name for one in long_term) == sorted(held_back)
        assert all(len(one.offsets) == 4 for one in recent)  # their beginnings
    (tmp_path / "one.txt").write_text("short\n", encoding="utf-8")
    with pytest.raises(InputError, match="all of its 1 examples are held back"):
        learn(tmp_path / "one.txt", tmp_path / "other", settings | {"guard.share": 0.999})


class Known:
    """Has the losses that it is given, by the text."""

    def __init__(self, **nats: float) -> None:
        self.nats = nats
        self.calls = 0

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        raise AssertionError("texts are compared by their losses")

    def score_each(self, groups: Sequence[Sequence[Example]]) -> list[TextLoss]:
        self.calls += 1
        return [TextLoss(domain=None, nats=self.nats[str(one.text)], tokens=1, bytes=10) for (one,) in groups]


def test_the_tolerance_is_relative_and_no_number_is_a_loss(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    learn(corpus(tmp_path / "log.txt", 4), run, settings)
    with RunFolder.open_to_read(run) as folder:
        exams = LossExams(folder.journal, 30, 30, group_of=folder.task.group_of)
        items = [LossItem(name=name, domain=None, offsets=(k,), target="") for k, name in enumerate("abcd")]
        monkeypatch.setattr(
            folder.journal.examples, "at", lambda offset: Example(id=str(offset), text="abcd"[offset])
        )
        serving = Known(a=1.0, b=1.0, c=1.0, d=1.0)
        examined = Known(a=1.005, b=1.02, c=0.99, d=float("nan"))
        live, candidate = Examined(serving, 0), Examined(examined, 0)
        exams.begin(live)
        found = exams.compare(live, candidate, items, tolerance=0.01, test="mcnemar")
        assert (found.lost, found.won, found.num_examples) == (2, 1, 4)
        strict = exams.compare(live, candidate, items, tolerance=0.0, test="mcnemar")
        assert (strict.lost, strict.won) == (3, 1)
        assert serving.calls == examined.calls == 1
        exams.adopt(candidate)
        exams.begin(candidate)
        exams.compare(candidate, live, items[:2], tolerance=0.0, test="mcnemar")
        assert (serving.calls, examined.calls) == (2, 1)  # what serves is known


def test_defaults_of_texts_and_settings_of_labels(tmp_path: Path, settings: Settings, model: Path) -> None:
    run = tmp_path / "run"
    given = language_settings(model) | {"guard.enabled": True, "guard.share": 0.3}
    learn(corpus(tmp_path / "log.txt", 4), run, given)
    with RunFolder.open_to_read(run) as folder:
        guard = folder.config.guard
        assert (guard.tolerance, guard.every, guard.recent, guard.long_term) == (0.02, 1_000, 100, 200)
        assert folder.config.stream.batch_size == 4
    for name, value in (("guard.suspicious", "hold"), ("guard.surprise", False), ("guard.readmit", False)):
        with pytest.raises(ConfigError, match=f"{name} has no effect where task = 'lm'"):
            learn(tmp_path / "log.txt", tmp_path / "other", settings | {name: value})


def test_wrong_translations_are_refused(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    model = write_translator(tmp_path_factory.mktemp("models") / "tiny")
    settings = (
        translation_settings(model)
        | GUARD
        | {
            "guard.every": 80,
            "learner.gradient.replay": 0,
            "stream.batch_size": 4,
        }
    )
    pairs = [{"id": one.id, "text": one.text, "target": one.target} for one in word_pairs(320, longest=3)]
    wrong = [
        {**one, "target": " ".join(["nein"] * len(str(one["target"]).split()))} if k >= 240 else one
        for k, one in enumerate(pairs)
    ]
    run = tmp_path / "run"
    learn(write_jsonl(tmp_path / "a.jsonl", wrong), run, settings)
    found = decisions_of(run)
    assert [one.verdict for one in found] == ["accepted", "accepted", "accepted", "rejected"]
    assert "long-term exam: bits per byte go from" in found[-1].reason
    assert list_versions(run).serving == 3
    assert verify_run(run).is_valid
