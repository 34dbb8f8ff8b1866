"""BLEU and chrF over streams equal sacrebleu's over all pairs."""

from __future__ import annotations

import builtins
import json
from typing import Any

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from everlearn.errors import ConfigError, MissingExtraError, StateError
from everlearn.evaluation.translation_scores import TranslationScores

words = st.sampled_from(
    [
        "the",
        "a",
        "cat",
        "dog",
        "sat",
        "runs",
        "on",
        "mat",
        ",",
        ".",
        "über",
        "猫",
        "坐在",
        "垫子上",
        "。",
        "$5.99",
    ]
)
sentences = st.lists(words, max_size=12).map(" ".join)
pairs_of = st.lists(
    st.tuples(sentences, st.one_of(st.none(), sentences), st.sampled_from([None, "x", "y"])), max_size=25
)


def check(figures: dict[str, Any], pairs: list[tuple[str, str]], tokenize: str, prefix: str = "") -> None:
    if not pairs:
        assert figures[f"{prefix}bleu"] is figures[f"{prefix}chrf"] is None
        return
    translations, targets = [t for t, _ in pairs], [[t for _, t in pairs]]
    bleu = sacrebleu.corpus_bleu(translations, targets, tokenize=tokenize, force=True).score
    assert figures[f"{prefix}bleu"] == pytest.approx(bleu, abs=1e-9)
    assert figures[f"{prefix}chrf"] == pytest.approx(
        sacrebleu.corpus_chrf(translations, targets).score, abs=1e-9
    )


@settings(max_examples=60, deadline=None)
@given(pairs_of, st.integers(1, 8), st.sampled_from(["13a", "zh", "char"]))
def test_scores_equal_those_of_all_pairs_at_once(pairs: Any, window: int, tokenize: Any) -> None:
    scores = TranslationScores(tokenize, window=window)
    for begin in range(0, len(pairs), 4):
        batch = pairs[begin : begin + 4]
        scores.update([t for t, _, _ in batch], [t for _, t, _ in batch], [d for _, _, d in batch])
    scored = [(t, target, domain) for t, target, domain in pairs if target is not None]
    plain = [(t, target) for t, target, _ in scored]
    summary = scores.summary()
    assert summary["pairs"] == len(scored)
    check(summary, plain, tokenize)
    check(summary, plain[-window:], tokenize, "rolling_")
    for name, figures in summary["domains"].items():
        own = [(t, target) for t, target, domain in scored if domain == name]
        check(figures, own, tokenize)
        check(figures, own[-window:], tokenize, "rolling_")
    assert set(summary["domains"]) == {domain for _, _, domain in scored} - {None}


@settings(max_examples=30, deadline=None)
@given(pairs_of, st.integers(0, 25))
def test_state_continues_exactly(pairs: Any, cut: int) -> None:
    whole, first, second = (TranslationScores("zh", window=3) for _ in range(3))
    for number, (translation, target, domain) in enumerate(pairs):
        for scores in (whole, first if number < cut else second):
            scores.update([translation], [target], [domain])
        if number < cut:
            second.restore(json.loads(json.dumps(first.state())))
    if cut > 0 and pairs:
        assert second.summary() == whole.summary()
        assert second.state() == whole.state()


def test_chinese_needs_its_tokenizer() -> None:
    pair = (["我们今天在公园里散步。"], ["我们昨天在公园里散步。"])
    by_words, by_characters = TranslationScores(), TranslationScores("zh")
    by_words.update(*pair)
    by_characters.update(*pair)
    assert by_words.summary()["bleu"] == 0
    assert by_characters.summary()["bleu"] > 60
    assert by_words.summary()["chrf"] == by_characters.summary()["chrf"] > 0
    assert "tok:zh" in by_characters.summary()["bleu_signature"]
    assert by_words.signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")


def test_wrong_arguments_and_damaged_states() -> None:
    with pytest.raises(ConfigError, match=r"tokenize must be one of 13a, intl, zh, .*, not 'x'"):
        TranslationScores("x")
    with pytest.raises(ConfigError, match="window must be at least 1, not 0"):
        TranslationScores(window=0)
    scores = TranslationScores(window=2)
    with pytest.raises(ValueError):
        scores.update(["a"], [])
    assert scores.summary()["bleu"] is None
    scores.update(["a b c d", "a", "b"], ["a b c d", "b", "b"])
    state = scores.state()
    changes: list[dict[str, Any]] = [
        {"version": 2},
        {"tokenize": "x"},
        {"total": [3, [1], []]},
        {"total": [3, state["total"][1], [[1]]]},
        {"domains": [1]},
    ]
    for change in changes:
        with pytest.raises(StateError):
            scores.restore(state | change)
    assert scores.state() == state


def test_without_sacrebleu_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def refuse(name: str, *rest: Any, **options: Any) -> Any:
        if name.startswith("sacrebleu"):
            raise ImportError(name)
        return real_import(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r"everlearn\[translation\]"):
        TranslationScores()
