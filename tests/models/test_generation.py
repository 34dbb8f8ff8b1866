from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from everlearn.errors import ConfigError, InputError
from everlearn.models.language.causal import load_language_model
from everlearn.models.language.generation import GenerationSettings, _Streamer, generate

from .tiny_models import adapt, byte_fallback_tokenizer, byte_level_tokenizer, tiny_llama, tiny_seq2seq

TOKENIZER = byte_level_tokenizer()


@pytest.fixture(autouse=True)
def _no_log_lines(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    yield
    logger.removeHandler(caplog.handler)
    assert caplog.records == []


def greedy(model: Any, ids: list[int], count: int) -> list[int]:
    """The most probable tokens one by one, without a cache."""
    found: list[int] = []
    for _ in range(count):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids + found])).logits[0, -1]
        found.append(int(logits.argmax()))
        if found[-1] == TOKENIZER.eos_token_id:
            break
    return found


def test_greedy_is_the_most_probable_token_each() -> None:
    model = tiny_llama()
    expected = greedy(model, TOKENIZER("<|start|>the quick")["input_ids"], 12)
    found = generate(model, TOKENIZER, "the quick", GenerationSettings(max_new_tokens=12))
    assert found == TOKENIZER.decode(expected, skip_special_tokens=True)
    assert found


def test_draws_follow_the_seed_alone() -> None:
    model = tiny_llama()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    settings: dict[str, Any] = {"max_new_tokens": 12, "temperature": 1.5}
    first = generate(model, TOKENIZER, "the", GenerationSettings(seed=1, **settings))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert generate(model, TOKENIZER, "the", GenerationSettings(seed=1, **settings)) == first
    assert generate(model, TOKENIZER, "the", GenerationSettings(seed=2, **settings)) != first
    # The least set of tokens is the most probable one.
    assert generate(model, TOKENIZER, "the", GenerationSettings(top_p=1e-9, **settings)) == generate(
        model, TOKENIZER, "the", GenerationSettings(max_new_tokens=12)
    )


def test_what_the_model_says_of_drawing_does_not_matter() -> None:
    model = tiny_llama()
    expected = generate(model, TOKENIZER, "the", GenerationSettings(max_new_tokens=8))
    model.generation_config.update(do_sample=True, temperature=0.6, top_p=0.9, top_k=3, max_new_tokens=2)
    assert generate(model, TOKENIZER, "the", GenerationSettings(max_new_tokens=8)) == expected


@pytest.mark.parametrize("seed", range(4))
def test_pieces_are_the_text(seed: int) -> None:
    # A random model draws bytes of unfinished characters: those come late, not wrong.
    pieces: list[str] = []
    text = generate(
        tiny_llama(),
        TOKENIZER,
        "the",
        GenerationSettings(max_new_tokens=40, temperature=2.0, seed=seed),
        on_text=pieces.append,
    )
    assert "".join(pieces) == text
    assert len(pieces) > 3


@pytest.mark.parametrize("tokenizer", [TOKENIZER, byte_fallback_tokenizer()], ids=["bytes", "pieces"])
def test_whole_characters_are_told(tokenizer: Any) -> None:
    pieces: list[str] = []
    streamer = _Streamer(tokenizer, pieces.append)
    text = "süß 🤗 the  quick"
    streamer.put(torch.tensor([[1, 2]]))
    for token in tokenizer(text)["input_ids"]:
        streamer.put(torch.tensor([token]))
    streamer.end()
    streamer.finish(text)
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)
    assert len(pieces) >= 8


class _Parrot(torch.nn.Module):
    """Changes a tiny model's logits so that it writes given tokens after a prompt."""

    def __init__(self, head: torch.nn.Module, ids: list[int]) -> None:
        super().__init__()
        self.head = head
        self.ids = ids
        self.told = 0

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros_like(self.head(states))
        logits[..., self.ids[min(self.told, len(self.ids) - 1)]] = 1.0
        self.told += 1
        return logits


