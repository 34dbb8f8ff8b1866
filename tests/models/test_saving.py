from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from everlearn.errors import ConfigError, ModelError, StorageError
from everlearn.models.added_rows import AddedRows
from everlearn.models.language.causal import load_language_model
from everlearn.models.storage.saving import save_model

from .tiny_models import adapt, byte_level_tokenizer, tiny_llama, tiny_seq2seq

TOKENIZER = byte_level_tokenizer()
IDS = torch.tensor([[0, 7, 30, 200, 399, 5, 1]])
auto_model: Any = AutoModelForCausalLM
auto_seq2seq: Any = AutoModelForSeq2SeqLM
auto_tokenizer: Any = AutoTokenizer


def logits(model: Any) -> torch.Tensor:
    more = {"decoder_input_ids": IDS[:, :4]} if model.config.is_encoder_decoder else {}
    with torch.inference_mode():
        found: torch.Tensor = model.eval()(input_ids=IDS, **more).logits
    return found


def saved_base(path: Path, **settings: Any) -> Any:
    save_model(path, tiny_llama(**settings), TOKENIZER)
    return auto_model.from_pretrained(path)


def config_of(**settings: Any) -> Any:
    from peft import LoraConfig

    return LoraConfig(r=4, lora_alpha=16, **({"target_modules": ["q_proj", "down_proj"]} | settings))


def wrapped(model: Any, **settings: Any) -> Any:
    return adapt(model, config_of(**settings))


def injected(model: Any, **settings: Any) -> Any:
    from peft import inject_adapter_in_model

    inject_adapter_in_model(config_of(**settings), model)
    return model


def train_a_little(model: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_as_it_is(tmp_path: Path, tied: bool) -> None:
    model = tiny_llama(tie_word_embeddings=tied)
    save_model(tmp_path / "saved", model, TOKENIZER)
    again = auto_model.from_pretrained(tmp_path / "saved")
    assert torch.equal(logits(again), logits(model))
    assert (again.lm_head.weight is again.model.embed_tokens.weight) == tied
    tokenizer = auto_tokenizer.from_pretrained(tmp_path / "saved")
    text = "süße 🤗 the <|end|>"
    assert tokenizer(text)["input_ids"] == TOKENIZER(text)["input_ids"]
    assert tokenizer.chat_template == TOKENIZER.chat_template
    assert load_language_model(str(tmp_path / "saved"), dtype="float32").max_length == 128
    assert sorted(path.name for path in tmp_path.iterdir()) == ["saved"]


@pytest.mark.parametrize("kind", ["t5", "marian"])
def test_an_encoder_decoder(tmp_path: Path, kind: str) -> None:
    model = tiny_seq2seq(kind)
    save_model(tmp_path / "saved", model, TOKENIZER)
    assert torch.equal(logits(auto_seq2seq.from_pretrained(tmp_path / "saved")), logits(model))


@pytest.mark.parametrize("make", [wrapped, injected])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_dora": True},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"bias": "all"},
    ],
    ids=["lora", "dora", "head", "embedding", "bias"],
)
def test_adapters(tmp_path: Path, make: Callable[..., Any], settings: dict[str, Any]) -> None:
    from peft import AutoPeftModelForCausalLM, PeftModel

    base = saved_base(tmp_path / "base")
    model = make(base, **settings)
    train_a_little(model)
    expected = logits(model)
    names = list(model.state_dict())

    save_model(tmp_path / "merged", model, TOKENIZER)
    merged = auto_model.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(merged), expected, rtol=1e-5, atol=1e-5)

    save_model(tmp_path / "adapter", model, TOKENIZER, form="adapter")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transformers.PreTrainedModel.is_gradient_checkpointing", False, raising=False)
        read = PeftModel.from_pretrained(auto_model.from_pretrained(tmp_path / "base"), tmp_path / "adapter")
        assert torch.equal(logits(read), expected)
        found = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter")
        assert torch.equal(logits(found), expected)
    size = (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_size
    assert size < (tmp_path / "merged" / "model.safetensors").stat().st_size
    assert auto_tokenizer.from_pretrained(tmp_path / "adapter").chat_template

    # The live model goes on as it was.
    assert list(model.state_dict()) == names
    assert torch.equal(logits(model), expected)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize("target", ["embed_tokens", "lm_head"])
def test_merging_into_one_of_two_tied_weights_unties_them(tmp_path: Path, target: str) -> None:
    model = injected(
        saved_base(tmp_path / "base", tie_word_embeddings=True), target_modules=["q_proj", target]
    )
    train_a_little(model)
    save_model(tmp_path / "merged", model, TOKENIZER)
    merged = auto_model.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(merged), logits(model), rtol=1e-5, atol=1e-5)
    assert not merged.config.tie_word_embeddings


def test_adapters_of_tied_models_leave_them_tied(tmp_path: Path) -> None:
    model = wrapped(saved_base(tmp_path / "base", tie_word_embeddings=True))
    train_a_little(model)
    save_model(tmp_path / "merged", model, TOKENIZER)
    merged = auto_model.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(merged), logits(model), rtol=1e-5, atol=1e-5)
    assert merged.lm_head.weight is merged.model.embed_tokens.weight


def test_embeddings_that_are_trained_beside_an_adapter(tmp_path: Path) -> None:
    from peft import PeftModel

    model = injected(saved_base(tmp_path / "base"))
    model.get_input_embeddings().weight.requires_grad_(True)
    train_a_little(model)
    save_model(tmp_path / "adapter", model, TOKENIZER, form="adapter")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transformers.PreTrainedModel.is_gradient_checkpointing", False, raising=False)
        read = PeftModel.from_pretrained(auto_model.from_pretrained(tmp_path / "base"), tmp_path / "adapter")
    assert torch.equal(logits(read), logits(model))


