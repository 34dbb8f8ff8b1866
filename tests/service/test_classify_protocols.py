"""Clients of vLLM, Text Embeddings Inference, Hugging Face and KServe ask a service."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from tests.service.running import Running, demo_rows, running

from everlearn import Example, Hub
from everlearn.service.keys import add_key

ROWS = demo_rows(4, start=400)
TEXT = ROWS[0]["text"]


@pytest.fixture(scope="module")
def client(service: Running) -> InferenceClient:
    return InferenceClient(model=service.url, token="none")


def test_hugging_face_client_gets_all_labels(service: Running, client: InferenceClient) -> None:
    told = client.text_classification(TEXT)
    own = service.predict(TEXT, top=1_000)["top"]
    assert [(one.label, pytest.approx(one.score)) for one in told] == [
        (one["label"], one["probability"]) for one in own
    ]
    assert sum(one.score for one in told) == pytest.approx(1)
    assert len(client.text_classification(TEXT, top_k=2)) == 2
    raw = client.text_classification(TEXT, function_to_apply="none")
    weights = np.exp([one.score for one in raw])
    assert weights / weights.sum() == pytest.approx([one.score for one in told])


def test_hugging_face_client_gets_vectors(service: Running) -> None:
    client = InferenceClient(model=f"{service.url}/embed", token="none")
    told = client.feature_extraction(["my card is lost", "I have lost my card", "what a fine day"])
    assert told.shape == (3, 384)
    assert told[0] @ told[1] > told[0] @ told[2] + 0.2
    long = client.feature_extraction("my card is lost", normalize=False)
    assert np.linalg.norm(long[0]) > 1.5
    assert long[0] / np.linalg.norm(long[0]) @ told[0] > 0.999


@pytest.mark.anyio
async def test_asynchronous_hugging_face_client(service: Running) -> None:
    async with AsyncInferenceClient(model=service.url, token="none") as client:
        told = await client.text_classification(TEXT)
    assert told[0].label == service.predict(TEXT)["label"]


def test_hugging_face_client_hears_what_is_wrong(client: InferenceClient) -> None:
    with pytest.raises(HfHubHTTPError, match="text 1 is empty"):
        client.text_classification("   ")


def test_hugging_face_client_chats(service: Running) -> None:
    client = InferenceClient(base_url=service.url, token="none")
    said = client.chat_completion([{"role": "user", "content": TEXT}], model="desk")
    assert said.choices[0].message.content == service.predict(TEXT)["label"]


@pytest.mark.parametrize("path", ["/classify", "/v1/classify"])
def test_as_vllm_and_sglang(service: Running, path: str) -> None:
    texts = [row["text"] for row in ROWS]
    told = service.post(path, model="desk", input=texts)
    assert (told["object"], told["model"]) == ("list", "desk")
    assert told["usage"]["total_tokens"] == told["usage"]["prompt_tokens"] > 10
    labels = list(service.get("/info")["model_type"]["classifier"]["label2id"])
    for index, (one, text) in enumerate(zip(told["data"], texts, strict=True)):
        own = service.predict(text)
        assert (one["index"], one["label"], one["num_classes"]) == (index, own["label"], len(labels))
        assert labels[int(np.argmax(one["probs"]))] == own["label"]
        assert sum(one["probs"]) == pytest.approx(1)
    single = service.post(path, input=TEXT)
    assert (single["model"], len(single["data"])) == ("desk", 1)
    assert service.post("/v1/feedback", id=single["id"], right=False)["status"] == "noted"


def test_as_text_embeddings_inference(service: Running) -> None:
    own = service.predict(TEXT, top=1_000)["top"]
    single = service.post("/predict", inputs=TEXT)
    assert [one["label"] for one in single] == [one["label"] for one in own]
    batch = service.post("/predict", inputs=[[row["text"]] for row in ROWS], truncate=True)
    assert len(batch) == len(ROWS)
    assert batch[0][0]["label"] == single[0]["label"]
    raw = service.post("/predict", inputs=TEXT, raw_scores=True)
    assert math.exp(raw[0]["score"]) == pytest.approx(single[0]["score"], rel=0.05)


def test_tokens_are_those_that_the_encoder_reads(service: Running) -> None:
    texts = ["Where is my unbelievably late invoice?", "Ünïcödé 🦜"]
    first, second = service.post("/tokenize", inputs=texts)
    for text, tokens in ((texts[0], first), (texts[1], second)):
        assert [one["special"] for one in tokens] == [True, *[False] * (len(tokens) - 2), True]
        assert tokens[0] | {"id": 0} == {
            "id": 0, "text": "[CLS]", "special": True, "start": None, "stop": None
        }  # fmt: skip
        for one in tokens[1:-1]:
            assert one["text"] == text[one["start"] : one["stop"]]
    assert "".join(one["text"] for one in first[1:-1]) == texts[0].replace(" ", "")
    plain = service.post("/tokenize", inputs=texts[0], add_special_tokens=False)
    assert plain == [first[1:-1]]
    used = service.post("/v1/embeddings", model="desk", input=texts[0])["usage"]["prompt_tokens"]
    assert used == len(plain[0])
    (long,) = service.post("/tokenize", inputs="word " * 10_000, add_special_tokens=False)
    assert len(long) == service.get("/info")["max_input_length"]


def test_information_is_of_the_tenant_and_the_limits(service: Running) -> None:
    told = service.get("/info")
    assert (told["model_id"], told["max_input_length"], told["max_client_batch_size"]) == ("desk", 256, 256)
    known = told["model_type"]["classifier"]
    assert {label: int(number) for number, label in known["id2label"].items()} == known["label2id"]
    assert service.get("/health") == {"status": "UP"}


def test_as_kserve(service: Running) -> None:
    assert service.get("/v2/health/live") == {"live": True}
    assert service.get("/v2/health/ready") == {"ready": True}
    assert service.get("/v2/models/desk/ready")["ready"]
    told = service.get("/v2/models/desk")
    assert (told["name"], told["inputs"][0]["datatype"]) == ("desk", "BYTES")
    texts = [row["text"] for row in ROWS]
    asked = {"id": "42", "inputs": [{"name": "text", "shape": [4], "datatype": "BYTES", "data": texts}]}
    for path in ("/v2/models/desk/infer", f"/v2/models/desk/versions/{told['versions'][0]}/infer"):
        answer = service.post(path, **asked)
        outputs = {one["name"]: one for one in answer["outputs"]}
        assert (answer["id"], outputs["label"]["shape"]) == ("42", [4])
        version = answer["model_version"] and int(answer["model_version"])
        assert outputs["label"]["data"] == [service.predict(text, version=version)["label"] for text in texts]
        assert service.post("/v1/feedback", id=outputs["id"]["data"][0], right=False)["status"] == "noted"


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/predict", {"inputs": ["a", "b"]}, 422, "not-honoured"),
        ("/predict", {"inputs": [["a", "b"]]}, 422, "not-honoured"),
        ("/predict", {"inputs": []}, 422, "not-honoured"),
        ("/predict", {}, 422, "request-invalid"),
        ("/predict", {"inputs": "a", "truncation_direction": "left"}, 422, "not-honoured"),
        ("/embed", {"inputs": [1, 2]}, 422, "not-honoured"),
        ("/embed", {"inputs": "a", "prompt_name": "query"}, 422, "not-honoured"),
        ("/tokenize", {"inputs": "a", "prompt_name": "query"}, 422, "not-honoured"),
        ("/tokenize", {"inputs": [1, 2]}, 422, "request-invalid"),
        ("/embed", {"inputs": "a", "dimensions": 7}, 422, "not-honoured"),
        ("/", {"inputs": ["x"] * 257}, 422, "too-many-texts"),
        ("/", {"inputs": []}, 422, "not-honoured"),
        ("/?tenant=nobody", {"inputs": "a"}, 404, "tenant-unknown"),
        ("/tenants/nobody/predict", {"inputs": "a"}, 404, "tenant-unknown"),
    ],
)
def test_what_is_wrong_is_told_in_both_shapes(
    service: Running, path: str, body: dict[str, Any], status: int, code: str
) -> None:
    answer = service.client.post(path, json=body)
    told = answer.json()
    assert (answer.status_code, told["code"], told["error_type"]) == (status, code, "Validation")
    assert told["error"] == told["detail"]
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/classify", {"model": "nobody", "input": "a"}, 404, "model_not_found"),
        ("/v1/classify", {"model": "desk@9", "input": "a"}, 404, "model_not_found"),
        ("/v1/classify", {"model": "desk", "input": [7]}, 400, "not-honoured"),
        ("/v1/classify", {"model": "desk"}, 400, "request-invalid"),
    ],
)
def test_vllm_tells_errors_as_openai(
    service: Running, path: str, body: dict[str, Any], status: int, code: str
) -> None:
    answer = service.client.post(path, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    "tensor",
    [
        {"name": "text", "shape": [1], "datatype": "FP32", "data": [1.0]},
        {"name": "text", "shape": [0], "datatype": "BYTES", "data": []},
        {"name": "text", "shape": [1], "datatype": "BYTES", "data": [3]},
    ],
)
def test_kserve_refuses_other_tensors(service: Running, tensor: dict[str, Any]) -> None:
    answer = service.client.post("/v2/models/desk/infer", json={"inputs": [tensor]})
    assert (answer.status_code, answer.json()["code"]) == (422, "request-invalid")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A hub of two tenants that have learned, and one that has not; with keys."""
    place = tmp_path_factory.mktemp("hubs") / "support"
    with Hub.open(place) as hub:
        for tenant, label in (("a", "yes"), ("b", "no")):
            hub.add(tenant)
            hub.learn(tenant, [Example(id=f"{k}", text=f"text {k}", target=label) for k in range(4)])
        hub.add("empty")
    with running(place) as service:
        yield service