def writing(tokenizer: Any, text: str, prompt: str) -> Any:
    """A model that goes on from a prompt as a text does."""
    model = tiny_llama(vocab_size=len(tokenizer))
    ids = tokenizer(prompt + text)["input_ids"][len(tokenizer(prompt)["input_ids"]) :]
    model.set_output_embeddings(_Parrot(model.get_output_embeddings(), ids))
    return model


@pytest.mark.parametrize("tokenizer", [TOKENIZER, byte_fallback_tokenizer()], ids=["bytes", "pieces"])
@pytest.mark.parametrize("is_told", [False, True])
def test_the_space_before_the_first_word_is_kept(tokenizer: Any, is_told: bool) -> None:
    pieces: list[str] = []
    model = writing(tokenizer, " quick dog", "the")
    size = len(tokenizer("the quick dog")["input_ids"]) - len(tokenizer("the")["input_ids"])
    told = pieces.append if is_told else None
    assert (
        generate(model, tokenizer, "the", GenerationSettings(max_new_tokens=size), on_text=told)
        == " quick dog"
    )
    assert "".join(pieces) == (" quick dog" if is_told else "")


@pytest.mark.parametrize(
    ("stop", "expected"),
    [(["dog"], " quick "), (["ck do", "never"], " qui"), ([" q"], ""), (["cat", "dog sleepy"], None)],
)
def test_what_is_written_ends_at_a_stop(stop: list[str], expected: str | None) -> None:
    whole = " quick dog sleeps"
    pieces: list[str] = []
    model = writing(TOKENIZER, whole, "the")
    size = len(TOKENIZER("the" + whole)["input_ids"]) - len(TOKENIZER("the")["input_ids"])
    text = generate(
        model,
        TOKENIZER,
        "the",
        GenerationSettings(max_new_tokens=size, stop=tuple(stop)),
        on_text=pieces.append,
    )
    assert text == "".join(pieces) == (whole if expected is None else expected)
    assert (model.get_output_embeddings().told < size) == (expected is not None)


def test_what_is_left_out_of_a_long_prompt_is_said() -> None:
    model = tiny_llama()
    model.config.max_position_embeddings = 16
    notes: list[str] = []
    generate(
        model, TOKENIZER, "the quick dog " * 20, GenerationSettings(max_new_tokens=6), on_note=notes.append
    )
    (note,) = notes
    assert "the model takes 16" in note
    notes.clear()
    generate(model, TOKENIZER, "the", GenerationSettings(max_new_tokens=6), on_note=notes.append)
    assert not notes


def test_mode_and_dropout_are_as_before() -> None:
    model = tiny_llama(attention_dropout=0.5).train()
    model.lm_head.eval()
    texts = {generate(model, TOKENIZER, "the", GenerationSettings(max_new_tokens=8)) for _ in range(3)}
    assert len(texts) == 1
    assert model.training
    assert not model.lm_head.training


def test_a_long_prompt_loses_its_beginning() -> None:
    model = tiny_llama()
    words = "the quick brown fox " * 100
    ids = TOKENIZER("<|start|>" + words)["input_ids"]
    expected = greedy(model, [ids[0], *ids[-(128 - 8 - 1) :]], 8)
    assert generate(model, TOKENIZER, words, GenerationSettings(max_new_tokens=8)) == TOKENIZER.decode(
        expected, skip_special_tokens=True
    )
    with pytest.raises(InputError, match="model takes 128"):
        generate(model, TOKENIZER, words, GenerationSettings(max_new_tokens=8, chat=True))
    with pytest.raises(ConfigError, match="no room for a prompt"):
        generate(model, TOKENIZER, words, GenerationSettings(max_new_tokens=128))


