"""Consolidation on a task that only a tuned trunk solves; real tuning, real encoder, real journal."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.runtime.word_pairs import write_encoder, write_texts

from everlearn import Hub
from everlearn.errors import RunError
from everlearn.journal.generations import Generations
from everlearn.journal.standing.held import held_examples
from everlearn.learning.consolidation import ConsolidationConfig, EpochReport
from everlearn.models.encoder.load import load_trunk
from everlearn.models.storage.adapters import load_adapted_trunk
from everlearn.runtime.commands.evaluate import evaluate_run
from everlearn.runtime.commands.learn import LearnRequest, learn_stream
from everlearn.runtime.commands.predict import predict_texts
from everlearn.runtime.commands.tie import TieRequest, tie_model
from everlearn.runtime.consolidation.consolidate import ConsolidateOutcome, consolidate_run
from everlearn.runtime.consolidation.trunk_tuning import TuningStoppedError
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.journal_views import compact_run, export_journal
from everlearn.runtime.history.lineage import list_versions
from everlearn.runtime.history.merge import merge_runs
from everlearn.runtime.history.repair import repair_run
from everlearn.runtime.history.rollback import rollback_run
from everlearn.runtime.history.verify import verify_run
from everlearn.runtime.interruption import StopFlag
from everlearn.runtime.listener import SilentListener

CONFIG = ConsolidationConfig(
    epochs=6,
    patience=6,
    learning_rate=0.02,
    token_dropout=0.0,  # the two words that matter must stay
    label_smoothing=0.0,
    lower_layers_weight=0.0,
    scale=8.0,
)
QUICK = ConsolidationConfig(epochs=1, token_dropout=0.0)
NUM_TEXTS = 600
SETTINGS: dict[str, Any] = {
    "learner.closed_form.num_features": 128,
    "learner.closed_form.gram_bits": 12,
    "learner.closed_form.sample_size": 128,
    "model.device": "cpu",
    "model.dtype": "float32",
    "run.keep_text": True,
    "run.threads": 1,
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``encoder/``, ``train.jsonl``, ``more.jsonl``, ``test.jsonl``, and ``learned/``: a run."""
    folder = tmp_path_factory.mktemp("material")
    write_encoder(folder / "encoder")
    write_texts(folder / "train.jsonl", NUM_TEXTS)
    write_texts(folder / "more.jsonl", 300, start=10_000)
    write_texts(folder / "test.jsonl", 300, start=20_000)
    learn(folder, "train.jsonl", folder / "learned")
    return folder


@pytest.fixture(scope="module")
def adopted(material: Path) -> tuple[Path, ConsolidateOutcome]:
    """A run that was consolidated once; not to be changed."""
    run = material / "adopted"
    shutil.copytree(material / "learned", run)
    return run, consolidate_run(run, CONFIG)


@pytest.fixture
def run(tmp_path: Path, material: Path) -> Path:
    """A run that is still to be consolidated."""
    return Path(shutil.copytree(material / "learned", tmp_path / "run"))


@pytest.fixture
def tuned(tmp_path: Path, adopted: tuple[Path, ConsolidateOutcome]) -> Path:
    """A run that was consolidated."""
    return Path(shutil.copytree(adopted[0], tmp_path / "run"))


def learn(material: Path, stream: str, run: Path, **settings: Any) -> str:
    given = {**SETTINGS, "model.name": str(material / "encoder"), **settings}
    return str(
        learn_stream(LearnRequest(stream=str(material / stream), out=run, settings=given)).summary[
            "fingerprint"
        ]
    )


def accuracy(material: Path, run: Path) -> float:
    return float(evaluate_run(run, [str(material / "test.jsonl")])["accuracy"])


def fingerprint(material: Path, run: Path) -> str:
    return str(evaluate_run(run, [str(material / "test.jsonl")])["fingerprint"])


def damage(run: Path, sql: str) -> None:
    """Change the journal behind the program's back, in the main file."""
    with closing(sqlite3.connect(run / "journal.sqlite", isolation_level=None)) as database:
        database.execute(sql)


def without_checkpoints(run: Path, into: Path) -> Path:
    """A copy that must be folded from the beginning of its journal."""
    shutil.copytree(run, into)
    for file in (into / "checkpoints").iterdir():
        file.unlink()
    return into