def test_tenants_are_named_by_the_path_or_the_query(hub: Running) -> None:
    for tenant, label in (("a", "yes"), ("b", "no")):
        by_path = InferenceClient(model=f"{hub.url}/tenants/{tenant}", token="none")
        by_query = InferenceClient(model=f"{hub.url}/?tenant={tenant}", token="none")
        assert by_path.text_classification("text")[0].label == label
        assert by_query.text_classification("text")[0].label == label
        assert hub.post(f"/tenants/{tenant}/predict", inputs="text")[0]["label"] == label
        assert hub.get(f"/tenants/{tenant}/info")["model_id"] == tenant
        assert hub.post("/v1/classify", model=tenant, input="text")["data"][0]["label"] == label
    assert [one["id"] for one in hub.get("/v1/models")["data"]] == ["a", "b", "empty"]


def test_who_does_not_say_which_tenant_is_told_to(hub: Running) -> None:
    answer = hub.client.post("/predict", json={"inputs": "a"})
    assert (answer.status_code, answer.json()["code"]) == (422, "tenant-missing")


def test_a_tenant_that_has_learned_nothing_says_so(hub: Running) -> None:
    answer = hub.client.post("/tenants/empty/predict", json={"inputs": "a"})
    assert (answer.status_code, answer.json()["code"]) == (409, "nothing-learned")
    assert hub.get("/tenants/empty/info")["model_type"]["classifier"]["label2id"] == {}
    assert len(hub.post("/tenants/empty/embed", inputs="a")[0]) == 384


def test_a_key_is_for_its_tenant(hub: Running) -> None:
    key = add_key(hub.place / "service", "one", "predict", tenants=["a"])
    try:
        client = InferenceClient(model=hub.url, token=key)
        assert client.text_classification("text")[0].label == "yes"
        with pytest.raises(HfHubHTTPError, match="403"):
            InferenceClient(model=f"{hub.url}/tenants/b", token=key).text_classification("text")
        with pytest.raises(HfHubHTTPError, match="401"):
            InferenceClient(model=hub.url, token="el_wrong").text_classification("text")
        told = hub.client.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).json()
        assert [one["id"] for one in told["data"]] == ["a"]
    finally:
        (hub.place / "service" / "keys.json").unlink()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