@pytest.mark.parametrize("kind", ["t5", "marian"])
def test_adapters_of_an_encoder_decoder(tmp_path: Path, kind: str) -> None:
    from peft import PeftModel

    save_model(tmp_path / "base", tiny_seq2seq(kind), TOKENIZER)
    target = "q" if kind == "t5" else "q_proj"
    model = injected(auto_seq2seq.from_pretrained(tmp_path / "base"), target_modules=[target])
    train_a_little(model)
    save_model(tmp_path / "merged", model, TOKENIZER)
    merged = auto_seq2seq.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(merged), logits(model), rtol=1e-5, atol=1e-5)
    save_model(tmp_path / "adapter", model, TOKENIZER, form="adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["task_type"] == "SEQ_2_SEQ_LM"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transformers.PreTrainedModel.is_gradient_checkpointing", False, raising=False)
        read = PeftModel.from_pretrained(
            auto_seq2seq.from_pretrained(tmp_path / "base"), tmp_path / "adapter"
        )
    assert torch.equal(logits(read), logits(model))


def test_several_active_adapters_are_merged_but_not_saved_alone(tmp_path: Path) -> None:
    base = saved_base(tmp_path / "base")
    model = wrapped(base)
    model.add_adapter("second", config_of())
    model.base_model.set_adapter(["default", "second"])
    train_a_little(model)
    save_model(tmp_path / "merged", model, TOKENIZER)
    merged = auto_model.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(merged), logits(model), rtol=1e-5, atol=1e-5)
    with pytest.raises(ModelError, match=r"not \['default', 'second'\]"):
        save_model(tmp_path / "adapter", model, TOKENIZER, form="adapter")
    model.set_adapter("second")
    save_model(tmp_path / "adapter", model, TOKENIZER, form="adapter", base_model="a/name")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["target_modules"]) == (
        "a/name",
        ["down_proj", "q_proj"],
    )


def test_an_adapter_that_is_merged_already(tmp_path: Path) -> None:
    model = wrapped(saved_base(tmp_path / "base"))
    train_a_little(model)
    expected = logits(model)
    model.merge_adapter()
    save_model(tmp_path / "merged", model, TOKENIZER)
    torch.testing.assert_close(
        logits(auto_model.from_pretrained(tmp_path / "merged")), expected, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("tied", [True, False])
def test_rows_of_new_tokens_in_training(tmp_path: Path, tied: bool) -> None:
    model = injected(saved_base(tmp_path / "base", tie_word_embeddings=tied))
    AddedRows(model, first_row=390)
    train_a_little(model)
    save_model(tmp_path / "merged", model, TOKENIZER)
    merged = auto_model.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(merged), logits(model), rtol=1e-5, atol=1e-5)
    assert (merged.lm_head.weight is merged.model.embed_tokens.weight) == tied
    with pytest.raises(ModelError, match="whole model"):
        save_model(tmp_path / "adapter", model, TOKENIZER, form="adapter")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_number_formats(tmp_path: Path, dtype: Any) -> None:
    model = wrapped(saved_base(tmp_path / "base", tie_word_embeddings=True).to(torch.bfloat16))
    train_a_little(model)
    save_model(tmp_path / "saved", model, TOKENIZER, dtype=dtype)
    again = auto_model.from_pretrained(tmp_path / "saved", dtype="auto")
    assert again.dtype == getattr(torch, dtype)
    assert {tensor.dtype for tensor in again.state_dict().values()} == {again.dtype}
    assert again.lm_head.weight is again.model.embed_tokens.weight
    torch.testing.assert_close(logits(again).float(), logits(model).float(), rtol=0, atol=0.03)


def test_a_model_read_from_gguf_can_be_saved(tmp_path: Path) -> None:
    model = tiny_llama()
    model.config.quantization_config = {"quant_method": "gguf"}
    save_model(tmp_path / "saved", model, TOKENIZER)
    assert torch.equal(logits(auto_model.from_pretrained(tmp_path / "saved")), logits(model))


def test_what_is_there_is_kept_unless_it_may_go(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    save_model(folder, tiny_llama(), TOKENIZER)
    before = (folder / "model.safetensors").read_bytes()
    other = tiny_llama(tie_word_embeddings=True)
    with pytest.raises(StorageError, match="is not empty"):
        save_model(folder, other, TOKENIZER)
    assert (folder / "model.safetensors").read_bytes() == before
    save_model(folder, other, TOKENIZER, overwrite=True)
    assert torch.equal(logits(auto_model.from_pretrained(folder)), logits(other))
    assert list(tmp_path.iterdir()) == [folder]


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(path: Path) -> None:
        (path / "tokenizer.json").write_text("{")
        raise OSError(28, "No space left on device")

    tokenizer = byte_level_tokenizer()
    monkeypatch.setattr(tokenizer, "save_pretrained", full_disk)
    with pytest.raises(StorageError, match="No space left on device"):
        save_model(tmp_path / "saved", tiny_llama(), tokenizer)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        save_model(tmp_path / "file" / "below", tiny_llama(), TOKENIZER)


def test_settings_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="form: 'half'"):
        save_model(tmp_path / "saved", tiny_llama(), TOKENIZER, form="half")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="dtype: 'int8'"):
        save_model(tmp_path / "saved", tiny_llama(), TOKENIZER, dtype="int8")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="no adapter"):
        save_model(tmp_path / "saved", tiny_llama(), TOKENIZER, form="adapter")
