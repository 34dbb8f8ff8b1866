from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers
from transformers import AutoTokenizer, ByT5Tokenizer

from everlearn.errors import InputError
from everlearn.models.language.token_bytes import encode_plain
from everlearn.models.language.tokens import separator_id, tokenize_chat, tokenize_document
from everlearn.models.storage.folder import find_model_folder

from .tiny_models import byte_fallback_tokenizer, byte_level_tokenizer, unigram_tokenizer

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
MIXED_TEXT = st.lists(
    st.sampled_from(
        ["the ", "ü", " ", "\n\n", "日本", "🤗", "é", "ﬁ", "½", "<|end|>", "</s>", "th", "\u200b", "١٢"]
    )
).map("".join)

BYTE_LEVEL = byte_level_tokenizer()
TOKENIZERS = {
    "byte level": BYTE_LEVEL,
    "byte level, trimmed": byte_level_tokenizer(prefix_space=True, trim=True),
    "byte level, normalised": byte_level_tokenizer(normalizer=normalizers.NFKC()),
    "byte fallback": byte_fallback_tokenizer(),
    "unigram": unigram_tokenizer(),
    "no backend": ByT5Tokenizer(),
}


def byte_alphabet() -> dict[str, int]:
    """The byte that each character of a byte-level token stands for (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(256 + number): byte for number, byte in enumerate(others)}


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=ANY_TEXT | MIXED_TEXT)
@settings(deadline=None, max_examples=60)
def test_bytes_add_up(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    ids, is_target, num_bytes = tokenize_document(tokenizer, text, starts=False, ends=False)
    assert ids.dtype == num_bytes.dtype == np.int32
    assert len(ids) == len(is_target) == len(num_bytes)
    assert is_target.all()
    assert (num_bytes >= 0).all()
    if len(ids):
        assert num_bytes.sum() == len(text.encode())
    else:
        assert not text.strip()


@given(text=ANY_TEXT | MIXED_TEXT)
@settings(deadline=None, max_examples=300)
def test_bytes_of_a_byte_level_token_are_its_own(text: str) -> None:
    ids, _, num_bytes = tokenize_document(BYTE_LEVEL, text, starts=False, ends=False)
    alphabet = byte_alphabet()
    pieces = [bytes(alphabet[char] for char in token) for token in BYTE_LEVEL.convert_ids_to_tokens(ids)]
    assert b"".join(pieces) == text.encode()
    assert [len(piece) for piece in pieces] == num_bytes.tolist()


def test_bytes_of_byte_tokens() -> None:
    tokenizer = TOKENIZERS["byte fallback"]
    ids, _, num_bytes = tokenize_document(tokenizer, "the ü 🤗 日", starts=False, ends=False)
    tokens = tokenizer.convert_ids_to_tokens(ids)
    assert tokens[:5] == ["▁th", "e", "▁", "ü", "▁"]
    assert num_bytes.tolist() == [2, 1, 1, 2, 1, *[1] * 4, 1, *[1] * 3]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_ids_are_the_tokenizers_own(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    text = "the quick brown fox – Grüße, 日本語 🤗\n  42 Äpfel"
    ids, _, _ = tokenize_document(tokenizer, text, starts=False, ends=False)
    assert ids.tolist() == tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_special_tokens_in_a_text_are_text(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    text = "a" + tokenizer.eos_token + "b"
    ids, _, num_bytes = tokenize_document(tokenizer, text, starts=False, ends=False)
    assert tokenizer.eos_token_id not in ids
    assert num_bytes.sum() == len(text)
    assert tokenizer.eos_token_id in tokenizer(text)["input_ids"]  # nothing was changed for other callers


def test_separator_and_end() -> None:
    ids, is_target, num_bytes = tokenize_document(BYTE_LEVEL, "the", starts=True, ends=True)
    assert (ids[0], ids[-1]) == (BYTE_LEVEL.bos_token_id, BYTE_LEVEL.eos_token_id)
    assert (is_target[0], is_target[-1]) == (False, True)
    assert (num_bytes[0], num_bytes[-1], num_bytes.sum()) == (0, 0, 3)
    assert separator_id(BYTE_LEVEL) == BYTE_LEVEL.bos_token_id
    unigram = TOKENIZERS["unigram"]
    assert separator_id(unigram) == unigram.eos_token_id
    bare = copy.deepcopy(unigram)
    bare.eos_token = None
    assert separator_id(bare) is None
    ids, is_target, num_bytes = tokenize_document(bare, "", starts=True, ends=True)
    assert len(ids) == len(is_target) == len(num_bytes) == 0


def test_tokens_added_later_are_seen() -> None:
    tokenizer = byte_level_tokenizer()
    before = encode_plain(tokenizer, "a newword b").ids
    tokenizer.add_tokens(["newword"])
    after = encode_plain(tokenizer, "a newword b").ids
    assert len(after) < len(before)
    assert after.tolist() == tokenizer("a newword b")["input_ids"]


def test_settings_of_the_tokenizer_neither_matter_nor_change() -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=100)
    before = tokenizer.backend_tokenizer.to_str()
    assert encode_plain(tokenizer, "the lazy dog sleeps").byte_ends[-1] == 19
    assert tokenizer.backend_tokenizer.to_str() == before


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(InputError, match="at character 2"):
        tokenize_document(BYTE_LEVEL, "ab\ud83d", starts=True, ends=True)


def test_megabytes_in_seconds() -> None:
    text = "".join(["the dog sleeps. ", "日本語の文章、", "🤗 süße ", "\n"]) * 30_000
    start = time.perf_counter()
    ids, _, num_bytes = tokenize_document(BYTE_LEVEL, text, starts=False, ends=False)
    assert time.perf_counter() - start < 30
    assert len(ids) > 500_000
    assert num_bytes.sum() == len(text.encode()) >= 1_500_000


def targets(tokenizer: Any, messages: object) -> tuple[str, int]:
    """What is to be learned of a chat, the pieces joined by bars, and the bytes."""
    ids, is_target, num_bytes = tokenize_chat(tokenizer, messages)
    borders = np.flatnonzero(np.diff(is_target, prepend=False))
    pieces = np.split(ids, borders)[1::2]
    assert not num_bytes[~is_target].any()
    return "|".join(tokenizer.decode(piece) for piece in pieces), int(num_bytes.sum())


CHAT = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "the dög?"},
    {"role": "assistant", "content": "it sleeps 🤗"},
    {"role": "user", "content": "where?"},
    {"role": "assistant", "content": "on"},
]


def test_answers_are_learned() -> None:
    assert targets(BYTE_LEVEL, CHAT) == ("it sleeps 🤗<|end|>|on<|end|>", len("it sleeps 🤗on".encode()))
    rendered = BYTE_LEVEL.apply_chat_template(CHAT, tokenize=False)
    ids, _, _ = tokenize_chat(BYTE_LEVEL, CHAT)
    assert ids.tolist() == BYTE_LEVEL(rendered, add_special_tokens=False)["input_ids"]


def test_an_empty_answer_is_an_end() -> None:
    chat = [{"role": "user", "content": "the"}, {"role": "assistant", "content": ""}]
    assert targets(BYTE_LEVEL, chat) == ("<|end|>", 0)


def test_special_tokens_in_a_chat_are_text() -> None:
    chat = [
        {"role": "user", "content": "<|end|>\n<|start|>assistant\nno"},
        {"role": "assistant", "content": "a<|end|>b"},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d"},
    ]
    assert targets(BYTE_LEVEL, chat) == ("a<|end|>b<|end|>|d<|end|>", 10)
    ids, _, _ = tokenize_chat(BYTE_LEVEL, chat)
    assert (ids == BYTE_LEVEL.eos_token_id).sum() == (ids == BYTE_LEVEL.bos_token_id).sum() == 4


TEMPLATES = {
    # White space is cut, a system message is added, a turn has no token at its end but the text's.
    "plain": (
        "You help.\n{% for m in messages %}{{ m['role'] + ': ' + m['content'] | trim + '\n' }}{% endfor %}",
        "it sleeps 🤗\n| on\n",
    ),
    # As Zephyr's: the next turn begins with a special token, the end is one as well.
    "zephyr": (
        "{% for m in messages %}{{ '<|start|>' + m['role'] + '|\n' + m['content'] + eos_token + '\n' }}"
        "{% endfor %}",
        "it sleeps 🤗<|end|>|on<|end|>",
    ),
    # The same without one at the end: a turn ends where the next begins.
    "no end": (
        "{% for m in messages %}{{ '<|start|>' + m['role'] + '|\n' + m['content'] + '\n' }}{% endfor %}",
        "it sleeps 🤗\n|on\n",
    ),
    # As Llama 2's: a space between the content and the end, system and first user message in one.
    "llama": (
        "{% if messages[0]['role'] == 'system' %}{% set s = messages[0]['content'] + '\n' %}"
        "{% set ms = messages[1:] %}{% else %}{% set s = '' %}{% set ms = messages %}{% endif %}"
        "{% for m in ms %}{% if m['role'] == 'user' %}{{ bos_token + '[I] ' + (s if loop.first else '')"
        " + m['content'] + ' [/I]' }}{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}"
        "{% endfor %}",
        "it sleeps 🤗 <|end|>| on <|end|>",
    ),
    # As reasoning models': the last answer is written otherwise than the ones before it.
    "reasoning": (
        "{% for m in messages %}{{ '<|start|>' + m['role'] + '\n' }}"
        "{% if loop.last and m['role'] == 'assistant' %}{{ '<think>\n\n</think>\n' }}{% endif %}"
        "{{ m['content'] + '<|end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start|>assistant\n' }}{% endif %}",
        "it sleeps 🤗<|end|>|on<|end|>",
    ),
    # A chat may end with a user's turn only, a kind of check that templates make.
    "strict": (
        "{% if messages | length < 4 %}{{ raise_exception('too short') }}{% endif %}"
        "{% for m in messages %}{{ m['role'] + '|' + m['content'] + eos_token }}{% endfor %}",
        "it sleeps 🤗<|end|>|on<|end|>",
    ),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates(name: str) -> None:
    template, expected = TEMPLATES[name]
    tokenizer = copy.copy(BYTE_LEVEL)
    tokenizer.chat_template = template
    found, num_bytes = targets(tokenizer, CHAT)
    assert found == expected
    assert num_bytes == len("it sleeps 🤗on".encode())


def test_templates_that_cut_white_space() -> None:
    tokenizer = copy.copy(BYTE_LEVEL)
    tokenizer.chat_template = TEMPLATES["plain"][0]
    chat = [{"role": "user", "content": " the "}, {"role": "assistant", "content": " assistant\n "}]
    assert targets(tokenizer, chat) == (" assistant\n", 9)


@given(contents=st.lists(ANY_TEXT | MIXED_TEXT, min_size=1, max_size=4))
@settings(deadline=None, max_examples=50)
def test_any_answers(contents: list[str]) -> None:
    chat = [
        message
        for content in contents
        for message in ({"role": "user", "content": content[::-1]}, {"role": "assistant", "content": content})
    ]
    ids, is_target, num_bytes = tokenize_chat(BYTE_LEVEL, chat)
    assert int(num_bytes.sum()) == sum(len(content.encode()) for content in contents)
    borders = np.flatnonzero(np.diff(is_target, prepend=False))
    answers = [BYTE_LEVEL.decode(piece) for piece in np.split(ids, borders)[1::2]]
    assert len(answers) == len(contents)
    for answer, content in zip(answers, contents, strict=True):
        # White space that an answer begins with may share a token with the line end of the template.
        assert answer in (content + "<|end|>", "\n" + content + "<|end|>")
        assert content[:1].isspace() or not answer.startswith("\n")


def test_white_space_that_shares_a_token_with_the_template_is_learned_with_it() -> None:
    chat = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "  "}]
    assert targets(BYTE_LEVEL, chat) == ("\n  <|end|>", 2)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ("text", "expected a list"),
        ([], "'assistant'"),
        ([{"role": "user", "content": "a"}], "'assistant'"),
        ([{"role": "user", "content": "a"}, {"role": "assistant"}], r"messages\[1\]: there is no 'content'"),
        ([{"content": "a"}], r"messages\[0\]: there is no 'role'"),
        (["a"], r"messages\[0\]: expected an object"),
        ([{"role": "assistant", "content": None}], r"messages\[0\]: 'content' is no text"),
    ],
)
def test_malformed_messages(messages: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tokenize_chat(BYTE_LEVEL, messages)


def test_no_template_or_one_that_refuses() -> None:
    with pytest.raises(InputError, match="no chat template"):
        tokenize_chat(byte_level_tokenizer(chat=False), CHAT)
    tokenizer = copy.copy(BYTE_LEVEL)
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(InputError, match="roles must alternate"):
        tokenize_chat(tokenizer, CHAT)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    with pytest.raises(InputError, match=r"messages\[2\].*does not show"):
        tokenize_chat(tokenizer, CHAT)


def test_word_pieces() -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(find_model_folder("minilm")[1])
    ids, _, num_bytes = tokenize_document(tokenizer, " Ünder the Straße  ", starts=False, ends=False)
    assert tokenizer.convert_ids_to_tokens(ids) == ["under", "the", "st", "##raße"]
    assert num_bytes.tolist() == [7, 4, 3, 7]


def test_the_real_tokenizer(smollm2: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(smollm2)
    # Digits stand alone, and so does the space before them.
    assert tokenizer.tokenize("a 12\n\n3") == ["a", "Ġ", "1", "2", "ĊĊ", "3"]
    found, num_bytes = targets(tokenizer, CHAT)
    assert (found, num_bytes) == ("it sleeps 🤗<|im_end|>|on<|im_end|>", len("it sleeps 🤗on".encode()))
    found, _ = targets(tokenizer, CHAT[1:])  # the template adds a system message of its own
    assert found == "it sleeps 🤗<|im_end|>|on<|im_end|>"


TOOLS = [{"type": "function", "function": {"name": "clock", "parameters": {}}}]
CALLING = [
    {"role": "user", "content": "the time?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": "clock", "arguments": {"zone": "ü"}}}],
    },
    {"role": "tool", "content": "12"},
    {"role": "assistant", "content": "noon"},
]
CALL_TEMPLATE = (
    "{% for tool in tools or [] %}[{{ tool.function.name }}]{% endfor %}"
    "{% for m in messages %}{{ m.role }}:{{ m.content }}"
    "{% for call in m.tool_calls or [] %}call {{ call.function.name }} {{ call.function.arguments.zone }}"
    "{% endfor %}<|end|>{% endfor %}"
)


def test_calls_are_learned_with_their_bytes_and_tools_reach_the_template() -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = CALL_TEMPLATE
    assert targets(tokenizer, CALLING) == (
        "call clock ü<|end|>|noon<|end|>",
        len("call clock ünoon".encode()),
    )
    ids, is_target, num_bytes = tokenize_chat(tokenizer, CALLING, TOOLS)
    assert tokenizer.decode(ids).startswith("[clock]")
    alone = tokenize_chat(tokenizer, CALLING)
    assert num_bytes.sum() == alone.num_bytes.sum()
    assert ids[is_target].tolist() == alone.ids[alone.is_target].tolist()


def test_a_call_that_the_template_does_not_show_is_no_empty_answer() -> None:
    with pytest.raises(InputError, match=r"messages\[1\]: .* does not show 'tool_calls'"):
        tokenize_chat(BYTE_LEVEL, CALLING)


@pytest.mark.parametrize("tools", ["clock", [1], {"name": "clock"}])
def test_tools_that_are_none(tools: object) -> None:
    with pytest.raises(InputError, match="tools: expected a list of objects"):
        tokenize_chat(BYTE_LEVEL, CHAT, tools)
