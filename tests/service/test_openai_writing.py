"""Clients of OpenAI and Hugging Face let a language model and an encoder-decoder write."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest
from huggingface_hub import InferenceClient
from tests.learning_seq2seq.pairs_of_words import word_pairs
from tests.runtime.text_runs import (
    corpus,
    language_settings,
    learn,
    translation_settings,
    write_language_model,
    write_pairs,
    write_translator,
)
from tests.service.running import Running, running

from everlearn.models.language.generation import GenerationSettings
from everlearn.runtime.commands.generate import GenerateRequest, generate_text

PROMPT = "the cat sat"


@pytest.fixture(scope="module")
def novel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service of a language model."""
    folder = tmp_path_factory.mktemp("novel")
    model = write_language_model(folder / "model")
    learn(corpus(folder / "corpus.txt"), folder / "novel", language_settings(model))
    with running(folder / "novel") as service:
        yield service


@pytest.fixture(scope="module")
def writer(novel: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{novel.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def written(service: Running, prompt: str, **settings: object) -> str:
    """What the command line writes by the same run."""
    request = GenerateRequest(prompt=prompt, **GenerationSettings(**settings).model_dump())  # type: ignore[arg-type]
    return generate_text(service.place, request)


def test_a_text_is_continued_as_by_the_command_line(novel: Running, writer: openai.OpenAI) -> None:
    said = writer.completions.create(model="novel", prompt=PROMPT, max_tokens=24, temperature=0)
    assert said.choices[0].text == written(novel, PROMPT, max_new_tokens=24)
    assert said.choices[0].finish_reason == "length"
    assert said.usage is not None
    assert said.usage.completion_tokens == 24
    assert said.usage.prompt_tokens >= len(PROMPT)  # its tokens are bytes
    assert said.id.startswith("cmpl-")


def test_draws_repeat_by_their_seed(writer: openai.OpenAI) -> None:
    def drawn(seed: int | None) -> str:
        asked = writer.completions.create(model="novel", prompt=PROMPT, seed=seed, max_tokens=12)
        return asked.choices[0].text

    assert drawn(3) == drawn(3)
    assert len({drawn(None) for _ in range(4)} | {drawn(3)}) > 1


def test_a_chat_is_answered_by_the_template(novel: Running, writer: openai.OpenAI) -> None:
    said = writer.chat.completions.create(
        model="novel", messages=[{"role": "user", "content": PROMPT}], max_completion_tokens=12, temperature=0
    )
    assert said.choices[0].message.content == written(novel, PROMPT, chat=True, max_new_tokens=12)
    longer = writer.chat.completions.create(
        model="novel",
        messages=[
            {"role": "developer", "content": "be brief"},
            {"role": "user", "content": PROMPT},
            {"role": "assistant", "content": "on the mat"},
            {"role": "user", "content": "and then?"},
        ],
        max_completion_tokens=4,
    )
    assert said.usage is not None
    assert longer.usage is not None
    assert longer.usage.prompt_tokens > said.usage.prompt_tokens + 20


def test_pieces_are_streamed_and_make_up_the_text(writer: openai.OpenAI) -> None:
    whole = writer.chat.completions.create(
        model="novel", messages=[{"role": "user", "content": PROMPT}], max_tokens=24, temperature=0
    )
    with writer.chat.completions.create(
        model="novel",
        messages=[{"role": "user", "content": PROMPT}],
        max_tokens=24,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        chunks = list(stream)
    pieces = [one.choices[0].delta.content for one in chunks if one.choices and one.choices[0].delta.content]
    assert "".join(pieces) == whole.choices[0].message.content
    assert len(pieces) > 3
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].usage == whole.usage


def test_a_text_ends_where_it_is_told_to(writer: openai.OpenAI) -> None:
    whole = writer.completions.create(model="novel", prompt=PROMPT, max_tokens=24, temperature=0)
    stop = whole.choices[0].text[6:8]
    said = writer.completions.create(model="novel", prompt=PROMPT, max_tokens=24, temperature=0, stop=stop)
    assert said.choices[0].text == whole.choices[0].text[: whole.choices[0].text.index(stop)]
    assert said.choices[0].finish_reason == "stop"


def test_several_prompts_are_continued(writer: openai.OpenAI) -> None:
    said = writer.completions.create(model="novel", prompt=[PROMPT, "rain fell"], max_tokens=4, temperature=0)
    alone = writer.completions.create(model="novel", prompt="rain fell", max_tokens=4, temperature=0)
    assert [one.index for one in said.choices] == [0, 1]
    assert said.choices[1].text == alone.choices[0].text
    assert said.usage is not None
    assert said.usage.completion_tokens == 8


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"presence_penalty": 1.0}, "not-honoured"),
        ({"logit_bias": {"7": 3}}, "not-honoured"),
        ({"logprobs": 1}, "not-honoured"),
        ({"echo": True}, "not-honoured"),
        ({"best_of": 2}, "not-honoured"),
        ({"max_tokens": 1_000_000}, "setting-wrong"),
    ],
)
def test_what_is_not_done_is_refused(writer: openai.OpenAI, asked: dict[str, object], code: str) -> None:
    given = {"model": "novel", "prompt": PROMPT, **asked}
    with pytest.raises(openai.BadRequestError) as raised:
        writer.post("/completions", body=given, cast_to=object)
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ([{"type": "text", "text": "\ud800"}], "input-unusable"),
        ([{"type": "image_url", "image_url": {"url": "x"}}], "not-honoured"),
        ("x" * 100_001, "text-too-long"),
        ("", "input-unusable"),
    ],
)
def test_chats_that_cannot_be_read(novel: Running, content: object, code: str) -> None:
    asked = {"model": "novel", "messages": [{"role": "user", "content": content}], "max_tokens": 2}
    answer = novel.client.post(  # escaped, as lone surrogates must be
        "/v1/chat/completions", content=json.dumps(asked), headers={"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


def test_no_vectors_are_made_by_a_model_that_writes(novel: Running, writer: openai.OpenAI) -> None:
    with pytest.raises(openai.ConflictError, match="no encoder"):
        writer.embeddings.create(model="novel", input=PROMPT)
    answer = novel.client.post("/v1/embeddings", json={"model": "novel", "input": PROMPT})
    assert answer.json()["error"]["code"] == "run-refuses"


def test_hugging_face_client_gets_the_same(novel: Running) -> None:
    client = InferenceClient(model=novel.url, token="none")
    text = client.text_generation(PROMPT, max_new_tokens=8)
    assert text == written(novel, PROMPT, max_new_tokens=8)
    whole = client.text_generation(PROMPT, max_new_tokens=8, return_full_text=True)
    assert whole == f"{PROMPT}{text}"


def test_it_has_no_labels(novel: Running) -> None:
    for answer in (novel.client.post("/predict", json={"inputs": "a"}), novel.client.get("/info")):
        assert (answer.status_code, answer.json()["code"]) == (409, "no-answers")


def test_who_goes_away_leaves_no_place_taken(writer: openai.OpenAI) -> None:
    for _ in range(70):  # more than may wait
        with writer.completions.create(
            model="novel", prompt=PROMPT, max_tokens=60, temperature=0, stream=True
        ) as stream:
            next(iter(stream))
    assert writer.completions.create(model="novel", prompt=PROMPT, max_tokens=2).choices[0].text


def test_what_was_learned_writes(novel: Running, writer: openai.OpenAI) -> None:
    def asked() -> tuple[str, str | None]:
        said = writer.completions.create(model="novel", prompt="zebras", max_tokens=16, temperature=0)
        return said.choices[0].text, said.system_fingerprint

    before = asked()
    told = novel.post(
        "/v1/learn", examples=[{"id": f"z-{k}", "text": "zebras are striped. " * 12} for k in range(24)]
    )
    assert {one["status"] for one in told["results"]} == {"learned"}
    after = asked()
    assert after[1] == f"step-{told['step']}" != before[1]
    assert after[0] != before[0]


def test_a_process_that_ends_is_started_again(novel: Running, writer: openai.OpenAI) -> None:
    before = novel.processes()["writer"]
    with ThreadPoolExecutor() as threads:
        os.kill(before, signal.SIGKILL)
        texts = list(
            threads.map(
                lambda _: writer.completions.create(
                    model="novel", prompt=PROMPT, max_tokens=4, temperature=0
                ),
                range(3),
            )
        )
    assert len({one.choices[0].text for one in texts}) == 1
    assert novel.processes()["writer"] != before


def test_a_translation_is_written(tmp_path: Path) -> None:
    model = write_translator(tmp_path / "model")
    stream = write_pairs(tmp_path / "pairs.jsonl", 60)
    learn(stream, tmp_path / "words", translation_settings(model))
    source = word_pairs(1, longest=4)[0].text
    assert source is not None
    with (
        running(tmp_path / "words") as service,
        openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as client,
    ):
        said = client.chat.completions.create(model="words", messages=[{"role": "user", "content": source}])
        assert said.choices[0].message.content == written(service, source)
        again = client.completions.create(model="words", prompt=source, max_tokens=128, stream=True)
        assert "".join(one.choices[0].text for one in again) == said.choices[0].message.content
        told = InferenceClient(model=service.url, token="none").translation(source)
        assert told.translation_text == said.choices[0].message.content
