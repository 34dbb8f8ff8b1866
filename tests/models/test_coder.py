from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.errors import ConfigError
from everlearn.models.encoder.coder import CoderConfig, TextCoder, default_layers
from everlearn.models.encoder.forward import RowForward
from everlearn.models.encoder.gram_sketch import gram_sketches
from everlearn.models.encoder.lexical import gram_features
from everlearn.models.encoder.load import Trunk, load_trunk
from everlearn.models.encoder.rows import RowBatch

TEXTS = [
    "my card was declined at the shop this morning",
    "hi",
    "",
    "   ",
    "你好，我的卡丢了",
    "how long does a transfer to another bank take, and what does it cost?",
    "please close my account",
    "😀 \ud800 broken",
    "I ordered two weeks ago and nothing has come. " * 4,
    "where is the nearest branch",
    "PIN",
    "The app shows a wrong balance since the update. " * 30,
    "thank you, that is all",
]


@pytest.fixture(scope="module")
def trunk() -> Iterator[Trunk]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield load_trunk(dtype="float32")
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def half_trunk(trunk: Trunk) -> Trunk:
    return load_trunk(dtype="bfloat16")


def reference(trunk: Trunk, text: str, layers: tuple[int, ...], max_length: int) -> torch.Tensor:
    """One text alone through the plain model: mean of hidden states over all tokens."""
    clean = text.encode("utf-8", "replace").decode()
    inputs = trunk.tokenizer(clean, truncation=True, max_length=max_length, return_tensors="pt")
    with torch.inference_mode():
        states = trunk.model(**inputs, output_hidden_states=True).hidden_states
    return torch.stack([states[layer][0].mean(0) for layer in layers])


@pytest.mark.parametrize(
    "config", [CoderConfig(), CoderConfig(batch_invariant=True), CoderConfig(token_budget=1)]
)
@pytest.mark.parametrize("packed", [True, False])
def test_pooled_states_are_those_of_each_text_alone(trunk: Trunk, config: CoderConfig, packed: bool) -> None:
    coder = TextCoder(trunk, dataclasses.replace(config, max_length=64))
    if not packed:
        coder._forward = RowForward(trunk, None)
    pooled = coder.pool(TEXTS)
    assert pooled.shape == (len(TEXTS), 5, 384)
    for row, text in zip(pooled, TEXTS, strict=True):
        torch.testing.assert_close(row, reference(trunk, text, (6, 5, 4, 3, 2), 64), rtol=0, atol=1e-5)


def test_minilm_is_packed_in_rows(trunk: Trunk, half_trunk: Trunk) -> None:
    assert TextCoder(trunk)._row_forward().first_position == 0
    assert TextCoder(half_trunk)._row_forward().first_position == 0


def test_bfloat16_is_close_to_float32(trunk: Trunk, half_trunk: Trunk) -> None:
    exact, rounded = TextCoder(trunk).pool(TEXTS), TextCoder(half_trunk).pool(TEXTS)
    assert float(torch.cosine_similarity(exact, rounded, dim=-1).min()) > 0.999


def test_codes_err_by_half_a_step(trunk: Trunk) -> None:
    coder = TextCoder(trunk)
    codes = coder.encode(TEXTS)
    units = torch.nn.functional.normalize(coder.pool(TEXTS), dim=-1).numpy().reshape(len(TEXTS), -1)
    scale = 20 * math.sqrt(384)
    for code, unit in zip(codes, units, strict=True):
        assert code.dense.dtype == np.int8
        assert code.dense.shape == (coder.dense_size,) == (1920 + 1024,)
        pooled = code.dense[:1920]
        inside = np.abs(unit) * scale < 127
        assert np.abs(pooled / scale - unit)[inside].max() <= 0.5 / scale + 1e-6
        assert (np.abs(pooled[~inside].astype(int)) == 127).all()
        assert inside.mean() > 0.99
    for code, text in zip(codes, TEXTS, strict=True):
        np.testing.assert_array_equal(code.gram_ids, gram_features(text)[0])
        sketch = gram_sketches([text], [gram_features(text)], 1024)[0]
        np.testing.assert_array_equal(code.dense[1920:], sketch)
        np.testing.assert_array_equal(code.gram_values, gram_features(text)[1])


def test_a_kept_code_does_not_hold_the_batch(trunk: Trunk) -> None:
    assert all(code.dense.base is None for code in TextCoder(trunk).encode(TEXTS[:3]))


def test_empty_batch_and_time(trunk: Trunk) -> None:
    coder = TextCoder(trunk)
    assert coder.encode([]) == []
    assert coder.seconds == 0
    coder.encode(["hello"])
    assert coder.seconds > 0


