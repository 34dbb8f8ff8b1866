"""A store of trunks: what comes from it is what was loaded, once a machine; damage is told."""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.families.table import FAMILIES, build
from tests.models.tiny_models import byte_level_tokenizer
from tests.runtime.word_pairs import write_encoder
from transformers import AutoConfig, AutoModel

from everlearn.models import CoderConfig, TextCoder, load_trunk
from everlearn.models.language.causal import load_language_model
from everlearn.models.language.seq2seq import load_seq2seq_model
from everlearn.models.language.small_seq2seq import small_seq2seq
from everlearn.sharing import trunk_store
from everlearn.sharing.trunk_store import TrunkStore

_PLAIN: dict[str, Any] = {
    "vocab_size": 400,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
ENCODERS: dict[str, dict[str, Any]] = {
    "roberta": _PLAIN,
    "electra": {**_PLAIN, "embedding_size": 32},
    "albert": {**_PLAIN, "embedding_size": 16},  # one layer's weights for all
    "mpnet": _PLAIN,
    "deberta-v2": {**_PLAIN, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "modernbert": {**_PLAIN, "bos_token_id": 0, "eos_token_id": 1, "cls_token_id": 0, "sep_token_id": 1},
    "fnet": _PLAIN,
}


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return write_encoder(tmp_path / "encoder")


@pytest.fixture
def store(tmp_path: Path) -> TrunkStore:
    return TrunkStore(tmp_path / "store")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_codes_are_those_of_a_private_copy(encoder: Path, store: TrunkStore, dtype: Any) -> None:
    own, shared = load_trunk(str(encoder), dtype=dtype), store.trunk(str(encoder), dtype=dtype)
    config = CoderConfig(max_length=16, windows=2)
    coders = [TextCoder(trunk, config) for trunk in (own, shared)]
    assert coders[0].fingerprint == coders[1].fingerprint
    texts = ["w1 w2 left0", "w5", "w3 w4 right1 " * 9]
    for one, other in zip(*(coder.encode(texts) for coder in coders), strict=True):
        assert np.array_equal(one.dense, other.dense)
    assert (shared.name, shared.sha256, shared.max_length) == (own.name, own.sha256, own.max_length)
    assert not any(parameter.requires_grad for parameter in shared.model.parameters())


@pytest.mark.parametrize("kind", ENCODERS)
def test_kinds_of_encoders(tmp_path: Path, store: TrunkStore, kind: str) -> None:
    torch.manual_seed(0)
    make: Any = AutoModel.from_config
    make(AutoConfig.for_model(kind, **ENCODERS[kind])).save_pretrained(tmp_path / kind)
    byte_level_tokenizer().save_pretrained(tmp_path / kind)
    ids = torch.arange(2, 22)[None]
    with torch.no_grad():
        own, shared = (
            load(str(tmp_path / kind), dtype="float32").model(input_ids=ids)[0]
            for load in (load_trunk, store.trunk)
        )
    assert torch.equal(own, shared)


@pytest.mark.parametrize(
    "name",
    ["llama", "llama tied, biases", "phi3, LongRoPE", "gemma3", "gpt2", "qwen3_moe", "mamba", "rwkv"],
)
def test_kinds_of_language_models(tmp_path: Path, store: TrunkStore, name: str) -> None:
    build(FAMILIES[name], tmp_path / "model", byte_level_tokenizer())
    own = load_language_model(str(tmp_path / "model"), dtype="float32")
    shared = store.language_model(str(tmp_path / "model"), dtype="float32")
    ids = torch.arange(2, 40)[None]
    with torch.no_grad():
        for _ in range(2):  # one of them changes its weights with the first
            assert torch.equal(own.model(ids).logits, shared.model(ids).logits)
    assert (shared.sha256, shared.max_length) == (own.sha256, own.max_length)
    settings = [model.model.generation_config.to_diff_dict() for model in (own, shared)]
    assert settings[0] == settings[1]
    head, table = shared.model.get_output_embeddings(), shared.model.get_input_embeddings()
    own_head, own_table = own.model.get_output_embeddings(), own.model.get_input_embeddings()
    assert (head.weight is table.weight) == (own_head.weight is own_table.weight)


def test_an_encoder_decoder(tmp_path: Path, store: TrunkStore) -> None:
    made = small_seq2seq(["a b c d e f g", "h i j k"] * 20, vocab_size=300, hidden_size=32, layers=1, heads=2)
    made.model.save_pretrained(tmp_path / "model")
    made.tokenizer.save_pretrained(tmp_path / "model")
    own = load_seq2seq_model(str(tmp_path / "model"), dtype="float32")
    shared = store.seq2seq_model(str(tmp_path / "model"), dtype="float32")
    inputs = own.tokenizer(["a b c"], return_tensors="pt")
    written = [model.model.generate(**inputs, max_new_tokens=5) for model in (own, shared)]
    assert torch.equal(*written)


def test_it_is_made_once(encoder: Path, store: TrunkStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.trunk(str(encoder), dtype="float32")
    monkeypatch.setattr(trunk_store, "load_trunk", None)
    shared = store.trunk(str(encoder), dtype="float32")
    (one,) = store.stored()
    assert one.is_used
    assert one.models == ("encoder (float32)",)
    assert shared.name == "encoder"


def test_another_copy_of_a_model_has_the_same_file(tmp_path: Path, store: TrunkStore) -> None:
    for name in ("one", "other"):
        store.trunk(str(write_encoder(tmp_path / name)), dtype="float32")
    (one,) = store.stored()
    assert one.models == ("one (float32)", "other (float32)")


def test_a_model_that_was_changed_is_made_anew(encoder: Path, store: TrunkStore) -> None:
    before = store.trunk(str(encoder), dtype="float32")
    model: Any = AutoModel.from_pretrained(encoder)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    model.save_pretrained(encoder)
    after = store.trunk(str(encoder), dtype="float32")
    assert before.sha256 != after.sha256
    assert after.sha256 == load_trunk(str(encoder), dtype="float32").sha256
    assert len(store.stored()) == 2


def _attach(encoder: Path, folder: Path, everyone: Any) -> None:
    everyone.wait()
    TrunkStore(folder).trunk(str(encoder), dtype="float32")


def test_processes_that_come_at_once_make_one_file(encoder: Path, store: TrunkStore) -> None:
    context = multiprocessing.get_context("spawn")
    everyone = context.Barrier(3)
    workers = [context.Process(target=_attach, args=(encoder, store.folder, everyone)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    assert len(store.stored()) == 1
    assert sorted(path.suffix for path in store.folder.iterdir()) == [".json", ".weights"]


def test_what_is_not_used_is_removed(encoder: Path, store: TrunkStore) -> None:
    kept = store.trunk(str(encoder), dtype="float32")
    store.trunk(str(encoder), dtype="bfloat16")
    gc.collect()
    (removed,) = store.remove_unused()
    assert removed.models == ("encoder (bfloat16)",)
    (left,) = store.stored()
    assert left.is_used
    del kept
    gc.collect()
    assert len(store.remove_unused()) == 1
    assert not list(store.folder.iterdir())
    assert store.remove_unused() == []


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 5)


def _change(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])


@pytest.mark.parametrize("damage", [_truncate, _change])
def test_what_is_damaged_is_made_anew(
    encoder: Path, store: TrunkStore, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    store.trunk(str(encoder), dtype="float32")
    gc.collect()
    (one,) = store.stored()
    assert store.verify() == []
    one.path.chmod(0o644)
    damage(one.path)
    assert [bad.path for bad in store.verify()] == [one.path]
    shared = store.trunk(str(encoder), dtype="float32")
    assert "changed" in caplog.text
    assert str(one.path) in caplog.text
    assert store.verify() == []
    own = load_trunk(str(encoder), dtype="float32")
    for parameter, other in zip(shared.model.parameters(), own.model.parameters(), strict=True):
        assert torch.equal(parameter, other)


def test_a_file_that_was_only_touched_is_used(encoder: Path, store: TrunkStore) -> None:
    store.trunk(str(encoder), dtype="float32")
    (one,) = store.stored()
    os.utime(one.path)
    store.trunk(str(encoder), dtype="float32")
    assert len(store.stored()) == 1


def test_want_of_room_is_told_and_leaves_nothing(encoder: Path, store: TrunkStore) -> None:
    program = (
        "import sys; from pathlib import Path; from everlearn.sharing.trunk_store import TrunkStore\n"
        "from everlearn.errors import StorageError\n"
        "try: TrunkStore(Path(sys.argv[2])).trunk(sys.argv[1], dtype='float32')\n"
        "except StorageError as error: print(error)"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, str(encoder), str(store.folder)],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    ).stdout
    assert str(store.folder) in told
    assert "as much room as the model" in told
    assert not list(store.folder.iterdir())
