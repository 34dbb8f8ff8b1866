"""A classifier's run with averaged weights and the guard against loss spikes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runtime.text_runs import Crash, crash_at_step, learn, write_jsonl
from tests.runtime.word_pairs import write_encoder

from everlearn.runtime.commands.predict import predict_stream
from everlearn.runtime.fold.fold import Fold
from everlearn.runtime.fold.served_learner import open_learner
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.verify import verify_run
from everlearn.types import Example

LABELS = ("zero", "one")
AVERAGE, GUARD = "learner.gradient.average_decay", "learner.gradient.spike_deviations"


def records(count: int, wrong: range = range(0), start: int = 0) -> list[dict[str, Any]]:
    """The label says which word a text has; in a part of the stream, the other."""
    return [
        {"id": f"{k}", "text": f"w{k % 7} left{k % 2} w{k % 5}", "label": LABELS[(k + (k in wrong)) % 2]}
        for k in range(start, start + count)
    ]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {
        "model.name": str(write_encoder(tmp_path_factory.mktemp("models") / "encoder")),
        "learner.kind": "gradient",
        "learner.gradient.learning_rate": 1e-3,
        "learner.gradient.head_learning_rate": 1e-2,
        "learner.gradient.warmup_steps": 0,
        "stream.batch_size": 8,
        "run.threads": 1,
    }


def test_a_spike_is_left_out_told_and_left_out_again_by_recovery(
    tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = write_jsonl(tmp_path / "all.jsonl", records(400, wrong=range(320, 328)))
    chosen = settings | {GUARD: 4.0, AVERAGE: 0.9}
    expected = learn(stream, tmp_path / "undisturbed", chosen).summary["fingerprint"]
    with RunFolder.open_to_read(tmp_path / "undisturbed") as folder:
        (told,) = [one for one in folder.history.decisions() if one.kind == "skipped-step"]
    assert told.verdict == "skipped"
    assert told.reason is not None
    assert "loss spike" in told.reason
    assert told.numbers["gradient_norm"] > 0
    assert verify_run(tmp_path / "undisturbed").is_valid
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Fold, "make", crash_at_step(told.step + 3))
        with pytest.raises(Crash):
            learn(stream, run, chosen)
    assert learn(stream, run).summary["fingerprint"] == expected
    assert verify_run(run).is_valid
    assert learn(stream, tmp_path / "without", settings).summary["fingerprint"] != expected


def test_what_is_served_is_averaged(tmp_path: Path, settings: dict[str, Any]) -> None:
    stream = write_jsonl(tmp_path / "all.jsonl", records(80))
    plain, averaged = tmp_path / "plain", tmp_path / "averaged"
    learn(stream, plain, settings)
    learn(stream, averaged, settings | {AVERAGE: 0.99})
    probe = write_jsonl(tmp_path / "probe.jsonl", records(6, start=1_000))
    folder, learner = open_learner(averaged)
    folder.close()
    expected = learner.predict([Example(id=one["id"], text=one["text"]) for one in records(6, start=1_000)])
    served = [one.top[0][1] for one in predict_stream(averaged, str(probe))]
    assert served == pytest.approx([float(np.max(one.probabilities)) for one in expected])
    newest = [one.top[0][1] for one in predict_stream(plain, str(probe))]
    assert all(one < other for one, other in zip(served, newest, strict=True))


def test_a_run_without_codes_is_compared_by_words_and_frequency(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    summary = learn(write_jsonl(tmp_path / "all.jsonl", records(64)), tmp_path / "run", settings).summary
    baselines = summary["baselines"]
    assert baselines.keys() == {"examples", "is_whole", "run", "words", "most_frequent"}
    assert baselines["run"] == summary["prequential_accuracy"]
    assert baselines["words"] > 0.8  # a word tells the label, and the first 8 nobody knows
    assert baselines["most_frequent"] == (32 - 4) / 64  # of two that are as frequent, the earlier one