def test_what_no_frozen_trunk_tells_apart(material: Path, adopted: tuple[Path, ConsolidateOutcome]) -> None:
    run, outcome = adopted
    assert accuracy(material, material / "learned") < 0.65
    assert outcome.is_adopted
    assert outcome.version == 2
    assert outcome.numbers["own"]["candidate_log_loss"] < outcome.numbers["own"]["live_log_loss"]
    assert outcome.num_tuned == NUM_TEXTS - 128
    assert accuracy(material, run) > 0.95
    assert fingerprint(material, run) == outcome.fingerprint_after != outcome.fingerprint_before
    versions = list_versions(run)
    assert [(one.version, one.parent, one.author) for one in versions.versions] == [
        (1, None, "learn"),
        (2, 1, "consolidate"),
    ]
    assert [(one.kind, one.verdict) for one in versions.decisions] == [("consolidation", "accepted")]
    assert verify_run(run).is_valid
    assert not (run / "consolidation").exists()


def test_learning_goes_on_and_folds_again(tmp_path: Path, material: Path, tuned: Path) -> None:
    learn(material, "more.jsonl", tuned)
    assert accuracy(material, tuned) > 0.95
    copy = without_checkpoints(tuned, tmp_path / "copy")
    learn(material, "more.jsonl", copy)
    assert fingerprint(material, copy) == fingerprint(material, tuned)
    said, again = (predict_texts(one, ["w1 w2 left0 w3 w4 right0 w5 w6"])[0] for one in (tuned, copy))
    assert said.top == again.top
    assert said.top[0][0] == "same"
    assert verify_run(tuned).is_valid


def test_back_behind_it_and_on_from_there(tmp_path: Path, material: Path, tuned: Path) -> None:
    learn(material, "more.jsonl", tuned)
    rollback_run(tuned, 1)
    assert fingerprint(material, tuned) == fingerprint(material, material / "learned")
    assert verify_run(tuned).is_valid
    # It goes on as if there had been no consolidation: with the trunk as it came.
    write_texts(tmp_path / "other.jsonl", 100, start=30_000)
    learn(tmp_path, "other.jsonl", tuned, **{"model.name": str(material / "encoder")})
    plain = Path(shutil.copytree(material / "learned", tmp_path / "plain"))
    learn(tmp_path, "other.jsonl", plain, **{"model.name": str(material / "encoder")})
    assert fingerprint(material, tuned) == fingerprint(material, plain)
    copy = without_checkpoints(tuned, tmp_path / "copy")
    learn(tmp_path, "other.jsonl", copy, **{"model.name": str(material / "encoder")})
    assert fingerprint(material, copy) == fingerprint(material, tuned)
    # The tuned state is gone with its steps, and its codes are of no use any more.
    assert compact_run(tuned).num_codes_dropped == NUM_TEXTS
    assert compact_run(tuned).num_codes_dropped == 0
    # A second consolidation is the next generation.
    outcome = consolidate_run(tuned, CONFIG)
    assert (outcome.is_adopted, outcome.generation) == (True, 2)
    assert accuracy(material, tuned) > 0.95
    assert verify_run(tuned).is_valid


def test_back_at_once(material: Path, tuned: Path) -> None:
    rollback_run(tuned, 1)
    assert accuracy(material, tuned) < 0.65
    assert verify_run(tuned).is_valid
    with pytest.raises(RunError, match="set aside; those that can be served are: 1"):
        rollback_run(tuned, 2)


def test_serving_an_old_version_while_the_new_one_learns(material: Path, tuned: Path) -> None:
    rollback_run(tuned, 1, keep_learned=True)
    assert fingerprint(material, tuned) == fingerprint(material, material / "learned")
    learn(material, "more.jsonl", tuned)
    assert fingerprint(material, tuned) == fingerprint(material, material / "learned")
    rollback_run(tuned, None)
    assert accuracy(material, tuned) > 0.95


def test_no_better_trunk_is_not_adopted(material: Path, run: Path) -> None:
    before = fingerprint(material, run)
    outcome = consolidate_run(run, ConsolidationConfig(epochs=1, learning_rate=1e-9))
    assert not outcome.is_adopted
    assert outcome.reason
    assert (outcome.generation, outcome.version) == (0, None)
    assert fingerprint(material, run) == before == outcome.fingerprint_after
    with RunFolder.open_to_read(run) as folder:
        assert folder.generations.last_offset(1) == 0
        assert [one.verdict for one in folder.history.decisions()] == ["rejected"]
    assert not list(run.glob("trunks/*"))
    assert verify_run(run).is_valid


