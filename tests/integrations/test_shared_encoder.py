from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tests.integrations.support_texts import TEXTS

from everlearn.errors import InputError
from everlearn.integrations.encoders import SharedCoder, shared_coder
from everlearn.models import TextCoder, load_trunk
from everlearn.types import Code, Example


class CountingCoder(TextCoder):
    """The encoder itself, which also notes what it was asked."""

    def __init__(self) -> None:
        super().__init__(load_trunk())
        self.asked: list[str] = []

    def encode(self, texts: object) -> list[Code]:
        self.asked += list(texts)  # type: ignore[call-overload]
        return super().encode(texts)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def inner() -> CountingCoder:
    return CountingCoder()


def examples_of(texts: list[str]) -> list[Example]:
    return [Example(id=str(k), text=text) for k, text in enumerate(texts)]


def test_a_text_is_read_once(inner: CountingCoder) -> None:
    inner.asked.clear()
    coder = SharedCoder(inner)
    first = coder.encode_examples(examples_of(TEXTS + TEXTS[:2]))
    again = coder.encode_examples(examples_of(TEXTS[::-1]))
    assert inner.asked == TEXTS
    assert all(a is b for a, b in zip(first, again[::-1], strict=False))
    assert first[8] is first[0]
    assert np.array_equal(first[1].dense, TextCoder.encode(inner, TEXTS)[1].dense)
    assert coder.encode_examples([]) == []


def test_what_is_kept_is_bounded(inner: CountingCoder) -> None:
    inner.asked.clear()
    coder = SharedCoder(inner, most_bytes=8_000)
    for text in TEXTS:
        coder.encode_examples(examples_of([text]))
    assert 1 <= len(coder._kept) <= 4
    coder.encode_examples(examples_of(TEXTS[-1:]))
    assert inner.asked == TEXTS
    coder.encode_examples(examples_of(TEXTS[:1]))
    assert inner.asked == [*TEXTS, TEXTS[0]]
    small = SharedCoder(inner, most_bytes=0)
    assert len(small.encode_examples(examples_of(TEXTS))) == len(TEXTS)


def test_examples_without_text_are_refused(inner: CountingCoder) -> None:
    with pytest.raises(InputError, match="'7' has no text"):
        SharedCoder(inner).encode_examples([Example(id="7", vector=np.zeros(2))])


def test_threads_share_one_encoder() -> None:
    with ThreadPoolExecutor(4) as pool:
        coders = list(pool.map(lambda _: shared_coder("minilm", 77), range(8)))
    assert len({id(coder) for coder in coders}) == 1
    assert coders[0] is shared_coder("minilm", 77, coders[0].dtype)
    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(lambda _: coders[0].encode_examples(examples_of(TEXTS)), range(4)))
    assert all(a is b for some in codes for a, b in zip(some, codes[0], strict=True))
