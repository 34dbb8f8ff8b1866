"""The OpenAI client asks a service that classifies."""

from __future__ import annotations

import asyncio
import base64
import math
import os
import signal
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import openai
import pytest
from tests.service.running import Running, demo_rows

TEXT = demo_rows(1, start=400)[0]["text"]


@pytest.fixture(scope="module")
def client(service: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_tenants_are_models(service: Running, client: openai.OpenAI) -> None:
    (model,) = client.models.list().data
    assert (model.id, model.owned_by) == ("desk", "everlearn")
    assert 1_500_000_000 < model.created < 3_000_000_000
    assert client.models.retrieve("desk") == model
    (version,) = service.get("/v1/versions")["versions"]
    name = f"desk@{version['version']}"
    assert client.models.retrieve(name).id == name


def test_an_answer_is_the_label_and_its_id_takes_feedback(service: Running, client: openai.OpenAI) -> None:
    said = client.chat.completions.create(
        model="desk",
        messages=[
            {"role": "system", "content": "You route tickets."},
            {"role": "user", "content": "an older message about something else"},
            {"role": "assistant", "content": "card_arrival"},
            {"role": "user", "content": [{"type": "text", "text": TEXT}]},
        ],
    )
    own = service.predict(TEXT)
    assert said.choices[0].message.content == own["label"]
    assert (said.choices[0].finish_reason, said.model) == ("stop", "desk")
    assert said.system_fingerprint == f"step-{own['step']}"
    assert said.usage is not None
    assert said.usage.prompt_tokens > 3
    assert said.usage.total_tokens == said.usage.prompt_tokens + said.usage.completion_tokens
    told = service.post("/v1/feedback", id=said.id, target=own["label"])
    assert told["status"] == "learned"


def test_log_probabilities_are_those_of_labels(service: Running, client: openai.OpenAI) -> None:
    own = service.predict(TEXT, top=4)
    said = client.chat.completions.create(
        model="desk", messages=[{"role": "user", "content": TEXT}], logprobs=True, top_logprobs=4
    )
    assert said.choices[0].logprobs is not None
    assert said.choices[0].logprobs.content is not None
    (token,) = said.choices[0].logprobs.content
    assert token.token == own["label"]
    assert math.exp(token.logprob) == pytest.approx(own["probability"])
    assert [(one.token, pytest.approx(math.exp(one.logprob))) for one in token.top_logprobs] == [
        (one["label"], one["probability"]) for one in own["top"]
    ]


def test_several_prompts_are_continued_by_their_labels(service: Running, client: openai.OpenAI) -> None:
    texts = [row["text"] for row in demo_rows(3, start=410)]
    said = client.completions.create(model="desk", prompt=texts, logprobs=2)
    assert [one.text for one in said.choices] == [service.predict(text)["label"] for text in texts]
    assert [one.index for one in said.choices] == [0, 1, 2]
    assert said.choices[1].logprobs is not None
    assert said.choices[1].logprobs.tokens == [said.choices[1].text]
    assert said.choices[1].logprobs.top_logprobs is not None
    assert len(said.choices[1].logprobs.top_logprobs[0]) == 2
    id_ = said.choices[2].model_dump()["prediction_id"]
    assert service.post("/v1/feedback", id=id_, right=False)["status"] == "noted"


def test_a_label_can_be_streamed(service: Running, client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="desk",
            messages=[{"role": "user", "content": TEXT}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    told = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    assert told == service.predict(TEXT)["label"]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    assert len({one.id for one in chunks}) == 1
    assert service.post("/v1/feedback", id=chunks[0].id, right=False)["status"] == "noted"


def test_a_version_is_asked_by_its_name(service: Running, client: openai.OpenAI) -> None:
    (version,) = service.get("/v1/versions")["versions"]
    name = f"desk@{version['version']}"
    said = client.completions.create(model=name, prompt=TEXT)
    assert said.choices[0].text == service.predict(TEXT, version=version["version"])["label"]
    assert said.system_fingerprint == f"version-{version['version']}"
    with pytest.raises(openai.NotFoundError) as raised:
        client.completions.create(model="desk@77", prompt=TEXT)
    assert raised.value.code == "model_not_found"


def test_vectors_are_near_where_texts_are_alike(client: openai.OpenAI) -> None:
    texts = ["my card has not arrived", "I still wait for my card", "the weather is fine today"]
    told = client.embeddings.create(model="desk", input=texts)  # the client asks for base64
    vectors = np.array([one.embedding for one in told.data])
    assert vectors.shape == (3, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    assert [one.index for one in told.data] == [0, 1, 2]
    assert told.usage.prompt_tokens == told.usage.total_tokens > 12
    single = client.embeddings.create(model="desk", input=texts[0], encoding_format="float").data[0]
    assert np.array(single.embedding) @ vectors[0] > 0.999  # in company, codes may differ by rounding


def test_base64_and_numbers_are_the_same_vector(service: Running) -> None:
    asked = {"model": "desk", "input": "where is my card?"}
    numbers = service.post("/v1/embeddings", **asked)["data"][0]["embedding"]
    packed = service.post("/v1/embeddings", **asked, encoding_format="base64")["data"][0]["embedding"]
    assert list(struct.unpack(f"<{len(numbers)}f", base64.b64decode(packed))) == numbers


def test_vectors_are_what_the_encoder_says(client: openai.OpenAI) -> None:
    from everlearn.models.encoder.coder import TextCoder
    from everlearn.models.encoder.load import load_trunk

    text = "the machine at the corner ate my card"
    (told,) = client.embeddings.create(model="desk", input=text).data
    pooled = TextCoder(load_trunk(dtype="float32")).pool([text])[0, 0].numpy()
    assert np.array(told.embedding) @ (pooled / np.linalg.norm(pooled)) > 0.999


def test_many_texts_are_made_vectors_of_in_parts(client: openai.OpenAI) -> None:
    rows = demo_rows(100)
    told = client.embeddings.create(model="desk", input=[row["text"] for row in rows])
    assert len(told.data) == 100
    one = client.embeddings.create(model="desk", input=rows[77]["text"]).data[0].embedding
    assert np.array(told.data[77].embedding) @ np.array(one) > 0.999


def test_vectors_come_also_where_a_process_has_ended(service: Running, client: openai.OpenAI) -> None:
    before = service.processes()["worker-1"]
    os.kill(before, signal.SIGKILL)
    with ThreadPoolExecutor() as threads:
        told = threads.map(lambda text: client.embeddings.create(model="desk", input=text), [TEXT] * 4)
        assert {len(one.data[0].embedding) for one in told} == {384}
    assert service.processes()["worker-1"] != before
    assert service.predict(TEXT)["label"]


@pytest.mark.anyio
async def test_the_asynchronous_client_asks_at_once(service: Running) -> None:
    import asyncio

    texts = [row["text"] for row in demo_rows(8, start=420)]
    async with openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key="none") as client:
        answers = await asyncio.gather(
            *(
                client.chat.completions.create(model="desk", messages=[{"role": "user", "content": text}])
                for text in texts
            )
        )
        labels = [service.predict(text)["label"] for text in texts]
        assert [one.choices[0].message.content for one in answers] == labels
        stream = await client.completions.create(model="desk", prompt=texts[0], stream=True)
        assert "".join([chunk.choices[0].text async for chunk in stream]) == labels[0]


@pytest.mark.parametrize(
    ("asked", "raised", "code"),
    [
        ({"model": "nobody"}, openai.NotFoundError, "model_not_found"),
        ({"messages": [{"role": "user", "content": "  "}]}, openai.BadRequestError, "input-unusable"),
        ({"messages": [{"role": "user", "content": "x" * 100_001}]}, openai.BadRequestError, "text-too-long"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, openai.BadRequestError, "request-invalid"),
        ({"messages": []}, openai.BadRequestError, "request-invalid"),
        ({"n": 2}, openai.BadRequestError, "not-honoured"),
        ({"temperature": 9}, openai.BadRequestError, "request-invalid"),
        ({"response_format": {"type": "json_object"}}, openai.BadRequestError, "not-honoured"),
        ({"tools": [{"type": "function"}]}, openai.BadRequestError, "not-honoured"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_wrong_raises_what_the_client_has_for_it(
    client: openai.OpenAI,
    asked: dict[str, object],
    raised: type[openai.APIStatusError],
    code: str,
    stream: bool,
) -> None:
    given = {"model": "desk", "messages": [{"role": "user", "content": TEXT}], "stream": stream, **asked}
    with pytest.raises(raised) as error:
        client.post("/chat/completions", body=given, cast_to=object)
    assert error.value.code == code
    assert error.value.type == "invalid_request_error"
    assert error.value.message


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 400, "body-invalid"),
        (b'{"model": "desk", "input": [1, 2]}', 400, "not-honoured"),
        (b'{"model": "desk", "input": []}', 400, "not-honoured"),
        (b'{"model": "desk", "input": "a", "dimensions": 7}', 400, "not-honoured"),
        (b'{"model": "desk@1", "input": "a"}', 400, "not-honoured"),
    ],
)
def test_errors_have_the_shape_of_the_protocol(
    service: Running, content: bytes, status: int, code: str
) -> None:
    answer = service.client.post(
        "/v1/embeddings", content=content, headers={"content-type": "application/json"}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert set(answer.json()["error"]) == {"message", "type", "code", "param"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_vectors_of_many_callers_are_those_of_their_own_texts(service: Running) -> None:
    rows = demo_rows(48)

    async def made() -> list[list[list[float]]]:
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:

            async def ask(texts: list[str], *, seconds: float | None = None) -> list[list[float]]:
                asked = client.post("/v1/embeddings", json={"model": "desk", "input": texts})
                answer = await asyncio.wait_for(asked, seconds)
                return [one["embedding"] for one in answer.raise_for_status().json()["data"]]

            gone = [asyncio.create_task(ask([row["text"]], seconds=0.01)) for row in rows[:8]]
            asked = [ask([row["text"] for row in rows[k : k + 1 + k % 3]]) for k in range(len(rows))]
            answers = await asyncio.gather(*asked)
            await asyncio.gather(*gone, return_exceptions=True)  # callers who have left harm nobody
            return answers

    answers = asyncio.run(made())
    assert [len(one) for one in answers] == [len(rows[k : k + 1 + k % 3]) for k in range(len(rows))]
    alone = {}
    for k, row in enumerate(rows):
        told = service.post("/v1/embeddings", model="desk", input=row["text"])
        alone[k] = np.array(told["data"][0]["embedding"])
    for k, vectors in enumerate(answers):
        for place, vector in enumerate(vectors):
            assert np.array(vector) @ alone[k + place] > 0.999