def test_stopped_and_resumed_it_comes_to_the_same(
    material: Path, run: Path, adopted: tuple[Path, ConsolidateOutcome]
) -> None:
    stop = StopFlag()

    def stop_after_two(report: EpochReport) -> None:
        stop.requested = report.epoch == 2

    with pytest.raises(TuningStoppedError):
        consolidate_run(run, CONFIG, stop=stop, on_epoch=stop_after_two)
    assert fingerprint(material, run) == fingerprint(material, material / "learned")
    told: list[int] = []
    outcome = consolidate_run(run, CONFIG, on_epoch=lambda report: told.append(report.epoch))
    assert told == list(range(7))
    assert outcome.fingerprint_after == adopted[1].fingerprint_after


@pytest.mark.parametrize("written", [0, 1])
def test_a_crash_while_encoding(
    material: Path,
    run: Path,
    adopted: tuple[Path, ConsolidateOutcome],
    monkeypatch: pytest.MonkeyPatch,
    written: int,
) -> None:
    monkeypatch.setattr("everlearn.runtime.consolidation.consolidate._ENCODED_AT_ONCE", 256)
    write, calls = Generations.write_codes, []

    def crash(self: Generations, generation: int, codes: Sequence[tuple[int, np.ndarray]]) -> None:
        calls.append(len(codes))
        if len(calls) > written:
            raise KeyboardInterrupt
        write(self, generation, codes)

    monkeypatch.setattr(Generations, "write_codes", crash)
    with pytest.raises(KeyboardInterrupt):
        consolidate_run(run, CONFIG)
    assert fingerprint(material, run) == fingerprint(material, material / "learned")
    assert verify_run(run).is_valid
    calls.clear()

    def count(self: Generations, generation: int, codes: Sequence[tuple[int, np.ndarray]]) -> None:
        calls.append(len(codes))
        write(self, generation, codes)

    monkeypatch.setattr(Generations, "write_codes", count)
    outcome = consolidate_run(run, CONFIG)
    assert sum(calls) == NUM_TEXTS - 256 * written
    assert outcome.fingerprint_after == adopted[1].fingerprint_after


