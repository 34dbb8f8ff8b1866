"""An example takes what its fields are declared to be, and says at once what they are not."""

from __future__ import annotations

import enum
import string
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn import Example
from everlearn.errors import InputError

STRING_FIELDS = ("id", "text", "target", "domain", "time")
NOT_STRINGS: list[Any] = [1, 5.0, True, b"bytes", ["list"], float("nan"), np.int64(3)]


def _example(**values: Any) -> Example:
    return Example(**{"id": "1", **values})


class _Label(enum.StrEnum):
    A = "a"


@pytest.mark.parametrize("name", STRING_FIELDS)
@pytest.mark.parametrize("value", NOT_STRINGS)
def test_a_field_of_another_type_is_named_with_its_value(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"Example\.{name} must be a string") as caught:
        _example(**{name: value})
    assert ascii(value) in str(caught.value)


def test_an_id_is_needed_and_all_else_is_not() -> None:
    with pytest.raises(InputError, match=r"Example\.id must be a string, not None"):
        Example(id=None)  # type: ignore[arg-type]
    assert Example(id="1").text is None


@pytest.mark.parametrize(
    ("name", "value"), [("fields", [("a", 1)]), ("fields", None), ("vector", [1.0]), ("code", {"dense": []})]
)
def test_parts_that_are_no_strings_are_checked_too(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"Example\.{name} must be"):
        _example(**{name: value})


@given(
    name=st.sampled_from(STRING_FIELDS),
    before=st.text(max_size=5),
    half=st.characters(categories=["Cs"]),
    after=st.text(alphabet=string.ascii_letters, max_size=5),
)
def test_half_a_surrogate_pair_is_refused(name: str, before: str, half: str, after: str) -> None:
    with pytest.raises(InputError, match=rf"Example\.{name} is not valid Unicode") as caught:
        _example(**{name: before + half + after})
    str(caught.value).encode()  # the message can be printed anywhere


@given(st.text())
def test_every_valid_string_is_taken_as_it_is(text: str) -> None:
    example = _example(**dict.fromkeys(STRING_FIELDS, text))
    assert [getattr(example, name) for name in STRING_FIELDS] == [text] * 5


@pytest.mark.parametrize("value", [np.str_("a"), _Label.A])
def test_strings_of_another_class_become_plain_ones(value: str) -> None:
    example = Example(id=value, target=value)
    assert (type(example.id), type(example.target), example.target) == (str, str, "a")


def test_a_changed_target_is_checked() -> None:
    with pytest.raises(InputError, match=r"Example\.target must be a string or None, not 2 \(int\)"):
        Example(id="1", target="a").with_target(2)  # type: ignore[arg-type]
