"""What clients of vLLM, Text Embeddings Inference and Hugging Face endpoints send and are answered."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from everlearn.service.asked_body import AskedBody
from everlearn.service.problems import ProblemDocument
from everlearn.service.schemas import Name
from everlearn.service.schemas_openai import Usage

__all__ = [
    "ClassifiedText",
    "ClassifyRequest",
    "ClassifyResponse",
    "EmbedIn",
    "EndpointIn",
    "InferenceProblem",
    "Info",
    "PredictIn",
    "ScoredLabel",
    "Token",
    "TokenizeIn",
    "WrittenText",
]


class _Asked(AskedBody, BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, use_attribute_docstrings=True)


class _Told(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class ClassifyRequest(_Asked):
    """Texts to classify."""

    model: Name | None = None
    """The tenant, or ``tenant@version``; may be left out where there is one only."""
    input: str | list[str] | list[int] | list[list[int]]
    """A text, or several; tokens are refused."""


class ClassifiedText(_Told):
    """What is said of a text."""

    index: int
    label: str
    probs: list[float]
    """Of all labels, in the order of their names, which /info tells."""
    num_classes: int
    id: str | None
    """Of the prediction, which feedback can name."""


class ClassifyResponse(_Told):
    """What is said of texts, in their order."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[ClassifiedText]
    usage: Usage


class _Truncated(_Asked):
    truncate: bool | None = None
    """Texts are cut to what the encoder reads, in any case."""
    truncation_direction: Literal["right", "left", "Right", "Left"] | None = None
    """Only right."""


class PredictIn(_Truncated):
    """Texts to classify, as Text Embeddings Inference is asked."""

    inputs: str | list[str] | list[list[str]]
    """A text, or a batch of lists of one; pairs of texts are refused."""
    raw_scores: bool = False
    """Scores before they are made probabilities."""


class EmbedIn(_Truncated):
    """Texts to make vectors of."""

    inputs: str | list[str] | list[int] | list[list[int]]
    """A text, or several; tokens are refused."""
    normalize: bool | None = True
    """Whether vectors have length 1."""
    prompt_name: str | None = None
    """Only none."""
    dimensions: int | None = Field(None, ge=1)
    """Only what the encoder has."""


class TokenizeIn(_Asked):
    """Texts to be divided into tokens."""

    inputs: str | list[str]
    """A text, or several. They are cut to what the encoder reads."""
    add_special_tokens: bool = True
    """Whether tokens that mark beginning and end are told, too."""
    prompt_name: str | None = None
    """Only none."""


class EndpointIn(_Asked):
    """What an endpoint of Hugging Face is asked."""

    inputs: str | list[str]
    """A text, or several."""
    parameters: EndpointParameters | None = None
    stream: bool | None = False
    """Only false: /v1/completions streams."""


class EndpointParameters(_Asked):
    """How it is to be answered."""

    top_k: int | None = Field(None, ge=1, le=1_000_000)
    """How many labels are told; default: all."""
    function_to_apply: Literal["softmax", "sigmoid", "none"] | None = None
    """What scores are told of labels; none: before they are made probabilities."""
    max_new_tokens: int | None = Field(None, ge=1, le=1_000_000)
    temperature: float | None = Field(None, ge=0, le=100)
    top_p: float | None = Field(None, gt=0, le=1)
    do_sample: bool | None = None
    seed: int | None = Field(None, ge=0, lt=2**63)
    stop: list[str] | None = None
    return_full_text: bool | None = False


class ScoredLabel(_Told):
    """A label, and its probability or raw score."""

    label: str
    score: float


class Token(_Told):
    """A piece of a text, as the encoder reads it."""

    id: int
    text: str
    special: bool
    """Whether it marks a beginning or an end."""
    start: int | None
    """First character of the text; null where it stands for none."""
    stop: int | None
    """Behind the last one."""


class WrittenText(_Told):
    """What a model has written."""

    generated_text: str
    translation_text: str | None = None
    """The same, of an encoder-decoder."""


class ClassifierLabels(_Told):
    """Labels by number, in the order of their names."""

    id2label: dict[str, str]
    label2id: dict[str, int]


class ModelType(_Told):
    """What the model is."""

    classifier: ClassifierLabels


class Info(_Told):
    """What is served, and its limits."""

    model_config = ConfigDict(protected_namespaces=())

    model_id: str
    """The tenant."""
    model_sha: str | None
    """SHA-256 of what it has learned; null where it has not been computed yet."""
    model_dtype: str
    model_type: ModelType
    max_concurrent_requests: int
    max_input_length: int
    """Tokens."""
    max_batch_tokens: int
    max_batch_requests: int
    max_client_batch_size: int
    auto_truncate: bool = True
    tokenization_workers: int
    version: str
    """Of everlearn."""
    sha: str | None = None
    docker_label: str | None = None


class InferenceProblem(ProblemDocument):
    """A problem document with what clients of Text Embeddings Inference and Hugging Face look for."""

    error: str
    error_type: Literal["Unhealthy", "Backend", "Overloaded", "Validation"]
