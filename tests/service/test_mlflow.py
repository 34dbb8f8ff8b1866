"""MLflow's own client asks a service as if it were a scoring server."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.service.running import Running, demo_rows

TEXTS = [row["text"] for row in demo_rows(3, start=400)]


@pytest.fixture(scope="module")
def client(service: Running) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        warnings.simplefilter("ignore")  # the library's own imports warn
        from mlflow.pyfunc.scoring_server import client as scoring

        host, port = service.url.removeprefix("http://").split(":")
        untyped: Any = scoring  # its functions have no annotations
        yield untyped.ScoringServerClient(host, port)


@pytest.fixture(scope="module")
def labels(service: Running) -> list[str]:
    return [service.predict(text)["label"] for text in TEXTS]


def test_the_server_is_there(client: Any) -> None:
    from everlearn.version import __version__

    client.wait_server_ready(timeout=10)
    assert client.get_version() == __version__


def test_a_table_is_answered_by_a_table(service: Running, client: Any, labels: list[str]) -> None:
    table = pd.DataFrame({"number": [1, 2, 3], "text": TEXTS})
    told = client.invoke(table).get_predictions()
    assert list(told["label"]) == labels
    assert told["probability"].between(0, 1).all()
    assert service.post("/v1/feedback", id=told["id"][0], right=False)["status"] == "noted"


@pytest.mark.parametrize(
    "given", [TEXTS, np.array(TEXTS), np.array(TEXTS)[:, None], [{"text": text} for text in TEXTS]]
)
def test_other_shapes_of_the_client(client: Any, labels: list[str], given: Any) -> None:
    assert [one["label"] for one in client.invoke(given)["predictions"]] == labels


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"text": TEXTS}).to_csv(index=False),
        pd.DataFrame({"number": [1, 2, 3], "text": TEXTS}).to_csv(index=False, lineterminator="\r\n"),
        pd.DataFrame({"body": TEXTS}).to_csv(index=False, quoting=1) + "\n\n",
    ],
)
@pytest.mark.parametrize("kind", ["text/csv", "text/csv; charset=UTF-8"])
def test_a_table_as_csv(service: Running, labels: list[str], table: str, kind: str) -> None:
    answer = service.client.post(
        "/invocations", content=table.encode("utf-8-sig"), headers={"Content-Type": kind}
    )
    assert answer.status_code == 200, answer.text
    assert [one["label"] for one in answer.json()["predictions"]] == labels


def test_a_text_of_csv_may_have_lines_commas_and_quotes(service: Running) -> None:
    text = 'where, they ask, is\nmy "invoice"? ' + "really " * 13_000
    told = service.client.post(
        "/invocations",
        content=pd.DataFrame({"text": [text]}).to_csv(index=False).encode(),
        headers={"Content-Type": "text/csv"},
    ).json()["predictions"]
    (asked,) = service.post("/invocations", inputs=[text])["predictions"]
    assert [one["label"] for one in told] == [asked["label"]]
    assert told[0]["probability"] == asked["probability"]


@pytest.mark.parametrize(
    ("sent", "kind", "status", "code"),
    [
        (b"", "text/csv", 422, "request-invalid"),
        (b"text\n", "text/csv", 422, "request-invalid"),
        (b"a,b\nc,d\n", "text/csv", 422, "request-invalid"),
        (b"text,text\nc,d\n", "text/csv", 422, "request-invalid"),
        (b"text,n\na\n", "text/csv", 422, "request-invalid"),
        (b'text\n"a"b\n', "text/csv", 400, "body-invalid"),
        (b'text\n"a\n', "text/csv", 400, "body-invalid"),
        (b"text\n\xff\n", "text/csv", 400, "body-invalid"),
        (b"text\n" + b"a\n" * 257, "text/csv", 422, "too-many-texts"),
        (b"text\na\n", "text/csv; charset=utf-16", 415, "body-type"),
        (b"text\na\n", "text/csvx", 415, "body-type"),
    ],
)
def test_what_is_wrong_with_csv_is_told(
    service: Running, sent: bytes, kind: str, status: int, code: str
) -> None:
    answer = service.client.post("/invocations", content=sent, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["body"], "data": [[text] for text in TEXTS]}},
        {"dataframe_records": [{"text": text, "id": 7} for text in TEXTS]},
        {"instances": TEXTS},
        {"instances": [{"text": text} for text in TEXTS]},
        {"instances": {"text": TEXTS, "other": [1, 2, 3]}},
        {"inputs": {"text": TEXTS}},
    ],
)
def test_documented_shapes(service: Running, labels: list[str], body: dict[str, Any]) -> None:
    assert [one["label"] for one in service.post("/invocations", **body)["predictions"]] == labels


def test_parameters_name_a_version_and_more_labels(service: Running, client: Any) -> None:
    (version,) = service.get("/v1/versions")["versions"]
    told = client.invoke(TEXTS[:1], params={"model": f"desk@{version['version']}", "top": 3})["predictions"]
    own = service.predict(TEXTS[0], version=version["version"], top=3)
    assert told[0]["label"] == own["label"]
    assert told[0]["top"] == {one["label"]: one["probability"] for one in own["top"]}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "request-invalid"),
        ({"inputs": []}, 422, "request-invalid"),
        ({"inputs": ["a"], "instances": ["a"]}, 422, "request-invalid"),
        ({"inputs": [7]}, 422, "request-invalid"),
        ({"dataframe_records": [{"a": "x", "b": "y"}]}, 422, "request-invalid"),
        ({"dataframe_split": {"columns": ["text"], "data": [[]]}}, 422, "request-invalid"),
        ({"inputs": ["a"], "params": {"model": "nobody"}}, 404, "tenant-unknown"),
        ({"inputs": ["a"], "params": {"top": 0}}, 422, "request-invalid"),
        ({"inputs": ["  "]}, 422, "input-unusable"),
    ],
)
def test_what_is_wrong_is_a_problem_document(
    service: Running, body: dict[str, Any], status: int, code: str
) -> None:
    answer = service.client.post("/invocations", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def test_the_client_hears_what_is_wrong(client: Any) -> None:
    with pytest.raises(Exception, match="text 1 is empty"):
        client.invoke(["  "])
