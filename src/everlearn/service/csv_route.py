"""Routes that take a table as CSV, too: what comes as CSV is read as the JSON that says the same."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Coroutine, Mapping
from email.message import Message
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.types import Message as AsgiMessage

from everlearn.service.access import service_of
from everlearn.service.problems import Problem

__all__ = ["CSV", "CsvRoute", "table_in"]

CSV = "text/csv"
_ENCODINGS = ("utf-8", "utf8", "us-ascii")

# Bodies are bounded, and so are texts; csv's own bound is lower than what a text may have.
csv.field_size_limit(2**31 - 1)


class CsvRoute(APIRoute):
    """A route whose body may be CSV with a header line; it is passed on as ``dataframe_split``."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See APIRoute."""
        handle = super().get_route_handler()

        async def handle_either(request: Request) -> Response:
            if not request.headers.get("content-type", "").lower().startswith(CSV):
                return await handle(request)
            _checked_type(request.headers["content-type"])
            try:
                body = await request.body()
            except ClientDisconnect:
                raise Problem("body-invalid", "it was cut off") from None
            table = table_in(body, service_of(request).config.max_texts)
            return await handle(_as_json(request, {"dataframe_split": table}))

        return handle_either


def table_in(body: bytes, most_rows: int) -> dict[str, Any]:
    """A table of CSV in UTF-8, by ``columns`` and ``data``; lines that are empty are passed over.

    >>> table_in(b'text,n\\r\\n"hello, you",1\\r\\n', 10)
    {'columns': ['text', 'n'], 'data': [['hello, you', '1']]}

    Args:
        body: The table; its first line names the columns.
        most_rows: Rows that it may have.

    Raises:
        Problem: It is none, or has more rows.
    """
    try:
        lines = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        columns = next((line for line in lines if line), [])
        data: list[list[str]] = []
        for cells in filter(None, lines):
            if len(cells) != len(columns):
                raise Problem(
                    "request-invalid",
                    f"line {lines.line_num} has {len(cells)} cells, and there are {len(columns)} columns",
                )
            if len(data) == most_rows:
                raise Problem("too-many-texts", f"there are more than {most_rows:,} rows")
            data.append(cells)
    except UnicodeDecodeError:
        raise Problem("body-invalid", "it is not UTF-8") from None
    except csv.Error as error:
        raise Problem("body-invalid", f"it is no CSV: {error}") from None
    if len(set(columns)) < len(columns):
        raise Problem("request-invalid", "two columns have the same name")
    return {"columns": columns, "data": data}


def _checked_type(content_type: str) -> None:
    told = Message()
    told["content-type"] = content_type
    if told.get_content_type() != CSV:
        raise Problem("body-type", f"a table is sent as {CSV}, or as JSON")
    charset = str(told.get_param("charset", "utf-8")).lower()
    if charset not in _ENCODINGS:
        raise Problem("body-type", f"a table is sent in UTF-8, not in {charset}")


def _as_json(request: Request, body: Mapping[str, Any]) -> Request:
    """The same request, with this body."""
    headers = [(name, value) for name, value in request.scope["headers"] if name != b"content-type"]
    scope = {**request.scope, "headers": [*headers, (b"content-type", b"application/json")]}
    sent = False

    async def receive() -> AsgiMessage:
        nonlocal sent
        if sent:
            return await request.receive()
        sent = True
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    return Request(scope, receive)
