"""The protocols that other tools speak, put into the application."""

from __future__ import annotations

from fastapi import FastAPI

from everlearn.service.routes import openai

__all__ = ["include_protocols"]


def include_protocols(app: FastAPI) -> None:
    """Answer to clients of other tools, too."""
    app.include_router(openai.router)
