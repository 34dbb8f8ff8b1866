from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM

from everlearn.errors import ModelError
from everlearn.models.added_rows import AddedRows
from everlearn.models.vocabulary import grow
from everlearn.models.vocabulary.alignment import align_rows

from .tiny_models import byte_level_tokenizer, tiny_llama
from .wordpiece_models import tiny_bert


def grown(tied: bool, **settings: Any) -> tuple[Any, Any]:
    tokenizer = byte_level_tokenizer()
    model = tiny_llama(tie_word_embeddings=tied, **settings)
    return model, grow(model, tokenizer, ["春花", " zebrafish"])


def train(model: Any, ids_BL: torch.Tensor, parameters: list[Any], steps: int = 4) -> float:
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.1)
    for _ in range(steps):
        loss = functional.cross_entropy(model(ids_BL).logits[:, :-1].flatten(0, 1), ids_BL[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return float(loss.detach())


@pytest.mark.parametrize("tied", [True, False])
def test_only_new_rows_move(tied: bool, tmp_path: Path) -> None:
    model, growth = grown(tied)
    weights = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    before = [weight.detach().clone() for weight in weights]
    ids = torch.tensor([growth.tokenizer.encode("春花 the zebrafish")])
    logits = model(ids).logits.detach()
    model.requires_grad_(False)

    rows = AddedRows(model, growth.first_row)
    assert torch.equal(model(ids).logits, logits)
    assert len(rows.parameters) == (1 if tied else 2)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert {id(parameter) for parameter in trained} == {id(parameter) for parameter in rows.parameters}
    first = train(model, ids, trained, 1)
    assert train(model, ids, trained) < first
    split_logits = model(ids).logits.detach()
    weight = model.get_output_embeddings().weight
    assert weight.shape == before[0].shape
    torch.testing.assert_close(functional.linear(torch.eye(32), weight).T, weight)

    rows.merge()
    assert model.get_input_embeddings().weight is weights[0]
    assert model.get_output_embeddings().weight is weights[1]
    for old, new in zip(before, weights, strict=True):
        assert torch.equal(new[: growth.first_row], old[: growth.first_row])
        assert not torch.equal(new[growth.first_row :], old[growth.first_row :])
    torch.testing.assert_close(model(ids).logits, split_logits)
    model.save_pretrained(tmp_path)
    loaded: Any = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(loaded(ids).logits, model(ids).logits)

    # Thawed: an ordinary embedding, of which all rows are trained.
    model.requires_grad_(True)
    train(model, ids, [model.get_input_embeddings().weight], 1)
    assert not torch.equal(weights[0][: growth.first_row], before[0][: growth.first_row])


def test_gradients_are_those_of_the_whole_matrix() -> None:
    model, growth = grown(True)
    ids = torch.tensor([growth.tokenizer.encode("春花 the zebrafish 春花")])

    def gradient_of(parameter: Any) -> torch.Tensor:
        model.zero_grad()
        functional.cross_entropy(model(ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()  # type: ignore[no-untyped-call]
        assert parameter.grad is not None
        return parameter.grad.clone()  # type: ignore[no-any-return]

    whole = gradient_of(model.get_input_embeddings().weight)[growth.first_row :]
    rows = AddedRows(model, growth.first_row)
    torch.testing.assert_close(gradient_of(rows.parameters[0]), whole)


# peft asks the model for a name that transformers is about to drop.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
def test_beside_lora(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model, growth = grown(True)
    torch.manual_seed(0)
    config = peft.LoraConfig(
        r=2, target_modules="all-linear", exclude_modules=["lm_head"], task_type="CAUSAL_LM"
    )
    adapted: Any = peft.get_peft_model(model, config)
    rows = AddedRows(adapted.base_model.model, growth.first_row)
    before = model.get_input_embeddings().old.weight.clone()
    ids = torch.tensor([growth.tokenizer.encode("春花 the zebrafish")])
    train(adapted, ids, [p for p in adapted.parameters() if p.requires_grad])
    assert any(bool(p.any()) for name, p in adapted.named_parameters() if "lora_B" in name)
    logits = adapted(ids).logits.detach()
    rows.merge()
    torch.testing.assert_close(adapted(ids).logits, logits)
    assert torch.equal(model.get_input_embeddings().weight[: growth.first_row], before)
    # The base model with its new rows and the adapter, each in its own format.
    adapted.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    adapted.unload().save_pretrained(tmp_path / "base")
    base: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    loaded: Any = peft.PeftModel.from_pretrained(base, tmp_path / "adapter")
    torch.testing.assert_close(loaded(ids).logits, logits)


def test_reduced_precision() -> None:
    model, growth = grown(True)
    model.bfloat16()
    ids = torch.tensor([growth.tokenizer.encode("春花")])
    logits = model(ids).logits.detach()
    rows = AddedRows(model, growth.first_row)
    assert rows.parameters[0].dtype == torch.float32
    assert torch.equal(model(ids).logits, logits)
    rows.merge()
    assert torch.equal(model(ids).logits, logits)


def test_what_cannot_be_split() -> None:
    model, growth = grown(True)
    with pytest.raises(ModelError, match="no new rows"):
        AddedRows(model, len(growth.tokenizer))
    AddedRows(model, growth.first_row)
    with pytest.raises(ModelError, match="not of SplitEmbedding and SplitHead"):
        AddedRows(model, growth.first_row)


@pytest.mark.parametrize("kind", ["causal", "encoder"])
def test_aligned_rows_stand_for_their_pieces(kind: str) -> None:
    tokenizer = byte_level_tokenizer()
    model: Any
    if kind == "causal":
        model = tiny_llama(len(tokenizer), tie_word_embeddings=True)
    else:
        model = tiny_bert(len(tokenizer), num_layers=3)
    growth = grow(model, tokenizer, ["春花", " zebrafish"])
    before = model.get_input_embeddings().weight.detach().clone()
    model.requires_grad_(False)
    rows = AddedRows(model, growth.first_row)
    texts = [torch.tensor(growth.tokenizer.encode(text)) for text in ("the zebrafish and 春花", "春花 the")]
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    distances = align_rows(model, rows, growth.pieces, texts, num_passes=30)
    assert distances[-1] < 0.7 * distances[0]
    assert [parameter.requires_grad for parameter in model.parameters()] == trainable
    rows.merge()
    weight = model.get_input_embeddings().weight
    assert torch.equal(weight[: growth.first_row], before[: growth.first_row])
    assert not torch.equal(weight[growth.first_row :], before[growth.first_row :])


def test_a_text_of_old_tokens_is_aligned_already() -> None:
    model, growth = grown(True)
    rows = AddedRows(model, growth.first_row)
    before = rows.parameters[0].detach().clone()
    text = torch.tensor(growth.tokenizer.encode("the quick fox"))
    assert align_rows(model, rows, growth.pieces, [text], num_passes=1) == [0.0]
    assert torch.equal(rows.parameters[0], before)
