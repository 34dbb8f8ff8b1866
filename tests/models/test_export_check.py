"""What was written is what was learned: full and adapter, judged by other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

from everlearn.errors import ModelError
from everlearn.models.storage.saving import save_model

from .tiny_models import byte_level_tokenizer, tiny_llama

TOKENIZER = byte_level_tokenizer()
IDS = torch.tensor([[0, 7, 30, 200, 399, 5, 1]])
auto_model: Any = AutoModelForCausalLM
auto_seq2seq: Any = AutoModelForSeq2SeqLM


def _logits(model: Any) -> torch.Tensor:
    more = {"decoder_input_ids": IDS[:, :4]} if model.config.is_encoder_decoder else {}
    with torch.inference_mode():
        found: torch.Tensor = model.eval()(input_ids=IDS, **more).logits.float()
    return found


def _injected(model: Any, **settings: Any) -> Any:
    from peft import inject_adapter_in_model

    inject_adapter_in_model(_lora(**settings), model)
    return model


def _lora(**settings: Any) -> Any:
    from peft import LoraConfig

    return LoraConfig(r=4, lora_alpha=16, **settings)


def _train(model: Any, scale: float = 0.05) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += scale * torch.randn(parameter.shape, generator=generator)


def _llama_base(folder: Path, **settings: Any) -> Any:
    tiny_llama(**settings).save_pretrained(folder)
    return auto_model.from_pretrained(folder)


def _mixtral(folder: Path) -> Any:
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 16}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 4}
    MixtralForCausalLM(MixtralConfig(vocab_size=400, **sizes)).save_pretrained(folder)
    return auto_model.from_pretrained(folder)


def _head_tied_to_the_decoder(folder: Path) -> Any:
    from transformers import T5GemmaConfig, T5GemmaForConditionalGeneration

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"vocab_size": 400, "hidden_size": 32, "intermediate_size": 32}
    sizes |= {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
    sizes |= {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    config = T5GemmaConfig(encoder=dict(sizes), decoder=dict(sizes), vocab_size=400)
    model: Any = T5GemmaForConditionalGeneration(config)
    model.save_pretrained(folder)
    return auto_seq2seq.from_pretrained(folder)


@pytest.mark.parametrize(
    "parameters",
    [
        ["experts.gate_up_proj", "experts.down_proj"],
        ["experts.down_proj"],
        ["experts.down_proj", "gate.weight"],
    ],
)
def test_adapters_of_fused_experts(tmp_path: Path, parameters: list[str]) -> None:
    model = _injected(_mixtral(tmp_path / "base"), target_modules=["q_proj"], target_parameters=parameters)
    _train(model)
    difference = save_model(tmp_path / "full", model, TOKENIZER)
    merged = auto_model.from_pretrained(tmp_path / "full")
    torch.testing.assert_close(_logits(merged), _logits(model), rtol=0, atol=1e-5)
    assert not torch.allclose(_logits(merged), _logits(_without_adapters(model)), atol=1e-2)
    assert difference is not None
    assert difference < 1e-5
    assert save_model(tmp_path / "adapter", model, TOKENIZER, form="adapter") == 0.0


def _without_adapters(model: Any) -> Any:
    return auto_model.from_pretrained(model.name_or_path)


@pytest.mark.parametrize("trained", ["all", "lora"])
def test_a_head_that_is_tied_to_the_decoder(tmp_path: Path, trained: str) -> None:
    model = _head_tied_to_the_decoder(tmp_path / "base")
    if trained == "lora":
        _injected(model, target_modules=["q_proj"])
    _train(model)
    sides = (model.model.encoder.embed_tokens.weight, model.model.decoder.embed_tokens.weight)
    assert not torch.equal(*sides)
    save_model(tmp_path / "full", model, TOKENIZER)
    again = auto_seq2seq.from_pretrained(tmp_path / "full")
    torch.testing.assert_close(_logits(again), _logits(model), rtol=0, atol=1e-5)
    assert again.lm_head.out_proj.weight is again.model.decoder.embed_tokens.weight


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_merge_is_rounded_once_and_last(tmp_path: Path, dtype: Any) -> None:
    _llama_base(tmp_path / "base")
    model = _injected(
        auto_model.from_pretrained(tmp_path / "base", dtype=torch.bfloat16), target_modules="all-linear"
    )
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()
    _train(model, 0.002)
    difference = save_model(tmp_path / "full", model, TOKENIZER, dtype=dtype)
    written = load_file(tmp_path / "full" / "model.safetensors")
    for layer in (0, 1):
        name = f"model.layers.{layer}.self_attn.q_proj"
        adapted = model.get_submodule(name)
        update = adapted.lora_B["default"].weight @ adapted.lora_A["default"].weight
        exact = adapted.base_layer.weight.double() + 4.0 * update.double()
        # As near as the number format has them, but for those that lie between two numbers of it.
        step = 1.01 * torch.finfo(getattr(torch, dtype)).eps / 2
        assert ((written[f"{name}.weight"].double() - exact).abs() <= step * exact.abs() + 1e-7).all()
    assert difference is not None
    assert (difference < 1e-5) == (dtype == "float32")


def test_an_export_that_says_something_else_leaves_nothing(tmp_path: Path) -> None:
    model = _injected(_llama_base(tmp_path / "base"), target_modules=["q_proj"])
    _train(model)
    save_model(tmp_path / "saved", model, TOKENIZER)
    before = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    # What a model does beside its weights is in no file.
    hook = model.model.layers[1].mlp.register_forward_hook(lambda _module, _inputs, output: 1.5 * output)
    for form, dtype in (("full", None), ("full", "bfloat16"), ("adapter", None)):
        with pytest.raises(ModelError, match=r"logits differ by up to .*, first behind model.layers.1.mlp$"):
            save_model(tmp_path / "other", model, TOKENIZER, form=form, dtype=dtype)  # type: ignore[arg-type]
        with pytest.raises(ModelError, match="another than the run's"):
            save_model(tmp_path / "saved", model, TOKENIZER, form=form, dtype=dtype, overwrite=True)  # type: ignore[arg-type]
    assert {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "saved"]
    hook.remove()
    save_model(tmp_path / "other", model, TOKENIZER)


def test_an_adapter_of_another_base_is_told(tmp_path: Path) -> None:
    model = _injected(_llama_base(tmp_path / "base"), target_modules=["q_proj"])
    weights = load_file(tmp_path / "base" / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"] *= 2.0
    save_file(weights, tmp_path / "base" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"first behind model.layers.0.mlp.up_proj$"):
        save_model(tmp_path / "adapter", model, TOKENIZER, form="adapter")
    del weights["lm_head.weight"]
    save_file(weights, tmp_path / "base" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 parts, first lm_head.weight"):
        save_model(tmp_path / "adapter", model, TOKENIZER, form="adapter")
    assert [path.name for path in tmp_path.iterdir()] == ["base"]
