"""A service's prediction process: ``python -m everlearn.runtime.serving.worker PLACE [BUDGET_BYTES]``.

It answers messages from standard input on standard output until that is closed:

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
import os
import sys
from pathlib import Path

# OpenMP and the tokenizer read these once, when they are loaded.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", RAYON_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")

import torch

from everlearn.errors import EverlearnError
from everlearn.log_lines import prepare_logs_as_told
from everlearn.pipe_frames import frame_of, read_message
from everlearn.process_memory import collect_seldom, give_large_blocks_back
from everlearn.runtime.serving.embedding import encoder_told, num_tokens, tokens_told, vectors_told
from everlearn.runtime.serving.published import PublishedPredictions
from everlearn.runtime.serving.told import error_told
from everlearn.types import Json

__all__: list[str] = []


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


def _main() -> None:
    # Whatever a library prints is not to be taken for an answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def tell(message: Json) -> None:
        answers.write(frame_of(message))
        answers.flush()

    prepare_logs_as_told(os.environ)
    torch.set_num_threads(1)
    give_large_blocks_back()
    collect_seldom()
    budget = int(sys.argv[2]) if len(sys.argv) > 2 else None
    try:
        place = PublishedPredictions(Path(sys.argv[1]), budget)
        place.prepare()
    except EverlearnError as error:
        tell(error_told(error))
        return
    gc.freeze()  # what was loaded stays: walking it would now and then make an answer wait
    tell({"ready": True})
    while (message := read_message(sys.stdin.buffer)) is not None:
        try:
            tell(_answer(place, message))
        except EverlearnError as error:
            tell(error_told(error))


if __name__ == "__main__":
    _main()
