"""Encoders that every adapter of a process shares, and the codes of the texts that they read last."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from threading import Lock

from everlearn.errors import InputError
from everlearn.models import CoderConfig, TextCoder
from everlearn.models.encoder.pool import ModelPool
from everlearn.models.storage.dtype import DtypeName, choose_device, choose_dtype
from everlearn.types import Code, Example

__all__ = ["DEFAULT_ENCODER", "SharedCoder", "shared_coder"]

DEFAULT_ENCODER = "minilm"
"""What ``everlearn learn`` reads texts with unless it is told otherwise."""

_BYTES_OF_CODES = 32 << 20
_BYTES_OF_OVERHEAD = 600  # objects of Python and numpy around a code's bytes

_MODELS = ModelPool()


class SharedCoder:
    """A ``TextCoder`` that any thread may use and that reads a text once.

    A stream's text is predicted, then learned; cross-validation and searches over settings give the same
    texts to one clone after the other. So the codes of the texts that came last are kept, by digests
    of the texts.

    Args:
        coder: Encodes.
        most_bytes: Of codes that are kept, about.
    """

    def __init__(self, coder: TextCoder, most_bytes: int = _BYTES_OF_CODES) -> None:
        self.dense_size = coder.dense_size
        self.leading_size = coder.leading_size
        self.sketch_size = coder.sketch_size
        self.dtype: DtypeName = coder.config_json()["dtype"]
        self._coder = coder
        self._most_bytes = most_bytes
        self._kept: OrderedDict[bytes, Code] = OrderedDict()
        self._num_bytes = 0
        self._lock = Lock()  # a tokenizer works for one thread at a time

    @property
    def fingerprint(self) -> str:
        """Names the model and every setting that changes codes."""
        return self._coder.fingerprint

    def encode_examples(self, examples: Sequence[Example]) -> list[Code]:
        """One code an example, in order.

        Raises:
            InputError: An example has no text.
            ModelError: The model gave something that is not a finite number.
        """
        keys: list[bytes] = []
        text_of: dict[bytes, str] = {}
        for example in examples:
            if example.text is None:
                raise InputError(f"example {example.id!r} has no text to encode")
            key = hashlib.blake2b(example.text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            keys.append(key)
            text_of[key] = example.text
        with self._lock:
            code_of = {key: self._kept[key] for key in text_of if key in self._kept}
            missing = [key for key in text_of if key not in code_of]
            code_of.update(zip(missing, self._coder.encode([text_of[key] for key in missing]), strict=True))
            self._keep(code_of)
        return [code_of[key] for key in keys]

    def reading_problem(self, text: str) -> str | None:
        """Why a text cannot be read; None: it can."""
        with self._lock:
            return self._coder.reading_problem(text)

    def clear(self) -> None:
        """Drop the codes that are kept, and their memory."""
        with self._lock:
            self._kept.clear()
            self._num_bytes = 0

    def _keep(self, code_of: dict[bytes, Code]) -> None:
        for key, code in code_of.items():
            if key not in self._kept:
                self._num_bytes += _size(code)
            self._kept[key] = code
            self._kept.move_to_end(key)
        while self._num_bytes > self._most_bytes and self._kept:
            self._num_bytes -= _size(self._kept.popitem(last=False)[1])


def shared_coder(model: str, max_length: int, dtype: DtypeName = "auto") -> SharedCoder:
    """The process's coder of these settings; its encoder is loaded when it is first asked for.

    Args:
        model: As ``everlearn.models.load_trunk`` takes it.
        max_length: Most tokens of a text.
        dtype: "auto" is what the processor does well.

    Raises:
        ModelError: The encoder cannot be found or loaded.
        ConfigError: A setting is out of range.
    """
    # "auto" and the format that it stands for are one encoder.
    chosen = str(choose_dtype(dtype, choose_device())).removeprefix("torch.")
    with _LOADING:
        return _coder(model, max_length, chosen)


_LOADING = Lock()  # a cache alone would let two threads load an encoder twice


@cache
def _coder(model: str, max_length: int, dtype: DtypeName) -> SharedCoder:
    return SharedCoder(_MODELS.coder(model, CoderConfig(max_length=max_length), dtype=dtype))


def _size(code: Code) -> int:
    return code.dense.nbytes + code.gram_ids.nbytes + code.gram_values.nbytes + _BYTES_OF_OVERHEAD
