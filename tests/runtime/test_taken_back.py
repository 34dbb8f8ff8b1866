"""A step that is taken back leaves nothing behind, and nobody's error is blamed on examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.runtime.conftest import digest_of
from tests.runtime.text_runs import (
    Crash,
    Settings,
    language_settings,
    learn,
    records,
    rejections,
    spoil,
    write_jsonl,
    write_language_model,
)

from everlearn.errors import RunError
from everlearn.learning.closed_form import ClosedFormLearner
from everlearn.learning.language import LanguageLearner
from everlearn.runtime.commands.learn import LearnRequest, learn_stream
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.fold.fold import Fold
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.lineage import blame_example
from everlearn.runtime.history.review import flagged_examples, review_run
from everlearn.runtime.history.verify import verify_run
from everlearn.runtime.loop.experiences import Experiences
from everlearn.types import Example

WriteCodes = Callable[..., Path]
Clustered = Callable[..., list[Example]]


MAKE = Fold.make


def at_step(number: int, fail: Callable[[], object], after: int) -> Callable[..., Any]:
    """In place of ``Fold.make``: something happens once, after that step was made so many times."""
    met = 0

    def making(self: Fold, step: Any, predictions: Any) -> Any:
        nonlocal met
        if step.step.step == number:
            met += 1
            if met == after + 1:
                fail()
        return MAKE(self, step, predictions)

    return making


def crash_at_step(number: int, *, after: int = 0) -> Callable[..., Any]:
    """The process dies."""

    def die() -> None:
        raise Crash

    return at_step(number, die, after)


def out_of_memory_at_step(number: int, *, after: int = 0) -> Callable[..., Any]:
    """Memory runs out."""
    return at_step(number, lambda: torch.empty(1 << 55), after)


def quarantines(run: Path) -> list[tuple[int, int]]:
    """First and last steps of what was left out."""
    with RunFolder.open_to_read(run) as folder:
        return [(one.first_step, one.last_step) for one in folder.history.revisions()]


def roles(run: Path) -> set[str]:
    with RunFolder.open_to_read(run) as folder:
        return {role for (role,) in folder.journal.database.rows("SELECT role FROM examples")}


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model to which "@" is no number."""
    model = write_language_model(tmp_path_factory.mktemp("models") / "tiny", tie_word_embeddings=False)
    return spoil(model, "@")


def refuse(patch: pytest.MonkeyPatch, *ids: str) -> None:
    """Let the closed-form learner fail at these examples."""
    learn_batch = ClosedFormLearner.learn

    def failing(self: ClosedFormLearner, batch: Sequence[Example]) -> Any:
        if any(one.id in ids for one in batch):
            raise ValueError("the loss is nan")
        return learn_batch(self, batch)

    patch.setattr(ClosedFormLearner, "learn", failing)


@pytest.fixture(params=["waits for its turn", "waits in a lane"])
def with_waiting(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write_codes: WriteCodes,
    clustered: Clustered,
    small: Settings,
) -> tuple[Path, Settings]:
    """A stream with an example that turns out in a later step than it came with not to be learnable."""
    if request.param == "waits for its turn":
        refuse(monkeypatch, "message-11")
        settings = small | {"stream.batch_size": 8, "stream.delay": 8}
        return write_codes("stream.parquet", clustered(48)), settings
    model = request.getfixturevalue("language_model")
    settings = language_settings(model) | {"stream.batch_size": 1, "stream.piece_bytes": 4096}
    return write_jsonl(tmp_path / "all.jsonl", records({4}, 8)), settings


