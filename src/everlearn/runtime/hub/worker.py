"""A prediction process of a hub: ``python -m everlearn.runtime.hub.worker HUB [BUDGET_BYTES]``.

It answers frames from standard input on standard output until that is closed. One thread computes, which
waits for nobody: where there are several such processes, each has a core.
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
from everlearn.process_memory import collect_seldom, give_large_blocks_back
from everlearn.runtime.hub.frames import predictions_to, read_frame, write_frame
from everlearn.runtime.hub.reader import HubReader

__all__: list[str] = []


def _main() -> None:
    # Whatever a library prints is not to be taken for an answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    torch.set_num_threads(1)
    give_large_blocks_back()
    collect_seldom()
    budget = int(sys.argv[2]) if len(sys.argv) > 2 else None
    try:
        reader = HubReader(Path(sys.argv[1]), budget)
        reader.prepare()
    except EverlearnError as error:
        write_frame(answers, {"error": type(error).__name__, "message": str(error)})
        return
    gc.freeze()  # what was loaded stays: walking it would now and then make an answer wait
    write_frame(answers, {"ready": True})
    while (frame := read_frame(sys.stdin.buffer)) is not None:
        try:
            predictions = reader.predict_published([(tenant, text) for tenant, text in frame[0]["asked"]])
        except EverlearnError as error:
            write_frame(answers, {"error": type(error).__name__, "message": str(error)})
            continue
        said, probabilities = predictions_to(predictions)
        write_frame(answers, {"said": said}, probabilities)


if __name__ == "__main__":
    _main()
