"""A service's prediction process.

It answers messages until there will be no more:

    {"op": "answer", "asked": [[tenant, text, top], …]}   →  {"said": […], "by": {tenant: {version, step}}}
    {"op": "map", "tenants": […]}                         →  {}
    {"op": "verify", "tenant": …, "parts": [sha256, …]}   →  {}
    {"op": "drop", "tenant": …}                           →  {}
    {"op": "about", "tenants": […]}                       →  {"about": {tenant: {task, created}}}
    {"op": "embed", "tenant": …, "texts": […], "normalize": …}  →  {"vectors": […], "tokens": […]}
    {"op": "count", "tenant": …, "texts": […]}            →  {"tokens": […]}
    {"op": "tokenize", "tenant": …, "texts": […], "special": …}  →  {"tokens": [[{id, text, …}, …], …]}
    {"op": "encoder", "tenant": …}                        →  {"model": …, "size": …, …}

One thread computes, which waits for nobody: where there are several such processes, each has a core.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from everlearn.errors import EverlearnError
from everlearn.message_frames import frame_of, read_message
from everlearn.runtime.serving.embedding import encoder_told, num_tokens, tokens_told, vectors_told
from everlearn.runtime.serving.published import PublishedPredictions
from everlearn.runtime.serving.told import error_told
from everlearn.runtime.threads import use_threads
from everlearn.types import Json

__all__ = ["run"]


def _answer(place: PublishedPredictions, message: Json) -> Json:
    match message["op"]:
        case "answer":
            return place.answers([(tenant, text, top) for tenant, text, top in message["asked"]])
        case "map":
            place.map(message["tenants"])
            return {}
        case "verify":
            place.verify_parts(message["tenant"], message["parts"])
            return {}
        case "drop":
            place.drop(message["tenant"])
            return {}
        case "about":
            return place.about(message["tenants"])
        case "embed":
            coder = place.coder(message["tenant"])
            return vectors_told(coder, message["texts"], normalize=message["normalize"])
        case "count":
            return {"tokens": num_tokens(place.coder(message["tenant"]), message["texts"])}
        case "tokenize":
            return tokens_told(place.coder(message["tenant"]), message["texts"], special=message["special"])
        case "encoder":
            return encoder_told(place.coder(message["tenant"]))
    raise ValueError(f"a prediction process knows no {message['op']!r}")


def run(arguments: Sequence[str], messages: IO[bytes], answers: IO[bytes]) -> None:
    """Be the process.

    Args:
        arguments: The place; and bytes of heads that may stay mapped, if there is a bound.
        messages: From the service.
        answers: To it.
    """

    def tell(message: Json) -> None:
        with suppress(BrokenPipeError):  # the service has gone; the end of its messages says so, too
            answers.write(frame_of(message))
            answers.flush()

    use_threads(1)
    try:
        place = PublishedPredictions(Path(arguments[0]), int(arguments[1]) if len(arguments) > 1 else None)
        place.prepare()
    except EverlearnError as error:
        tell(error_told(error))
        return
    gc.freeze()  # what was loaded stays: walking it would now and then make an answer wait
    tell({"ready": True})
    while (message := read_message(messages)) is not None:
        try:
            tell(_answer(place, message))
        except EverlearnError as error:
            tell(error_told(error))
