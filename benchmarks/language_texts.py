"""Documents of the five domains of the language-model benchmarks, in the files' order.

Shakespeare in scenes of about 3,000 characters, WikiText by article, Song poetry by poem, Genesis and the
presidential speeches in the pieces that the files have.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

from benchmarks.datasets import DatasetNotFoundError, data_folder
from everlearn import Example

__all__ = ["DOMAINS", "documents", "take_bytes"]

DOMAINS = ("shakespeare", "wikitext", "song-poetry", "genesis", "presidential")

_FILES = {
    "shakespeare": ("lm_shakespeare", "txt.gz"),
    "wikitext": ("lm_wikitext2", "txt.gz"),
    "song-poetry": ("lm_song_poetry_zh", "txt.gz"),
    "genesis": ("lm_genesis_6languages", "jsonl.gz"),
    "presidential": ("lm_presidential_dated", "jsonl.gz"),
    "moby-dick": ("lm_moby_dick", "txt.gz"),
}
_SCENE_CHARACTERS = 3_000
_ARTICLE = re.compile(r"(?m)^ (?== [^=].* = $)")


def documents(domain: str, split: str = "train", data: str | None = None) -> list[Example]:
    """All documents of a split, with the domain's name as their domain.

    Raises:
        DatasetNotFoundError: There is no such file.
    """
    folder, suffix = _FILES[domain]
    path = data_folder(data) / folder / f"{split}.{suffix}"
    if not path.is_file():
        raise DatasetNotFoundError(f"no text at {path}; pass --data DIR or set EVERLEARN_DATA=DIR")
    return [
        Example(id=f"{domain}-{split}-{number}", text=text, domain=domain)
        for number, text in enumerate(_texts(domain, path), start=1)
        if text.strip()
    ]


def take_bytes(examples: list[Example], num_bytes: int) -> list[Example]:
    """The first examples that have so many bytes together; the last one is cut to fit."""
    taken, left = [], num_bytes
    for example in examples:
        data = str(example.text).encode()[:left]
        text = data.decode(errors="ignore")
        if text.strip():
            taken.append(Example(id=example.id, text=text, domain=example.domain))
        left -= len(data)
        if left <= 0:
            break
    return taken


def _texts(domain: str, path: Path) -> Iterator[str]:
    with gzip.open(path, "rb") as file:
        content = file.read().decode()
    if path.name.endswith("jsonl.gz"):
        yield from (json.loads(line)["text"] for line in content.split("\n") if line)
    elif domain == "song-poetry":
        yield from content.split("\n\n")
    elif domain == "wikitext":
        yield from _ARTICLE.split(content)
    else:
        yield from _scenes(content)


def _scenes(content: str) -> Iterator[str]:
    scene = ""
    for paragraph in content.split("\n\n"):
        scene += ("\n\n" if scene else "") + paragraph
        if len(scene) >= _SCENE_CHARACTERS:
            yield scene
            scene = ""
    if scene:
        yield scene
