"""What the page of the API's description shows as bodies, where the schema alone tells too little."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["BODIES", "VALUES"]

_TEXT = "where do I find my invoice?"
_LINES = (
    '{"text": "the parrot ate my receipt", "target": "parrots"}\n{"text": "no receipt", "target": "receipts"}'
)
_TENSORS = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [_TEXT]}]}

BODIES: Mapping[tuple[str, str], Any] = {
    ("post", "/v1/predict"): {"text": _TEXT, "top": 2},
    ("post", "/v1/learn"): {"id": "a1", "text": "the parrot ate my receipt", "target": "parrots"},
    ("post", "/v1/feedback"): {"id": "p-1", "target": "parrots"},
    ("post", "/v1/correct"): {"targets": {"a1": "receipts"}},
    ("post", "/v1/forget"): {"ids": ["a1"]},
    ("post", "/v1/rollback"): {"version": 1},
    ("post", "/v1/review"): {"accept": ["a1"]},
    ("post", "/v1/explain"): {"text": _TEXT},
    ("post", "/v1/labels/rename"): {"from": "parrots", "to": "birds"},
    ("post", "/v1/jobs"): _LINES,
    ("post", "/v1/tenants"): {"name": "acme"},
    ("patch", "/v1/tenants/{name}"): {"max_examples": 10_000},
    ("post", "/v1/session"): {"key": "KEY"},
    ("post", "/v1/embeddings"): {"model": "desk", "input": _TEXT},
    ("post", "/v1/chat/completions"): {"model": "desk", "messages": [{"role": "user", "content": _TEXT}]},
    ("post", "/v1/completions"): {"model": "desk", "prompt": _TEXT},
    ("post", "/v1/classify"): {"input": _TEXT},
    ("post", "/classify"): {"input": _TEXT},
    ("post", "/predict"): {"inputs": _TEXT},
    ("post", "/"): {"inputs": _TEXT},
    ("post", "/embed"): {"inputs": _TEXT},
    ("post", "/tokenize"): {"inputs": _TEXT},
    ("post", "/invocations"): {"inputs": [_TEXT]},
    ("post", "/setup"): {
        "schema": '<View><Text name="text" value="$text"/><Choices name="label" toName="text">'
        '<Choice value="parrots"/></Choices></View>'
    },
    ("post", "/webhook"): {"action": "PROJECT_UPDATED"},
    ("post", "/v2/models/{model}/infer"): _TENSORS,
    ("post", "/v2/models/{model}/versions/{version}/infer"): _TENSORS,
}
"""By method and path; a text is sent as it is. A test asks the service with each."""

VALUES: Mapping[str, str] = {
    "id": "a1",
    "name": "acme",
    "model": "desk",
    "version": "1",
    "first": "1",
    "second": "2",
    "code": "example-unknown",
}
"""Of parameters that are required, by name."""
