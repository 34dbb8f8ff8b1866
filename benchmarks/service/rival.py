"""What a team would write in an hour: FastAPI, a sentence encoder, a logistic regression fitted at the start.

It is served as its authors would: ``uvicorn --workers 2``. Labels that come later wait for the next start.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.service.started import free_port

__all__ = ["rival_command", "write_vectors"]


def rival_command(workers: int) -> tuple[list[str], int]:
    """Its command line, and its port."""
    port = free_port()
    return (
        [
            sys.executable,
            "-m",
            "uvicorn",
            "benchmarks.service.rival:make_app",
            "--factory",
            "--port",
            str(port),
            "--workers",
            str(workers),
            "--log-level",
            "warning",
        ],
        port,
    )


def write_vectors(path: Path, texts: list[str], labels: list[str]) -> Path:
    """Embeddings of what it is fitted on, so that each worker need not make them again."""
    from sentence_transformers import SentenceTransformer

    from everlearn.models.storage.folder import find_model_folder

    encoder = SentenceTransformer(str(find_model_folder("minilm")[1]))
    np.save(path, encoder.encode(texts, batch_size=256))
    path.with_suffix(".json").write_text(json.dumps(labels), encoding="utf-8")
    return path


def make_app() -> Any:
    """The application."""
    import torch
    from fastapi import FastAPI
    from pydantic import BaseModel
    from sentence_transformers import SentenceTransformer
    from sklearn.linear_model import LogisticRegression

    from everlearn.models.storage.folder import find_model_folder

    torch.set_num_threads(1)  # two workers on two cores
    vectors = Path(os.environ["RIVAL_VECTORS"])
    encoder = SentenceTransformer(str(find_model_folder("minilm")[1]))
    labels = json.loads(vectors.with_suffix(".json").read_text(encoding="utf-8"))
    classifier = LogisticRegression(max_iter=200, C=10).fit(np.load(vectors), labels)

    class Asked(BaseModel):
        text: str

    app = FastAPI()

    def predict(asked: Asked) -> dict[str, Any]:
        probabilities = classifier.predict_proba(encoder.encode([asked.text]))[0]
        best = int(probabilities.argmax())
        return {"label": str(classifier.classes_[best]), "probability": float(probabilities[best])}

    predict.__annotations__["asked"] = Asked
    app.post("/v1/predict")(predict)

    @app.get("/readyz")
    def ready() -> dict[str, str]:
        return {"status": "ready"}

    return app