def test_windows_are_averaged(trunk: Trunk) -> None:
    text = " ".join(f"word{n} in a long report" for n in range(40))
    coder = TextCoder(trunk, CoderConfig(max_length=32, windows=3, layers=(6,)))
    pooled = coder.pool(["short", text, "also short"])
    ids = trunk.tokenizer(text, add_special_tokens=False)["input_ids"]
    cls, sep = trunk.tokenizer.cls_token_id, trunk.tokenizer.sep_token_id
    parts = [torch.tensor([[cls, *ids[30 * k : 30 * k + 30], sep]]) for k in range(3)]
    with torch.inference_mode():
        expected = torch.stack([trunk.model(part).last_hidden_state[0].mean(0) for part in parts]).mean(0)
    torch.testing.assert_close(pooled[1, 0], expected, rtol=0, atol=1e-5)
    alone = TextCoder(trunk, CoderConfig(max_length=32, layers=(6,))).pool(["short"])
    torch.testing.assert_close(pooled[0], alone[0], rtol=0, atol=1e-5)


def test_a_text_alone_has_a_row_of_its_own_width(trunk: Trunk, monkeypatch: pytest.MonkeyPatch) -> None:
    widths = []
    pooled = RowForward.pooled

    def noted(run: RowForward, batch: RowBatch, *rest: Any) -> torch.Tensor:
        widths.append((batch.num_rows, batch.width))
        return pooled(run, batch, *rest)

    coder = TextCoder(trunk, CoderConfig(layers=(6,)))
    together = coder.pool(["hi", "please close my account"])
    monkeypatch.setattr(RowForward, "pooled", noted)
    alone = coder.pool(["hi"])
    coder.pool(["hi", "please close my account"])
    assert widths == [(1, 8), (1, 32)]
    torch.testing.assert_close(alone[0], together[0], rtol=0, atol=1e-5)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def invariant(
    request: pytest.FixtureRequest, trunk: Trunk, half_trunk: Trunk
) -> tuple[TextCoder, torch.Tensor]:
    chosen = trunk if request.param == "float32" else half_trunk
    coder = TextCoder(chosen, CoderConfig(batch_invariant=True, max_length=48, layers=(6, 3)))
    return coder, coder.pool(TEXTS)


@settings(max_examples=6, deadline=None)
@given(order=st.permutations(range(len(TEXTS))), cut=st.integers(1, len(TEXTS) - 1))
def test_invariant_codes_do_not_depend_on_company(
    invariant: tuple[TextCoder, torch.Tensor], order: list[int], cut: int
) -> None:
    coder, expected = invariant
    for part in (order[:cut], order[cut:]):
        assert torch.equal(coder.pool([TEXTS[i] for i in part]), expected[part])


def test_invariant_codes_do_not_depend_on_threads(invariant: tuple[TextCoder, torch.Tensor]) -> None:
    coder, expected = invariant
    torch.set_num_threads(2)
    try:
        assert torch.equal(coder.pool(TEXTS[:4]), expected[:4])
    finally:
        torch.set_num_threads(1)


def test_fingerprint_covers_what_changes_codes(trunk: Trunk, half_trunk: Trunk) -> None:
    configs = [
        CoderConfig(),
        CoderConfig(max_length=64),
        CoderConfig(layers=(6,)),
        CoderConfig(windows=2),
        CoderConfig(batch_invariant=True),
        CoderConfig(ngram_max=1),
        CoderConfig(sketch_size=0),
        CoderConfig(sketch_size=512),
    ]
    fingerprints = {TextCoder(trunk, config).fingerprint for config in configs}
    fingerprints.add(TextCoder(half_trunk).fingerprint)
    assert len(fingerprints) == len(configs) + 1
    same = [CoderConfig(token_budget=7), CoderConfig(layers=(6, 5, 4, 3, 2)), CoderConfig(max_length=100_000)]
    assert {TextCoder(trunk, config).fingerprint for config in same} == {TextCoder(trunk).fingerprint}


def test_settings_are_checked(trunk: Trunk) -> None:
    for name, value in (
        ("max_length", 2),
        ("windows", 0),
        ("token_budget", 0),
        ("ngram_max", 3),
        ("sketch_size", -1),
        ("layers", ()),
        ("layers", (6, 6)),
        ("layers", (-1,)),
    ):
        with pytest.raises(ConfigError, match=name):
            CoderConfig(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="layers"):
        TextCoder(trunk, CoderConfig(layers=(7,)))


def test_default_layers() -> None:
    assert default_layers(6) == (6, 5, 4, 3, 2)
    assert default_layers(1) == (1,)
