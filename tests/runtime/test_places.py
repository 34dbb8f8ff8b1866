"""Models and files are found by where they are, not by where somebody stood."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from everlearn.errors import ModelError, RunError
from everlearn.runtime.commands.evaluate import evaluate_run
from everlearn.runtime.commands.export import export_run
from everlearn.runtime.commands.generate import GenerateRequest, generate_text
from everlearn.runtime.run import Run
from everlearn.settings import RunConfig

from .text_runs import corpus, language_settings, learn, write_jsonl, write_language_model
from .word_pairs import write_encoder


def test_a_model_given_by_a_relative_path_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, run = write_language_model(tmp_path / "models" / "tiny"), tmp_path / "run"
    text = corpus(tmp_path / "corpus.txt", 3)
    monkeypatch.chdir(tmp_path)
    settings = language_settings(Path("models/tiny"), learner__gradient__trainable="lora")
    first = learn(text, run, settings)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert generate_text(run, GenerateRequest(prompt="the", max_new_tokens=2)) is not None
    export_run(run, tmp_path / "adapter", "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert Path(config["base_model_name_or_path"]) == model
    # Said as it is seen from here, it is the same model, and the run goes on.
    again = learn(text, run, settings | {"model.name": os.path.relpath(model)})
    assert RunConfig.from_mapping(json.loads((run / "run.json").read_text())["config"]).model.name == str(
        model
    )
    assert again.summary["fingerprint"] == first.summary["fingerprint"]


def test_another_model_takes_no_place_while_nothing_is_left_to_read(tmp_path: Path) -> None:
    """Nothing would have loaded it, and every later command would have failed."""
    run, encoder = tmp_path / "run", write_encoder(tmp_path / "encoder")
    records = [{"id": f"m{k}", "text": f"w{k % 3} w1", "label": "ab"[k % 2]} for k in range(12)]
    stream = write_jsonl(tmp_path / "stream.jsonl", records)
    small = {"learner.closed_form.num_features": 64, "run.threads": 1}
    learn(stream, run, {**small, "model.name": str(encoder)})
    before = (run / "run.json").read_bytes()
    other = write_encoder(tmp_path / "other")
    weights = {name: 2 * tensor for name, tensor in load_file(other / "model.safetensors").items()}
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    for name, error in (("nosuch", ModelError), (str(other), RunError)):
        with pytest.raises(error):
            learn(stream, run, {"model.name": name})
        with pytest.raises(error):
            Run.open(run, {"model.name": name})
        assert (run / "run.json").read_bytes() == before
    with Run.open(run) as again:
        assert again.predict(["w1 w1"])[0].label in ("a", "b")
    # The same one at another place takes it.
    moved = encoder.rename(tmp_path / "moved")
    learn(stream, run, {"model.name": str(moved)})
    assert json.loads((run / "run.json").read_text())["config"]["model"]["name"] == str(moved)


def test_files_of_one_name_are_domains_of_their_own(tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = language_settings(write_language_model(tmp_path / "tiny"))
    learn(corpus(tmp_path / "corpus.txt", 3), run, settings)
    files = []
    for seed, name in enumerate(("law/a/test.txt", "law/b/test.txt", "prose/test.txt", "prose/other.txt")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        files.append(str(corpus(tmp_path / name, 2, seed=seed)))
    found = evaluate_run(run, files)
    assert set(found["domains"]) == {"a/test", "b/test", "prose/test", "other"}
    assert found["bytes"] == sum(one["bytes"] for one in found["domains"].values())
    assert set(evaluate_run(run, [files[0], files[3]])["domains"]) == {"test", "other"}
