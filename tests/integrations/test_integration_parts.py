from __future__ import annotations

import importlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.errors import ConfigError, InputError, MissingExtraError
from everlearn.integrations.columns import ColumnIndex
from everlearn.integrations.label_learner import InputSpec, closed_form_config
from everlearn.integrations.label_names import LabelNames

RECORDS = st.dictionaries(st.text(max_size=4), st.floats(-1e6, 1e6, allow_nan=False), min_size=1, max_size=12)


@given(st.lists(st.one_of(st.text(max_size=3), st.integers(), st.booleans(), st.floats(allow_nan=False))))
def test_label_names_are_one_to_one(labels: list[str | int | float]) -> None:
    names = LabelNames()
    given_names = [names.name_of(label) for label in labels]
    assert [names.label_of(name) for name in given_names] == labels
    assert len(set(given_names)) == len(set(labels))


def test_label_names_take_scalars_of_numpy() -> None:
    names = LabelNames()
    assert names.name_of(np.bool_(True)) == names.name_of(True)
    assert names.name_of(np.str_("a")) == names.name_of("a")
    assert type(names.label_of(names.name_of(np.int64(7)))) is int


@pytest.mark.parametrize("label", [None, float("nan"), ("a",), b"a"])
def test_label_of_another_kind_is_refused(label: object) -> None:
    with pytest.raises(InputError, match="label"):
        LabelNames().name_of(label)


@given(RECORDS, st.randoms(use_true_random=False))
def test_columns_keep_values_apart_whatever_their_order(
    record: dict[str, float], random: np.random.Generator
) -> None:
    items = list(record.items())
    random.shuffle(items)
    first, second = ColumnIndex(12), ColumnIndex(12)
    vector = first.vectors([record], grow=True)
    assert np.array_equal(vector, second.vectors([dict(items)], grow=True))
    assert sorted(vector[vector != 0]) == sorted(value for value in record.values() if value != 0)
    for name, value in items:
        assert first.vectors([{name: value}])[0].sum() == value


def test_names_that_come_and_go_keep_their_columns() -> None:
    index = ColumnIndex(8)
    both = index.vectors([{"a": 1.0, "b": 2.0}, {"b": 3.0, "c": 4.0}], grow=True)
    again = index.vectors([{"b": 2.0, "a": 1.0, "never learned": 9.0}, {"c": 4.0, "b": 3.0, "a": None}])
    assert np.array_equal(both, again)
    assert index.vectors([{"a": float("nan")}]).sum() == 0


def test_names_share_columns_when_all_are_taken() -> None:
    index = ColumnIndex(3)
    with pytest.warns(UserWarning, match=r"all 3 columns are taken, so '3'.*give the text itself"):
        vectors = index.vectors([{str(k): 1.0 for k in range(10)}], grow=True)
    assert vectors.sum() == 10
    assert vectors.min() >= 1
    assert index.vectors([{"another": 1.0}]).sum() == 1


@pytest.mark.parametrize("value", ["red", b"red", [1.0], float("inf")])
def test_wrong_feature_is_named_and_leaves_no_trace(value: object) -> None:
    index = ColumnIndex(4)
    with pytest.raises(InputError, match="'colour'"):
        index.vectors([{"size": 1.0, "colour": value}], grow=True)
    assert index.vectors([{"size": 1.0}]).sum() == 0


def test_sizes_follow_the_inputs() -> None:
    sizes = [
        closed_form_config(InputSpec(num_inputs=n), None, 0).num_features for n in (1, 255, 256, 784, 10_000)
    ]
    assert sizes == [512, 512, 1024, 2048, 4096]
    assert closed_form_config(InputSpec(model="minilm"), None, 0).num_features == 5120


@pytest.mark.parametrize(("num_features", "seed"), [(1, 0), (512.0, 0), (512, -1), (512, "x"), (True, 0)])
def test_wrong_sizes_are_refused(num_features: int, seed: int) -> None:
    with pytest.raises(ConfigError, match=r"num_features|seed"):
        closed_form_config(InputSpec(num_inputs=2), num_features, seed)


def test_no_columns_are_refused() -> None:
    with pytest.raises(ConfigError, match="num_columns: 0"):
        ColumnIndex(0)


@pytest.mark.parametrize(
    ("module", "library", "install"), [("river", "river", "river"), ("sklearn", "scikit-learn", "sklearn")]
)
def test_missing_library_names_its_extra(
    module: str, library: str, install: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    for name in (module, f"{module}_learner"):
        monkeypatch.delitem(sys.modules, f"everlearn.integrations.{name}", raising=False)
    with pytest.raises(MissingExtraError, match=rf"{library} is not installed.*everlearn\[{install}\]"):
        importlib.import_module(f"everlearn.integrations.{module}")


def test_package_imports_no_library_before_it_is_asked_for() -> None:
    program = (
        "import sys, everlearn, everlearn.integrations as i; "
        "assert not {'river', 'sklearn', 'torch'} & set(sys.modules); "
        "assert i.RiverClassifier.__name__ == 'ClosedFormClassifier'; assert 'river' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_unknown_name_is_an_attribute_error() -> None:
    integrations = importlib.import_module("everlearn.integrations")
    with pytest.raises(AttributeError, match="Nothing"):
        _ = integrations.Nothing