def test_a_crash_before_the_switch_leaves_no_trace(
    material: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(
            "everlearn.runtime.consolidation.consolidate.add_version",
            lambda *_, **__: (_ for _ in ()).throw(MemoryError),
        )
        with pytest.raises(MemoryError):
            consolidate_run(run, CONFIG)
    assert fingerprint(material, run) == fingerprint(material, material / "learned")
    learn(material, "more.jsonl", run)
    assert not list((run / "trunks").iterdir())
    assert verify_run(run).is_valid


def test_deletion_after_it(material: Path, tuned: Path, tmp_path: Path) -> None:
    learn(material, "more.jsonl", tuned)
    chosen = ["message-3", "message-77", "message-10005"]
    outcome = forget_in_run(tuned, ids=chosen)
    assert outcome.exact
    assert any("2 of them were there when the trunk was tuned" in note for note in outcome.notes)
    assert outcome.certificate is not None
    found = verify_run(tuned, certificate=outcome.certificate, ids=chosen)
    assert found.is_valid
    assert any(text.startswith("the trunk, which was tuned") for text in found.unchecked)
    with sqlite3.connect(tuned / "journal.sqlite") as database:
        assert database.execute("SELECT COUNT(*) FROM tuned_codes").fetchone()[0] == NUM_TEXTS - 2
    # The version from before the consolidation is rewritten with its own codes, and equals a plain deletion.
    rollback_run(tuned, 1)
    plain = Path(shutil.copytree(material / "learned", tmp_path / "plain"))
    forget_in_run(plain, ids=chosen[:2])
    assert fingerprint(material, tuned) == fingerprint(material, plain)


def test_tuned_again_without_what_was_deleted(material: Path, tuned: Path) -> None:
    forget_in_run(tuned, ids=["message-3"])
    outcome = consolidate_run(tuned, CONFIG.replace(epochs=10, patience=10), from_scratch=True)
    assert (outcome.is_adopted, outcome.generation) == (True, 2), outcome.reason
    assert accuracy(material, tuned) > 0.95
    assert verify_run(tuned).is_valid
    # Back behind the first, and to the first: each with its own codes.
    rollback_run(tuned, 2, keep_learned=True)
    assert accuracy(material, tuned) > 0.95
    rollback_run(tuned, 1)
    assert accuracy(material, tuned) < 0.65
    assert verify_run(tuned).is_valid


def test_deletion_while_it_is_tuned(material: Path, run: Path) -> None:
    deleted: list[int] = []

    def delete(report: EpochReport) -> None:
        if report.epoch == 1:
            deleted.append(forget_in_run(run, ids=["message-5"]).num_forgotten)

    with pytest.raises(RunError, match="deleted or set aside while its trunk was tuned"):
        consolidate_run(run, QUICK, on_epoch=delete)
    assert deleted == [1]
    assert not (run / "consolidation").exists()
    assert verify_run(run).is_valid


def test_learning_beside_the_tuning(material: Path, run: Path) -> None:
    def learn_more(report: EpochReport) -> None:
        if report.epoch == 1:
            learn(material, "more.jsonl", run)

    outcome = consolidate_run(run, CONFIG, on_epoch=learn_more)
    assert outcome.is_adopted
    with RunFolder.open_to_read(run) as folder:
        assert sum(1 for _ in held_examples(folder.journal)) == NUM_TEXTS + 300
        assert all(one.code is not None for _, one in held_examples(folder.journal))
    assert accuracy(material, run) > 0.95
    assert verify_run(run).is_valid


def test_the_guard_has_a_say(material: Path, tmp_path: Path) -> None:
    run = tmp_path / "guarded"
    guarded = {"guard.enabled": True, "guard.share": 0.2, "guard.every": 300}
    learn(material, "train.jsonl", run, **guarded)
    outcome = consolidate_run(run, CONFIG.replace(epochs=10, patience=10))
    assert outcome.is_adopted
    assert outcome.numbers["recent"]["examples"] > 50
    assert outcome.numbers["recent"]["candidate_accuracy"] > outcome.numbers["recent"]["live_accuracy"]
    with RunFolder.open_to_read(run) as folder:
        assert folder.serving == outcome.version
    assert accuracy(material, run) > 0.95
    # The guard's next candidate is compared with the consolidated version.
    learn(material, "more.jsonl", run)
    with RunFolder.open_to_read(run) as folder:
        later = [one for one in folder.history.decisions() if one.kind == "guard"][-1]
    assert later.step > 1
    assert later.numbers["recent"]["live_accuracy"] > 0.9


# peft 0.21 asks transformers 5 by a deprecated name.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
def test_the_adapter_is_one_of_peft(material: Path, adopted: tuple[Path, ConsolidateOutcome]) -> None:
    from peft import PeftModel

    folder = adopted[0] / "trunks" / "generation-0001"
    spec = str(material / "encoder")
    ours = load_adapted_trunk(spec, folder, dtype="float32", device="cpu")
    base = load_trunk(spec, dtype="float32", device="cpu")
    theirs: Any = PeftModel.from_pretrained(base.model, folder)
    inputs = base.tokenizer(["w1 left0 w2 w3 right1", "w5"], return_tensors="pt", padding=True)
    with torch.inference_mode():
        expected, found = (model(**inputs).last_hidden_state for model in (theirs, ours.model))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert ours.sha256 != base.sha256


def test_codes_of_the_old_trunk_are_refused(material: Path, tuned: Path, tmp_path: Path) -> None:
    export_journal(material / "learned", tmp_path / "old.parquet")
    for action in (
        lambda: evaluate_run(tuned, [str(tmp_path / "old.parquet")]),
        lambda: learn(tmp_path, "old.parquet", tuned, **{"model.name": str(material / "encoder")}),
    ):
        with pytest.raises(RunError, match="codes of another model"):
            action()
    export_journal(tuned, tmp_path / "new.parquet")
    assert evaluate_run(tuned, [str(tmp_path / "new.parquet")])["examples"] == NUM_TEXTS


def test_lost_codes_are_told(tuned: Path, material: Path) -> None:
    damage(tuned, "UPDATE tuned_codes SET crc = crc + 1 WHERE number & 1023 = 17")
    repaired = repair_run(tuned)
    assert repaired.tables["tuned_codes"].num_lost == 1
    assert repaired.lost_steps == [1]
    assert accuracy(material, tuned) > 0.95
    assert not verify_run(tuned).is_valid


def test_runs_that_cannot_be_consolidated(material: Path, run: Path, tmp_path: Path) -> None:
    learn(material, "train.jsonl", tmp_path / "bare", **{"run.keep_text": False})
    with pytest.raises(RunError, match="keeps no text of 600 examples"):
        consolidate_run(tmp_path / "bare", QUICK)
    gradient = {"learner.kind": "gradient", "learner.gradient.trainable": "head"}
    plain = {name: value for name, value in SETTINGS.items() if not name.startswith("learner.")}
    learn_stream(
        LearnRequest(
            stream=str(material / "train.jsonl"),
            out=tmp_path / "gradient",
            settings={**plain, **gradient, "model.name": str(material / "encoder")},
        )
    )
    with pytest.raises(RunError, match="tunes its trunk as it learns"):
        consolidate_run(tmp_path / "gradient", QUICK)
    learn(material, "more.jsonl", tmp_path / "few", **{"learner.closed_form.sample_size": 200})
    with pytest.raises(RunError, match="needs 400 of two or more"):
        consolidate_run(tmp_path / "few", QUICK)
    assert not (tmp_path / "few" / "consolidation").exists()
    with pytest.raises(RunError, match="not a run folder"):
        consolidate_run(material / "encoder", QUICK)


def test_consolidated_runs_are_not_merged(
    material: Path, adopted: tuple[Path, ConsolidateOutcome], tmp_path: Path
) -> None:
    learn(material, "more.jsonl", tmp_path / "other")
    with pytest.raises(RunError, match="trunk of its own"):
        merge_runs([adopted[0], tmp_path / "other"], tmp_path / "merged")


def test_steps_taken_back_to_before_it_are_read_again_with_the_old_trunk(material: Path, tuned: Path) -> None:
    damage(tuned, "UPDATE codes SET crc = crc + 1 WHERE offset = 300")
    for file in (tuned / "checkpoints").iterdir():
        file.unlink()
    repaired = repair_run(tuned)
    assert (repaired.last_step, repaired.lost_steps) == (1, [])
    with RunFolder.open_to_read(tuned) as folder:
        assert folder.journal.generation == 0
    assert learn(material, "train.jsonl", tuned) == fingerprint(material, material / "learned")
    assert verify_run(tuned).is_valid


def test_stopped_while_encoding(material: Path, run: Path, adopted: tuple[Path, ConsolidateOutcome]) -> None:
    stop = StopFlag()

    class Impatient(SilentListener):
        def stage(self, text: str) -> None:
            stop.requested = text.startswith("encoding")

    with pytest.raises(TuningStoppedError, match="goes on from there"):
        consolidate_run(run, CONFIG, stop=stop, listener=Impatient())
    assert fingerprint(material, run) == fingerprint(material, material / "learned")
    assert consolidate_run(run, CONFIG).fingerprint_after == adopted[1].fingerprint_after


def test_an_encoder_whose_layers_share_weights_is_not_tuned(material: Path, tmp_path: Path) -> None:
    """What is tuned could not be merged: it is told before anything is."""
    tie_model(TieRequest(model=str(material / "encoder"), out=tmp_path / "tied", unique=1))
    learn(material, "train.jsonl", tmp_path / "run", **{"model.name": str(tmp_path / "tied")})
    with pytest.raises(RunError, match="share weights"):
        consolidate_run(tmp_path / "run", QUICK)


def test_a_consolidated_tenant_of_a_hub_reads_by_the_encoder_that_all_share(
    tmp_path: Path, material: Path, tuned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    texts = ["w1 w2 left0 w3 w4 right0 w5 w6", "w1 w2 left1 w3 w4 right0 w5 w6"]
    settings = {name: value for name, value in SETTINGS.items() if name != "run.threads"}
    with Hub.open(tmp_path / "hub", {**settings, "model.name": str(material / "encoder")}) as hub:
        for name, run in (("tuned", tuned), ("plain", material / "learned")):
            hub.add(name)
            shutil.copytree(run, hub.run_folder(name))
        said = hub.predict([(name, text) for name in ("tuned", "plain") for text in texts])
        assert [one.label for one in said[:2]] == ["same", "different"]
        assert len(hub.models._trunks) == 1
        (held,) = hub.models._banks.values()
        assert len(held.bank) == 1
    for name, run in (("tuned", tuned), ("plain", material / "learned")):
        for text, answer in zip(
            predict_texts(run, texts), said[:2] if name == "tuned" else said[2:], strict=True
        ):
            assert answer.label == text.top[0][0]
            assert float(answer.probabilities.max()) == pytest.approx(text.top[0][1], abs=0.02)


def test_a_given_adapter_is_where_tuning_starts(tmp_path: Path, material: Path, tuned: Path) -> None:
    # What one run was tuned to is given to another: also from scratch it is from there.
    given, own = tmp_path / "given", tmp_path / "own"
    shutil.copytree(tuned / "trunks" / "generation-0001", given)
    learn(material, "train.jsonl", own, **{"model.adapter": str(given)})
    shutil.rmtree(given)
    assert accuracy(material, own) > 0.95
    before = []
    for rank, from_scratch in ((CONFIG.rank + 2, False), (CONFIG.rank + 2, True), (1, True)):
        quick = CONFIG.replace(epochs=1, rank=rank, learning_rate=1e-6)
        before.append(consolidate_run(own, quick, from_scratch=from_scratch).epochs[0].exam_loss)
        assert accuracy(material, own) > 0.95
    # It does not fit into an adapter of rank 1, which starts from the bare encoder.
    assert before[0] == before[1] != before[2]
