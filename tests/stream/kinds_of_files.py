"""Small files of every kind that people have: ten messages with two labels each."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["CHATS", "KINDS", "PAIRS", "label_studio"]

Pairs = Sequence[tuple[str, str]]

PAIRS: Pairs = [
    (f"message {number}: où est mon colis ?" if number % 2 else f"message {number}: login fails", label)
    for number, label in enumerate(["access", "parcel"] * 5)
]


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def table(delimiter: str, line_end: str = "\r\n") -> Callable[[Pairs], str]:
    def write(pairs: Pairs) -> str:
        out = io.StringIO()
        writer = csv.writer(out, delimiter=delimiter, lineterminator=line_end)
        writer.writerow(["id", "text", "label"])
        writer.writerows([f"k{number}", f"{text}", label] for number, (text, label) in enumerate(pairs))
        return out.getvalue()

    return write


def array(pairs: Pairs) -> str:
    return as_json([{"text": text, "label": label} for text, label in pairs])


def label_studio(text: str, *answers: Sequence[str], number: int = 1, question: str = "topic") -> Any:
    """A task with the choices of some annotators."""
    return {
        "id": number,
        "data": {"text": text, "customer": f"c{number % 3}"},
        "annotations": [
            {
                "id": 100 + number,
                "completed_by": 1,
                "was_cancelled": False,
                "result": [
                    {
                        "from_name": question,
                        "to_name": "text",
                        "type": "choices",
                        "value": {"choices": list(chosen)},
                    }
                ],
            }
            for chosen in answers
        ],
        "predictions": [],
        "created_at": "2025-01-01T00:00:00Z",
        "project": 1,
    }


def label_studio_min(text: str, label: Any, number: int) -> Any:
    return {
        "text": text,
        "customer": "c1",
        "id": number,
        "topic": label,
        "annotator": 1,
        "annotation_id": 5,
        "created_at": "x",
        "updated_at": "x",
        "lead_time": 1.5,
    }


def argilla(text: str, label: Any, number: int) -> Any:
    return {
        "id": f"r{number}",
        "fields": {"text": text},
        "metadata": {"customer": "c1"},
        "suggestions": {"topic": {"value": "guess", "score": 0.3, "agent": "m"}},
        "responses": {"topic": [{"value": label, "user_id": "u1"}]},
        "vectors": {},
        "status": "completed",
        "_server_id": f"s{number}",
    }


def argilla_1(text: str, label: Any, number: int) -> Any:
    return {
        "id": f"r{number}",
        "inputs": {"text": text},
        "prediction": [["guess", 0.3]],
        "annotation": label,
        "status": "Validated",
        "metadata": {"customer": "c1"},
        "multi_label": False,
    }


def lines_of(make: Callable[..., Any]) -> Callable[[Pairs], str]:
    return lambda pairs: "".join(as_json(make(*pair, number)) + "\n" for number, pair in enumerate(pairs))


def array_of(make: Callable[..., Any]) -> Callable[[Pairs], str]:
    return lambda pairs: json.dumps([make(*pair, number) for number, pair in enumerate(pairs)], indent=2)


def one_task(text: str, label: str, number: int) -> Any:
    return label_studio(text, [label], number=number)


KINDS: dict[str, tuple[str, str, Callable[[Pairs], str], list[str]]] = {
    "utf-8 with a mark": ("t.csv", "utf-8-sig", table(","), []),
    "utf-16": ("t.csv", "utf-16", table(";"), []),
    "cp1252": ("t.csv", "cp1252", table(","), []),
    "mac roman": ("t.csv", "mac_roman", table(","), ["--encoding", "mac_roman"]),
    "semicolons": ("t.csv", "utf-8", table(";"), []),
    "tabs": ("t.csv", "utf-8", table("\t"), []),
    "bars": ("t.csv", "utf-8", table("|"), []),
    "tab-separated": ("t.tsv", "utf-8", table("\t"), []),
    "array": ("t.json", "utf-8", array, []),
    "list in an object": ("t.json", "utf-8", lambda pairs: f'{{"version": 1, "data": {array(pairs)}}}', []),
    "label studio": ("t.json", "utf-8", array_of(one_task), []),
    "label studio, min": ("t.json", "utf-8", array_of(label_studio_min), []),
    "argilla": ("t.json", "utf-8", array_of(argilla), []),
    "argilla, lines": ("t.jsonl", "utf-8", lines_of(argilla), []),
    "argilla 1": ("t.jsonl", "utf-8", lines_of(argilla_1), []),
    "fasttext": ("t.txt", "utf-8", lambda p: "".join(f"__label__{label} {text}\n" for text, label in p), []),
    "nested": (
        "t.jsonl",
        "utf-8",
        lambda p: "".join(
            as_json({"data": {"body": text}, "tag": {"name": label}}) + "\n" for text, label in p
        ),
        ["--text-field", "data.body", "--target-field", "tag.name"],
    ),
}
"""By what it is: file name, encoding, contents, options."""

CHATS: dict[str, tuple[str, Any]] = {
    "sharegpt": (
        "t.json",
        lambda asked, answer: {
            "conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": answer}]
        },
    ),
    "alpaca": ("t.json", lambda asked, answer: {"instruction": asked, "input": "", "output": answer}),
    "prompts": ("t.jsonl", lambda asked, answer: {"prompt": asked, "completion": answer}),
}
