"""Texts as people have them in a notebook: lists, arrays, Series, tables of one column."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.errors import InputError
from everlearn.integrations.text_inputs import field_text, texts_in

TEXTS = ["a parcel", "", "a password", "été 雨"]
FORMS: dict[str, Callable[[list[str]], Any]] = {
    "list": list,
    "tuple": tuple,
    "strings of numpy": np.array,
    "objects of numpy": lambda texts: np.array(texts, dtype=object),
    "Series": lambda texts: pd.Series(texts, index=range(7, 7 + len(texts)), dtype=object),
    "Series of strings": lambda texts: pd.Series(texts, dtype="string"),
    "categories": lambda texts: pd.Series(pd.Categorical(texts)),
    "table of one column": lambda texts: pd.DataFrame({"text": texts}),
    "array of one column": lambda texts: np.array(texts, dtype=object).reshape(-1, 1),
    "list of rows of one": lambda texts: [[text] for text in texts],
}


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_hold_the_same_texts(form: str) -> None:
    read = texts_in(FORMS[form](TEXTS))
    assert read == TEXTS
    assert {type(text) for text in read} == {str}


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1))
def test_any_texts_come_back(texts: list[str]) -> None:
    for make in FORMS.values():
        assert texts_in(make(texts)) == texts


@pytest.mark.parametrize(
    "X",
    [
        [[0.0], [1.0]],
        np.zeros((2, 3)),
        np.array([[1, 2.5]], dtype=object),
        pd.DataFrame({"a": [1, 2], "b": [0.5, 1.5]}),
        pd.Series([1, 2]),
        [["1", "2"], ["3", "4"]],
        [],
        None,
        [[1.0], [1.0, 2.0]],
    ],
)
def test_numbers_are_left_to_whoever_reads_numbers(X: Any) -> None:
    assert texts_in(X) is None


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
def test_a_missing_text_is_named_by_its_row(missing: Any) -> None:
    for X in (["a", missing], pd.Series(["a", missing], dtype=object), pd.DataFrame({"t": ["a", missing]})):
        with pytest.raises(InputError, match=r"row 1 \(from 0\) is .*leave out rows without text"):
            texts_in(X)


@pytest.mark.parametrize("X", ["one text", b"bytes", {"a": "b"}, {"a", "b"}, iter(["a"])])
def test_what_is_no_column_is_refused(X: Any) -> None:
    with pytest.raises(InputError, match="give a list"):
        texts_in(X)


@pytest.mark.parametrize("X", [[b"a", b"b"], [3, "a"], np.array([b"a"])])
def test_rows_of_another_type_are_named(X: Any) -> None:
    with pytest.raises(InputError, match=r"row 0 \(from 0\) is .* not a text"):
        texts_in(X)


def test_several_columns_get_a_word_on_what_to_do() -> None:
    mail = pd.DataFrame({"subject": ["a", "b"], "body": ["c", "d"], "size": [1, 2]})
    with pytest.raises(InputError, match=r"'subject' and 'body' hold texts.*X\['subject'\] \+ ' ' \+"):
        texts_in(mail)
    with pytest.raises(InputError, match="column 'body' holds texts; give that column alone"):
        texts_in(mail[["body", "size"]])
    with pytest.raises(InputError, match="0 and 1 hold texts"):
        texts_in([["a", "b"], ["c", "d"]])


def test_a_field_is_a_text_where_it_is_the_only_one() -> None:
    assert field_text({"body": "hello"}) == "hello"
    assert field_text({"a": 1.0, "b": 2}) is None
    assert field_text({}) is None
    with pytest.raises(InputError, match=r"'subject' and 'body' hold texts; .*on='subject'"):
        field_text({"subject": "a", "size": 1, "body": "b"})
    with pytest.raises(InputError, match=r"'body' holds a text.*\('size'\).*on='body'"):
        field_text({"size": 1, "body": "b"})
