"""A fast tokenizer as the JSON that it is saved as, what its vocabulary is made of, and back."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from everlearn.errors import ModelError

__all__ = ["ModelKind", "TokenizerFile", "rebuild_tokenizer"]

ModelKind = Literal["BPE", "WordPiece", "Unigram"]

# A piece of this score loses against every segmentation; it only holds an id.
_NEVER = -1e6


def _byte_symbols() -> list[str]:
    """The printable character that byte-level tokenizers write for each byte (Radford et al. 2019)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


_SYMBOL_OF_BYTE = _byte_symbols()
_BYTE_OF_SYMBOL = {symbol: byte for byte, symbol in enumerate(_SYMBOL_OF_BYTE)}
_METASPACE = "\u2581"


@dataclass(eq=False)
class TokenizerFile:
    """What ``tokenizer.json`` holds, with the vocabulary as one table.

    The *form* of a word is how the tokenizer's model sees it: bytes as printable characters in byte-level
    tokenizers, a leading space as a sign in those of SentencePiece, the word itself in others.

    Attributes:
        spec: The JSON; ``vocab`` and ``merges`` of its model are replaced when it is written.
        kind: What sort of model it is.
        ids: Id by token, added tokens included.
        merges: Pairs in order of rank; BPE only.
        scores: Log-probability by token; Unigram only.
    """

    spec: dict[str, Any]
    kind: ModelKind
    ids: dict[str, int]
    merges: list[tuple[str, str]]
    scores: dict[str, float]

    @classmethod
    def read(cls, tokenizer: Any) -> TokenizerFile:
        """Take a tokenizer of ``transformers`` apart; it stays as it is.

        Raises:
            ModelError: It is no fast tokenizer, or its model is of another kind.
        """
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError("the vocabulary can only be changed of a fast tokenizer (tokenizer.json)")
        spec = json.loads(tokenizer.backend_tokenizer.to_str())
        model = spec["model"]
        kind = model.get("type")
        if kind not in get_args(ModelKind):
            raise ModelError(
                f"a tokenizer of type {kind!r} cannot change; {', '.join(get_args(ModelKind))} can"
            )
        if (kind == "BPE" and model.get("continuing_subword_prefix")) or model.get("end_of_word_suffix"):
            raise ModelError(
                "a BPE tokenizer that marks parts of words by prefixes or suffixes cannot change"
            )
        ids, scores = _vocabulary(kind, model["vocab"])
        # An added token that the model's vocabulary lacks is given the id after it when a file is read, which
        # would shift as the vocabulary grows. Within the vocabulary it keeps the id it has.
        for added in sorted(spec["added_tokens"], key=lambda token: int(token["id"])):
            if ids.setdefault(added["content"], added["id"]) != added["id"]:
                raise ModelError(f"the tokenizer has two ids for {added['content']!r}")
            scores.setdefault(added["content"], _NEVER)
        merges = [_pair(merge) for merge in model.get("merges", [])]
        return cls(spec, kind, ids, merges, scores if kind == "Unigram" else {})

    def write(self) -> dict[str, Any]:
        """The JSON with the vocabulary as it is now.

        Raises:
            ModelError: A Unigram vocabulary has a gap in its ids, which its file cannot express.
        """
        spec = copy.deepcopy(self.spec)
        ordered = sorted(self.ids.items(), key=lambda item: item[1])
        if self.kind == "Unigram":
            if [id_ for _, id_ in ordered] != list(range(len(ordered))):
                raise ModelError("the ids of a Unigram tokenizer must have no gap")
            spec["model"]["vocab"] = [[token, self.scores[token]] for token, _ in ordered]
        else:
            spec["model"]["vocab"] = dict(ordered)
        if self.kind == "BPE":
            spec["model"]["merges"] = [list(pair) for pair in self.merges]
        return spec

    @property
    def added_tokens(self) -> list[str]:
        """Special and other added tokens: cut out of a text before the model sees it."""
        return [added["content"] for added in self.spec["added_tokens"]]

    @property
    def is_byte_level(self) -> bool:
        """Whether the model sees bytes as printable characters."""
        parts = (self.spec["pre_tokenizer"], self.spec["normalizer"])
        return any(part["type"] == "ByteLevel" for whole in parts for part in _parts(whole))

    @property
    def has_metaspace(self) -> bool:
        """Whether the model sees spaces as U+2581."""
        text = json.dumps([self.spec["pre_tokenizer"], self.spec["normalizer"]], ensure_ascii=False)
        return not self.is_byte_level and _METASPACE in text

    def form(self, word: str) -> str:
        """How the model sees a word."""
        if self.is_byte_level:
            return "".join(_SYMBOL_OF_BYTE[byte] for byte in word.encode("utf-8", "surrogatepass"))
        return word.replace(" ", _METASPACE) if self.has_metaspace else word

    def word(self, form: str) -> str | None:
        """The inverse of ``form``; None where the bytes are no text (part of a character)."""
        if self.is_byte_level:
            try:
                return bytes(_BYTE_OF_SYMBOL[symbol] for symbol in form).decode("utf-8")
            except (KeyError, UnicodeDecodeError):
                return None
        return form.replace(_METASPACE, " ") if self.has_metaspace else form


def rebuild_tokenizer(tokenizer: Any, spec: Mapping[str, Any]) -> Any:
    """A tokenizer of the same class and settings with another ``tokenizer.json``.

    It goes through a folder as ``save_pretrained`` writes it, so it is what users will load later.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer.save_pretrained(folder)
        # Older files that list the vocabulary a second time would contradict the new one.
        for other in ("vocab.txt", "vocab.json", "merges.txt", "added_tokens.json"):
            (folder / other).unlink(missing_ok=True)
        (folder / "tokenizer.json").write_text(json.dumps(spec, ensure_ascii=False), encoding="utf-8")
        rebuilt = type(tokenizer).from_pretrained(folder, local_files_only=True)
    rebuilt.name_or_path = tokenizer.name_or_path
    return rebuilt


def _vocabulary(kind: str, vocab: Any) -> tuple[dict[str, int], dict[str, float]]:
    if kind == "Unigram":
        return {token: id_ for id_, (token, _) in enumerate(vocab)}, dict(map(tuple, vocab))
    return dict(vocab), {}


def _pair(merge: Any) -> tuple[str, str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def _parts(whole: Any) -> list[Any]:
    """The members of a sequence of pre-tokenizers or normalizers, or the one there is."""
    if whole is None:
        return []
    return whole.get("pretokenizers") or whole.get("normalizers") or [whole]
