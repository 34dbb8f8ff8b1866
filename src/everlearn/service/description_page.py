"""The API's description as a page: plain HTML, made here, that loads nothing but the dashboard's styles."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from everlearn.service.description_examples import BODIES, VALUES
from everlearn.service.description_fields import Schema, example_of, objects_in, resolved, words_of

__all__ = ["PAGE_POLICY", "description_page"]

PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Of the page: nothing of it runs, and nothing of it comes from elsewhere."""

_DEEPEST = 6
_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} {version}: the API</title>
<link rel="icon" href="/dashboard/icon.svg">
<link rel="stylesheet" href="/dashboard/style.css">
<link rel="stylesheet" href="/dashboard/description.css">
</head>
<body class="api">
<a class="skip" href="#operations">Skip to the operations</a>
<header>
<h1>{title} <span class="of">{version}: the API</span></h1>
{about}
<p>The same for programs: <a href="/openapi.json">/openapi.json</a>. The page of this service:
<a href="/">the dashboard</a>. Where the service has keys, each request brings one: add
<code>-H "Authorization: Bearer $KEY"</code> to the lines below.</p>
</header>
"""


def description_page(told: Mapping[str, Any], url: str) -> str:
    """The page.

    Args:
        told: The API's description (OpenAPI).
        url: Where the service is asked, as the ready lines have it.
    """
    models: Mapping[str, Schema] = told.get("components", {}).get("schemas", {})
    by_tag: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {}
    for path, operations in told["paths"].items():
        for method, operation in operations.items():
            by_tag.setdefault(operation.get("tags", ["other"])[0], []).append((method, path, operation))
    parts = [
        _HEAD.format(
            title=escape(told["info"]["title"]),
            version=escape(told["info"]["version"]),
            about=_paragraphs(told["info"].get("description", "")),
        ),
        '<nav aria-label="Operations">',
    ]
    for tag, operations in by_tag.items():
        parts.append(f"<details><summary>{escape(tag)} ({len(operations)})</summary><ul>")
        parts += [
            f'<li><a href="#{_anchor(method, path)}">{_name_of(method, path)}</a></li>'
            for method, path, _ in operations
        ]
        parts.append("</ul></details>")
    parts.append('</nav>\n<main id="operations">')
    for tag, operations in by_tag.items():
        parts.append(f"<section><h2>{escape(tag)}</h2>")
        for method, path, operation in operations:
            parts += _operation(method, path, operation, models, url)
        parts.append("</section>")
    parts.append("</main>\n</body>\n</html>\n")
    return "\n".join(parts)


def _operation(
    method: str, path: str, operation: Mapping[str, Any], models: Mapping[str, Schema], url: str
) -> Iterator[str]:
    yield f'<article id="{_anchor(method, path)}"><h3>{_name_of(method, path)}</h3>'
    yield _paragraphs(operation.get("description") or operation.get("summary", ""))
    if parameters := operation.get("parameters"):
        yield '<h4>Parameters</h4><ul class="fields">'
        for one in parameters:
            named = {"description": one.get("description"), **one["schema"]}
            is_needed, where = one.get("required", False), one["in"]
            yield _field(one["name"], named, models, is_needed=is_needed, where=where)
        yield "</ul>"
    content: Mapping[str, Any] = operation.get("requestBody", {}).get("content", {})
    by_schema: dict[str, list[str]] = {}
    for media_type, told in content.items():
        by_schema.setdefault(json.dumps(told.get("schema", {})), []).append(media_type)
    for schema, media_types in by_schema.items():
        kinds = " or ".join(f"<code>{escape(one)}</code>" for one in media_types)
        yield f"<h4>Body: {kinds}</h4>"
        yield from _value(json.loads(schema), models)
    yield "<h4>Answers</h4>"
    for status, answer in operation["responses"].items():
        yield from _answer(status, answer, models)
    yield f"<h4>Ask</h4><pre><code>{escape(_curl(method, path, operation, models, url))}</code></pre>"
    yield "</article>"


def _answer(status: str, answer: Mapping[str, Any], models: Mapping[str, Schema]) -> Iterator[str]:
    content: Mapping[str, Any] = answer.get("content", {})
    kinds = ", ".join(f"<code>{escape(one)}</code>" for one in content)
    head = f"<strong>{escape(status)}</strong> {escape(answer.get('description', ''))}"
    head += f": {kinds}" if kinds else ""
    told = [one["schema"] for one in content.values() if one.get("schema")]
    if not any(any(objects_in(schema, models)) for schema in told):
        words = "".join(f" {escape(words_of(schema, models))}" for schema in told)
        yield f'<p class="answer">{head}{words}</p>'
        return
    yield f'<details class="answer"><summary>{head}</summary>'
    for schema in told:
        yield from _value(schema, models)
    yield "</details>"


def _value(schema: Schema, models: Mapping[str, Schema]) -> Iterator[str]:
    """What a body or an answer holds: fields of an object, each of several that it may be, or its type."""
    found = list(objects_in(schema, models))
    if not found:
        yield f"<p>{escape(words_of(schema, models))}</p>"
    elif not resolved(schema, models).get("properties") and len(found) == 1:
        yield f"<p>{escape(words_of(schema, models))}:</p>"
    for number, one in enumerate(found):
        if len(found) > 1:
            yield f"<p>{'Or' if number else 'Either'}: {_text(one.get('description', 'an object.'))}</p>"
        yield _fields(one, models, ())


def _fields(model: Schema, models: Mapping[str, Schema], within: tuple[int, ...]) -> str:
    needed = model.get("required", ())
    inner = (*within, id(model))
    lines = [
        _field(name, schema, models, is_needed=name in needed, within=inner)
        for name, schema in model["properties"].items()
    ]
    return "\n".join(['<ul class="fields">', *lines, "</ul>"])


def _field(
    name: str,
    schema: Schema,
    models: Mapping[str, Schema],
    *,
    is_needed: bool,
    where: str = "",
    within: tuple[int, ...] = (),
) -> str:
    said = f"{where}, " if where else ""
    said += words_of(schema, models)
    if is_needed:
        need = ' <span class="needed">required</span>'
    elif schema.get("default") is not None:
        need = f" default <code>{escape(json.dumps(schema['default'], ensure_ascii=False))}</code>"
    else:
        need = ""
    line = f'<li><code class="name">{escape(name)}</code> <span class="type">{escape(said)}</span>{need}'
    if described := schema.get("description"):
        line += f"<br>{_text(described)}"
    for model in objects_in(schema, models):
        if id(model) not in within and len(within) < _DEEPEST:  # what holds itself is told once
            line += _fields(model, models, within)
    return f"{line}</li>"


def _curl(
    method: str, path: str, operation: Mapping[str, Any], models: Mapping[str, Schema], url: str
) -> str:
    """A line that asks it, ready for a shell."""
    values = {one["name"]: _value_of(one, models) for one in operation.get("parameters", ())}
    asked = re.sub(r"\{(\w+)\}", lambda match: values[match[1]], path)
    needed = [one for one in operation.get("parameters", ()) if one["in"] == "query" and one.get("required")]
    if needed:
        asked += "?" + "&".join(f"{one['name']}={values[one['name']]}" for one in needed)
    told = ["curl", "-s"]
    if method not in ("get", "post"):
        told += ["-X", method.upper()]
    told.append(shlex.quote(url + asked))
    content = operation.get("requestBody", {}).get("content", {})
    if content:
        media_type, schema = next(iter(content.items()))
        body = BODIES.get((method, path))
        if body is None:
            body = example_of(schema.get("schema", {}), models)
        data = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
        told += ["-H", shlex.quote(f"Content-Type: {media_type}"), "--data-binary", shlex.quote(data)]
    elif method == "post":
        told += ["-X", "POST"]
    return " ".join(told)


def _value_of(parameter: Mapping[str, Any], models: Mapping[str, Schema]) -> str:
    name = str(parameter["name"])
    return VALUES.get(name) or str(example_of(parameter["schema"], models))


def _anchor(method: str, path: str) -> str:
    return f"{method}-{re.sub('[^A-Za-z0-9]+', '-', path).strip('-')}"


def _name_of(method: str, path: str) -> str:
    return f'<span class="method">{escape(method.upper())}</span> <code>{escape(path)}</code>'


def _paragraphs(text: str) -> str:
    return "\n".join(f"<p>{_text(one)}</p>" for one in text.split("\n\n") if one.strip())


def _text(text: str) -> str:
    """A text with its names between backquotes as code."""
    return re.sub(r"(`{1,2})(.+?)\1", r"<code>\2</code>", escape(text))