def test_a_chat_is_the_messages_or_the_users() -> None:
    model = tiny_llama()
    messages = [{"role": "user", "content": "the fox?"}]
    expected = greedy(
        model, TOKENIZER("<|start|>user\nthe fox?<|end|>\n<|start|>assistant\n")["input_ids"], 8
    )
    for prompt in (messages, "the fox?"):
        found = generate(model, TOKENIZER, prompt, GenerationSettings(max_new_tokens=8, chat=True))
        assert found == TOKENIZER.decode(expected, skip_special_tokens=True)
    spelled = generate(model, TOKENIZER, "<|end|>", GenerationSettings(max_new_tokens=8, chat=True))
    assert isinstance(spelled, str)
    with pytest.raises(InputError, match="no chat template"):
        generate(model, byte_level_tokenizer(chat=False), "the", GenerationSettings(chat=True))
    with pytest.raises(InputError, match="empty"):
        generate(model, TOKENIZER, [], GenerationSettings(chat=True))


def test_an_empty_prompt_begins_a_document() -> None:
    model = tiny_llama()
    expected = greedy(model, [TOKENIZER.bos_token_id], 8)
    assert generate(model, TOKENIZER, "", GenerationSettings(max_new_tokens=8)) == TOKENIZER.decode(
        expected, skip_special_tokens=True
    )
    bare = copy.deepcopy(TOKENIZER)
    bare.bos_token = bare.eos_token = None
    with pytest.raises(InputError, match="empty"):
        generate(model, bare, "")


def test_generation_stops_at_an_end() -> None:
    model = tiny_llama()
    first = greedy(model, TOKENIZER("<|start|>the")["input_ids"], 4)
    model.generation_config.eos_token_id = [7, first[2]]
    text = generate(model, TOKENIZER, "the", GenerationSettings(max_new_tokens=40))
    assert text == TOKENIZER.decode(first[: first.index(first[2]) + 1], skip_special_tokens=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be.*not 0"),
        ({"temperature": -1.0}, "temperature must be.*not -1.0"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0.0}, "top_p must be.*not 0.0"),
        ({"num_beams": 0}, "num_beams must be.*not 0"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        generate(tiny_llama(), TOKENIZER, "the", GenerationSettings(**settings))


def test_targets_as_a_loop_gives_them() -> None:
    model = tiny_seq2seq("marian")
    ids = torch.tensor([TOKENIZER("the fox")["input_ids"]])
    found = [0]
    for _ in range(10):
        with torch.no_grad():
            logits = model(input_ids=ids, decoder_input_ids=torch.tensor([found])).logits[0, -1]
        logits[0] = -torch.inf  # padding is never generated
        found.append(int(logits.argmax()))
        if found[-1] == 1:
            break
    pieces: list[str] = []
    text = generate(model, TOKENIZER, "the fox", GenerationSettings(max_new_tokens=10), on_text=pieces.append)
    assert text == "".join(pieces) == TOKENIZER.decode(found[1:], skip_special_tokens=True)


def test_a_target_is_no_longer_than_a_decoder_can_write() -> None:
    model, tokenizer = tiny_seq2seq("marian"), copy.deepcopy(TOKENIZER)  # of 64 positions
    model.generation_config.eos_token_id = tokenizer.eos_token_id = None
    longest = generate(model, tokenizer, "the fox", GenerationSettings(max_new_tokens=64))
    assert generate(model, tokenizer, "the fox", GenerationSettings(max_new_tokens=65)) == longest
    assert generate(model, tokenizer, "the fox", GenerationSettings(max_new_tokens=63)) != longest


def test_an_adapted_model() -> None:
    from peft import LoraConfig

    model = tiny_llama()
    expected = generate(model, TOKENIZER, "the", GenerationSettings(max_new_tokens=8))
    adapted = adapt(model, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    assert (
        generate(adapted, TOKENIZER, "the", GenerationSettings(max_new_tokens=8)) == expected
    )  # B is zero at first


def test_the_real_model_answers(smollm2: Path) -> None:
    loaded = load_language_model(str(smollm2), dtype="bfloat16")
    question = "What is the capital of France? Answer in one word."
    answer = generate(
        loaded.model, loaded.tokenizer, question, GenerationSettings(max_new_tokens=12, chat=True)
    )
    assert "Paris" in answer
    assert "<|im_end|>" not in answer