@pytest.mark.parametrize("dies", [False, True])
def test_what_a_step_left_out_counts_again_when_that_step_fails_too(
    tmp_path: Path, with_waiting: tuple[Path, Settings], monkeypatch: pytest.MonkeyPatch, dies: bool
) -> None:
    stream, settings = with_waiting
    expected = learn(stream, tmp_path / "undisturbed", settings).summary
    ((_, number),) = quarantines(tmp_path / "undisturbed")
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        # The first time the example fails, the second time it is left out.
        if dies:
            patch.setattr(Fold, "make", crash_at_step(number, after=1))
            with pytest.raises(Crash):
                learn(stream, run, settings)
            assert quarantines(run)
            patch.setattr(Fold, "make", out_of_memory_at_step(number))
            with pytest.raises(RunError, match="memory ran out"):
                learn(stream, run)
        else:
            patch.setattr(Fold, "make", out_of_memory_at_step(number, after=1))
            with pytest.raises(RunError, match="memory ran out"):
                learn(stream, run, settings)
    assert not quarantines(run)
    assert roles(run) == {"learn"}
    again = learn(stream, run).summary
    assert again["fingerprint"] == expected["fingerprint"]
    assert again["learned"] == expected["learned"]
    assert quarantines(run) == quarantines(tmp_path / "undisturbed")
    assert (run / "rejected.jsonl").read_text() == (tmp_path / "undisturbed/rejected.jsonl").read_text()
    assert verify_run(run).is_valid


