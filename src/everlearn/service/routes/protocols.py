"""The protocols that other tools speak, put into the application."""

from __future__ import annotations

from fastapi import FastAPI

from everlearn.service.routes import (
    classify,
    hugging_face,
    kserve,
    label_studio,
    mlflow,
    openai,
    predict_texts,
)
from everlearn.service.routes.asked import BY_PATH

__all__ = ["include_protocols"]

_OF_A_TENANT = (classify, predict_texts, hugging_face, label_studio, mlflow)
"""Whose requests do not say which tenant is meant."""


def include_protocols(app: FastAPI) -> None:
    """Answer to clients of other tools; those that do not speak of tenants may name one by the path."""
    for named in (openai, kserve):
        app.include_router(named.router)
    for routes in _OF_A_TENANT:
        app.include_router(routes.router)
        app.include_router(routes.router, prefix=BY_PATH, include_in_schema=False)
    app.include_router(hugging_face.at_the_path, prefix=BY_PATH, include_in_schema=False)
