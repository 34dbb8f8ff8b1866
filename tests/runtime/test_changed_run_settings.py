"""What nothing of the learned depends on can be changed while a run goes on; a learning rate from then on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.runtime.text_runs import (
    Crash,
    corpus,
    crash_at_step,
    language_settings,
    learn,
    write_language_model,
)
from torch import nn

from everlearn.errors import ConfigError, RunError
from everlearn.learning.gradient import GradientConfig, GradientLearner
from everlearn.runtime.deletion.forget import forget_in_run
from everlearn.runtime.fold.fold import Fold
from everlearn.runtime.folder.run_folder import RunFolder
from everlearn.runtime.history.verify import verify_run
from everlearn.types import Example

RATE = "learner.gradient.learning_rate"


def _linear(**settings: Any) -> GradientLearner:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Linear(4, 3)
    return GradientLearner.for_vectors(
        network, 3, GradientConfig(optimizer="momentum", warmup_steps=3, **settings)
    )


def _batch(seed: int) -> list[Example]:
    vectors = np.random.default_rng(seed).normal(size=(6, 4))
    return [Example(id=f"{seed}-{k}", target="abc"[k % 3], vector=one) for k, one in enumerate(vectors)]


def _weights(learner: GradientLearner) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in learner.state().tensors.items() if name.startswith("weights")}


def test_a_changed_rate_is_the_rate_of_the_steps_after_it() -> None:
    changed = _linear(learning_rate=1e-3, head_learning_rate=1e-2)
    changed.rates.change({"learning_rate": 0.05, "head_learning_rate": 0.2})
    made_so = _linear(learning_rate=0.05, head_learning_rate=0.2)
    for seed in range(5):
        assert changed.learn(_batch(seed)).loss == made_so.learn(_batch(seed)).loss
    assert all(torch.equal(one, _weights(made_so)[name]) for name, one in _weights(changed).items())
    # It is part of the state, and a state from before goes back to what was before.
    first, again = (_linear(learning_rate=1e-3, head_learning_rate=1e-2) for _ in range(2))
    before = first.state()
    assert "learning_rates" not in before.data
    again.restore(changed.state())
    assert (again.rates["learning_rate"], again.rates["head_learning_rate"]) == (0.05, 0.2)
    assert again.learn(_batch(9)).loss == changed.learn(_batch(9)).loss
    assert again.fingerprint() == changed.fingerprint()
    again.restore(before)
    assert again.fingerprint() == first.fingerprint()
    assert again.rates["learning_rate"] == 1e-3


def test_a_rate_changed_in_a_run_is_folded_again_from_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_language_model(tmp_path / "model")
    first, second = corpus(tmp_path / "a.txt", 2), corpus(tmp_path / "b.txt", 4, seed=1)
    settings = language_settings(model)
    run, crashed = tmp_path / "run", tmp_path / "crashed"
    for one in (run, crashed):
        learn(first, one, settings)
    changed = learn(second, run, {RATE: 1e-3}).summary["fingerprint"]
    assert verify_run(run).is_valid
    with RunFolder.open_to_read(run) as folder:
        assert folder.config.learner.gradient.learning_rate == 1e-3
        facts = [fact for one in folder.journal.steps_after(0) if (fact := one.after.learning_rates)]
        last = folder.journal.last_step
    assert facts == [{"learning_rate": 1e-3}]
    with monkeypatch.context() as patch:
        patch.setattr(Fold, "make", crash_at_step(last - 1))
        with pytest.raises(Crash):
            learn(second, crashed, {RATE: 1e-3})
    # The change is a fact of the journal by now: it need not be given again.
    assert learn(second, crashed).summary["fingerprint"] == changed
    forget_in_run(run, ids=["a:2"])
    assert verify_run(run).is_valid


def test_a_model_that_was_moved_is_known_by_its_weights(tmp_path: Path) -> None:
    model, other = write_language_model(tmp_path / "model"), write_language_model(tmp_path / "other", seed=5)
    first, second = corpus(tmp_path / "a.txt", 2), corpus(tmp_path / "b.txt", 2, seed=1)
    run, stays = tmp_path / "run", tmp_path / "stays"
    for one in (run, stays):
        learn(first, one, language_settings(model))
    expected = learn(second, stays).summary["fingerprint"]
    moved = tmp_path / "elsewhere" / "model"
    shutil.copytree(model, moved)
    shutil.rmtree(model)
    with pytest.raises(RunError, match="the run began with another model"):
        learn(second, run, {"model.name": str(other)})
    free = {"model.name": str(moved), "model.device": "cpu"}
    assert learn(second, run, free).summary["fingerprint"] == expected
    assert verify_run(run).is_valid  # with the place that the run now has
    with pytest.raises(ConfigError, match=r"learner\.gradient\.optimizer is .* in the run"):
        learn(second, run, {"learner.gradient.optimizer": "sgd"})
