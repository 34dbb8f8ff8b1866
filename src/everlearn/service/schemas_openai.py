"""What clients of OpenAI's protocol send, and what they are answered."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from everlearn.service.asked_body import AskedBody
from everlearn.service.schemas import Name

__all__ = [
    "ChatChoice",
    "ChatCompletion",
    "ChatLogprobs",
    "ChatMessage",
    "ChatRequest",
    "Completion",
    "CompletionChoice",
    "CompletionLogprobs",
    "CompletionRequest",
    "Embedding",
    "EmbeddingRequest",
    "Embeddings",
    "ErrorDocument",
    "Message",
    "Model",
    "Models",
    "TokenLogprob",
    "TopLogprob",
    "Usage",
    "WritingRequest",
]


class _Asked(AskedBody, BaseModel):
    """What is not known is passed over, as the protocol has it: it grows all the time."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, use_attribute_docstrings=True)


class _Told(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class ErrorDetail(_Told):
    """What went wrong."""

    message: str
    type: str
    code: str
    """The kind of problem, as in problem documents."""
    param: str | None = None


class ErrorDocument(_Told):
    """An error in OpenAI's shape."""

    error: ErrorDetail


class Model(_Told):
    """A tenant, or a version of it (``tenant@version``)."""

    id: str
    object: Literal["model"] = "model"
    created: int
    """When, in seconds since 1970."""
    owned_by: Literal["everlearn"] = "everlearn"


class Models(_Told):
    """The tenants that the key is for."""

    object: Literal["list"] = "list"
    data: list[Model]


class Usage(_Told):
    """Tokens that were read and written."""

    prompt_tokens: int
    completion_tokens: int = 0
    total_tokens: int


class EmbeddingRequest(_Asked):
    """Texts to make vectors of."""

    model: Name
    input: str | list[str] | list[int] | list[list[int]]
    """A text, or several; tokens are refused."""
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)
    """Only what the encoder has."""


class Embedding(_Told):
    """The vector of a text, of length 1."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Embeddings(_Told):
    """Vectors of texts, in their order."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class StreamOptions(_Asked):
    """How a stream is told."""

    include_usage: bool | None = False
    """Say at the end how many tokens were read and written."""


class WritingRequest(_Asked):
    """What a chat and the continuation of a text have in common.

    What a model that writes draws by is of no meaning to a classifier: it always says the same.
    """

    model: Name
    """The tenant, or ``tenant@version``."""
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    temperature: float | None = Field(None, ge=0, le=2)
    """Default: 1; of encoder-decoders 0, always the most probable token."""
    top_p: float | None = Field(None, ge=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    n: int | None = 1
    """Only 1."""
    presence_penalty: float | None = 0
    """Only 0."""
    frequency_penalty: float | None = 0
    """Only 0."""
    logit_bias: dict[str, Any] | None = None
    """Only none."""


class Message(_Asked):
    """A message of a chat."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None
    """A text, or parts of it (``{"type": "text", "text": …}``); nothing else is read."""


class ChatRequest(WritingRequest):
    """A chat to answer. A classifier's answer to the last message of the user is its label."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1, le=1_000_000)
    logprobs: bool | None = False
    """Only of classifiers: tell log-probabilities."""
    top_logprobs: int | None = Field(None, ge=0, le=20)
    """Of so many labels."""
    tools: list[dict[str, Any]] | None = None
    """Only none."""
    functions: list[dict[str, Any]] | None = None
    """Only none."""
    response_format: dict[str, Any] | None = None
    """Only text."""


class CompletionRequest(WritingRequest):
    """Texts to continue. A classifier continues each with its label."""

    prompt: str | list[str] | list[int] | list[list[int]]
    """A text, or several; tokens are refused."""
    logprobs: int | None = Field(None, ge=0, le=20)
    """Only of classifiers: tell log-probabilities of so many labels."""
    echo: bool | None = False
    """Only false."""
    suffix: str | None = None
    """Only none."""
    best_of: int | None = 1
    """Only 1."""


class TopLogprob(_Told):
    """A label and its log-probability."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    """The label that was answered, and others."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(_Told):
    """Log-probabilities of labels."""

    content: list[TokenLogprob]
    refusal: None = None


class ChatMessage(_Told):
    """What is answered."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(_Told):
    """An answer."""

    index: int = 0
    message: ChatMessage
    logprobs: ChatLogprobs | None = None
    finish_reason: Literal["stop", "length"]


class ChatCompletion(_Told):
    """The answer to a chat."""

    id: str
    """Of a classifier the prediction's id, which feedback can name."""
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    system_fingerprint: str | None = None
    """Version and step of what answered."""


class CompletionLogprobs(_Told):
    """Log-probabilities of labels."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(_Told):
    """How a text goes on."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None = None
    finish_reason: Literal["stop", "length"]
    prediction_id: str | None = None
    """Of a classifier: which feedback can name."""


class Completion(_Told):
    """How texts go on."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage
    system_fingerprint: str | None = None
    """Version and step of what answered."""
