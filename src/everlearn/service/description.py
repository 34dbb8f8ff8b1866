"""The API's description (OpenAPI), with what FastAPI does not say by itself."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

__all__ = ["describe_problems"]

_PROBLEMS = ("ProblemDocument", "InferenceProblem")


def describe_problems(app: FastAPI) -> None:
    """Let an application say what each operation does, and of which media type its problem documents are.

    An operation's summary is the first sentence of its description.
    """
    described = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            told = described()
            for path in told["paths"].values():
                for operation in path.values():
                    if said := operation.get("description", ""):
                        operation["summary"] = _first_sentence(said)
                    for answer in operation["responses"].values():
                        _rename(answer.get("content", {}))
        schema = app.openapi_schema
        assert schema is not None, "it has just been made"
        return schema

    app.openapi = openapi  # type: ignore[method-assign]


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].removesuffix(".")


def _rename(content: dict[str, Any]) -> None:
    for media_type in [name for name, told in content.items() if _is_problem(told.get("schema", {}))]:
        content["application/problem+json"] = content.pop(media_type)


def _is_problem(schema: dict[str, Any]) -> bool:
    return str(schema.get("$ref", "")).endswith(_PROBLEMS)