def test_what_was_left_out_is_not_blamed_again_for_the_rest(
    tmp_path: Path, language_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What fails with the others alone is left out as the last resort, beside what fails by itself.
    learn_batch = LanguageLearner.learn

    def failing(self: LanguageLearner, batch: Sequence[Example]) -> Any:
        if any(one.id == "doc-6" for one in batch):
            raise ValueError("too much at once")
        return learn_batch(self, batch)

    monkeypatch.setattr(LanguageLearner, "learn", failing)
    run = tmp_path / "run"
    settings = language_settings(language_model) | {"stream.batch_size": 1, "stream.piece_bytes": 4096}
    learn(write_jsonl(tmp_path / "all.jsonl", records({4}, 8)), run, settings)
    told = {one["place"][-6:-1]: one["reason"] for one in rejections(run)}
    assert {"doc-4", "doc-6"} <= set(told) <= {f"doc-{k}" for k in range(3, 7)}
    assert "nan" in told["doc-4"]
    assert "too much at once" in told["doc-6"]
    assert blame_example(run, "doc-7").is_held
    assert verify_run(run).is_valid


@pytest.mark.parametrize("where", ["observer", "boundary"])
def test_an_error_of_who_looks_on_is_no_examples(
    tmp_path: Path,
    write_codes: WriteCodes,
    clustered: Clustered,
    small: Settings,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    stream, run = write_codes("stream.parquet", clustered(96)), tmp_path / "run"
    settings = small | {"stream.batch_size": 16, "stream.delay": 8, "stream.order": "by-domain"}
    expected = learn(stream, tmp_path / "undisturbed", settings).summary["fingerprint"]
    fault, seen = ValueError("the disk of the dashboard is full"), 0

    def look(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == (4 if where == "observer" else 2):
            raise fault

    request = LearnRequest(stream=str(stream), out=run, settings=settings)
    with monkeypatch.context() as patch:
        if where == "boundary":
            patch.setattr(Experiences, "test", look)
        with pytest.raises(ValueError, match="of the dashboard") as raised:
            learn_stream(request, observers=(look,) if where == "observer" else ())
    assert raised.value is fault
    assert not quarantines(run)
    assert roles(run) == {"learn"}
    outcome = learn(stream, run)
    assert outcome.summary["fingerprint"] == expected
    assert outcome.summary["learned"] == 96
    assert not (run / "rejected.jsonl").exists()
    assert verify_run(run).is_valid


def test_what_cannot_be_learned_brings_few_steps_back(
    tmp_path: Path,
    write_codes: WriteCodes,
    clustered: Clustered,
    small: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = 120
    bad = [f"message-{k}" for k in range(9, count, 10)]
    stream = write_codes("stream.parquet", clustered(count))
    settings = small | {"stream.batch_size": 1}
    run, num_made, make = tmp_path / "run", 0, Fold.make

    def counting(self: Fold, step: Any, predictions: Any) -> Any:
        nonlocal num_made
        num_made += 1
        return make(self, step, predictions)

    with monkeypatch.context() as patch:
        refuse(patch, *bad)
        patch.setattr(Fold, "make", counting)
        learn(stream, run, settings)
    assert [one["place"] for one in rejections(run)] == [f"stream.parquet, id {one!r}" for one in bad]
    # Once to find it out, once without it, and the nine before it again.
    assert num_made <= 2 * count + len(bad)
    with RunFolder.open_to_read(run) as folder:
        kept = folder.config.run.keep_checkpoints
        assert len(folder.history.checkpoints()) <= kept + 1
    assert len(list((run / "checkpoints").iterdir())) <= kept + 1
    assert verify_run(run).is_valid


@pytest.fixture
def with_held(tmp_path: Path, write_codes: WriteCodes, clustered: Clustered, small: Settings) -> Path:
    """A run that has held two suspicious examples back."""
    examples = [
        one.with_target("label0" if one.target != "label0" else "label1") if k in (180, 190) else one
        for k, one in enumerate(clustered(200))
    ]
    settings = small | {
        "stream.batch_size": 50,
        "guard.enabled": True,
        "guard.suspicious": "hold",
        "guard.confidence": 0.8,
        "guard.share": 0.01,
        "guard.every": 1_000,
    }
    learn(write_codes("stream.parquet", examples), tmp_path / "run", settings)
    assert {"message-180", "message-190"} <= flagged(tmp_path / "run")
    return tmp_path / "run"


def flagged(run: Path) -> set[str]:
    return {one.id for one in flagged_examples(run, limit=100)}


def test_a_review_that_cannot_be_learned_changes_nothing(
    with_held: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, open_flags = digest_of(with_held), flagged(with_held)
    with monkeypatch.context() as patch:
        refuse(patch, "message-180")
        with pytest.raises(RunError, match=r"'message-180' cannot be learned.*nan.*--reject"):
            review_run(with_held, accept=["message-180"])
        with pytest.raises(RunError, match=r"one of 2 examples.*fewer ids"):
            review_run(with_held, accept=["message-180", "message-190"])
        other = min(open_flags - {"message-180", "message-190"}, default="message-190")
        with pytest.raises(RunError, match="'message-180'"):
            review_run(with_held, accept=["message-180"], reject=[other])
        with RunFolder.open_to_read(with_held) as folder:
            number = folder.journal.last_step + 1
        patch.setattr(Fold, "make", out_of_memory_at_step(number))
        with pytest.raises(RunError, match="memory ran out"):
            review_run(with_held, accept=["message-190"])
    assert digest_of(with_held) == before
    assert flagged(with_held) == open_flags
    assert review_run(with_held, accept=["message-180"]).num_learned == 1
    assert blame_example(with_held, "message-180").is_held
    assert flagged(with_held) == open_flags - {"message-180"}
    assert verify_run(with_held).is_valid


def test_a_flag_is_open_again_when_its_step_is_taken_back_later(
    with_held: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_flags = flagged(with_held)
    with RunFolder.open_to_read(with_held) as folder:
        number = folder.journal.last_step + 1
    with monkeypatch.context() as patch:
        patch.setattr(Fold, "make", crash_at_step(number))
        with pytest.raises(Crash):
            review_run(with_held, accept=["message-180"])
        refuse(patch, "message-180")
        patch.setattr(Fold, "make", MAKE)
        assert forget_in_run(with_held, ids=["message-3"]).num_forgotten == 1
    assert flagged(with_held) == open_flags
    assert not blame_example(with_held, "message-180").is_held
    assert review_run(with_held, accept=["message-180"]).num_learned == 1
    assert verify_run(with_held).is_valid
