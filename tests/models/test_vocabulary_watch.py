from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.errors import ConfigError, ModelError, StateError
from everlearn.models.vocabulary import VocabularyWatch, WatchConfig, propose
from everlearn.models.vocabulary.counter import FrequentCounter
from everlearn.types import State

from .tiny_models import byte_fallback_tokenizer, byte_level_tokenizer, unigram_tokenizer
from .wordpiece_models import wordpiece_tokenizer

ENGLISH = "the zebrafish saw the zebrafish; Zebrafish?"
CHINESE = "春花秋月何时了，往事知多少。春花秋月"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return byte_level_tokenizer()


def test_words_of_a_script_with_spaces(tokenizer: Any) -> None:
    watch = VocabularyWatch(tokenizer)
    watch.update(ENGLISH, "animals")
    counts = dict(watch.candidates.items())
    assert counts[" zebrafish"] == 2
    assert counts[" Zebrafish"] == 1
    assert "zebrafish" not in counts
    assert " the" not in counts  # one token already
    fertility = watch.fertility["animals"]
    assert fertility.num_bytes == len(ENGLISH)
    assert fertility.num_words == 6
    assert fertility.num_tokens == len(tokenizer.encode(ENGLISH, add_special_tokens=False))
    assert 1 < fertility.tokens_per_word < len(ENGLISH) / 6


def test_characters_of_a_script_without_spaces(tokenizer: Any) -> None:
    watch = VocabularyWatch(tokenizer)
    watch.update(CHINESE)
    counts = dict(watch.candidates.items())
    assert (counts["春"], counts["春花"], counts["春花秋月"], counts["知"]) == (2, 2, 2, 1)
    assert not any("，" in word or "。" in word for word in counts)
    assert max(map(len, counts)) == 4
    assert watch.fertility[""].num_words == 16
    assert watch.fertility[""].num_tokens == len(tokenizer.encode(CHINESE, add_special_tokens=False))


@pytest.mark.parametrize(
    ("make", "text", "expected"),
    [
        (byte_fallback_tokenizer, "zebra and zebra", {" zebra": 2, " and": 1}),
        (unigram_tokenizer, "zebra and zebra", {" zebra": 2}),
        (wordpiece_tokenizer, "The zebrafish saw Zebrafish qqq", {"zebrafish": 2, "qqq": 1}),
    ],
)
def test_words_as_other_tokenizers_see_them(make: Any, text: str, expected: dict[str, int]) -> None:
    watch = VocabularyWatch(make())
    watch.update(text)
    counts = dict(watch.candidates.items())
    assert expected.items() <= counts.items()
    assert watch.fertility[""].num_words == len(text.split())


def test_a_word_level_tokenizer_is_refused() -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    kind: Any = PreTrainedTokenizerFast
    tokenizer = kind(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, "a")))
    with pytest.raises(ModelError, match="'WordLevel'"):
        VocabularyWatch(tokenizer)


def test_state_and_removal_are_exact(tokenizer: Any) -> None:
    watch, other = VocabularyWatch(tokenizer), VocabularyWatch(tokenizer)
    watch.update(CHINESE, "a")
    other.restore(watch.state())
    assert other.state() == watch.state()
    before = watch.state()
    watch.update(ENGLISH, "a")
    watch.update(ENGLISH, "b")
    watch.remove(ENGLISH, "a")
    watch.remove(ENGLISH, "b")
    assert watch.state() == before
    other.update(ENGLISH, "c")
    other.remove(CHINESE, "a")
    assert list(other.fertility) == ["c"]
    with pytest.raises(StateError, match="vocabulary watch"):
        other.restore(State({}, {}))


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="max_bytes must be at least 1000, not 1"):
        WatchConfig(max_bytes=1)


@given(st.lists(st.lists(st.sampled_from([f"w{k}" for k in range(40)]), max_size=30), max_size=20))
def test_counts_in_bounded_memory(batches: list[list[str]]) -> None:
    counter, truth = FrequentCounter(2_000), Counter[str]()
    for batch in batches:
        counter.add(Counter(batch))
        truth.update(batch)
        assert counter.num_bytes <= 2_000
        for word in truth:
            assert truth[word] - counter.num_lost <= counter[word] <= truth[word]
    # What is taken off leaves room for at least half of the table each time.
    assert counter.num_lost <= sum(truth.values()) / 9
    other = FrequentCounter(2_000)
    other.load(dict(counter.items()), counter.num_lost)
    assert (dict(other.items()), other.num_bytes) == (dict(counter.items()), counter.num_bytes)


def test_proposals_save_most_first(tokenizer: Any) -> None:
    watch = VocabularyWatch(tokenizer)
    for _ in range(6):
        watch.update("the zebrafish; ")
    for _ in range(5):
        watch.update("春花秋月")
    watch.update("春")
    words = propose(watch, 10, 5)
    assert words[:2] == ["春花秋月", " zebrafish"]
    # The characters hardly occur outside the word that was picked.
    assert len(words) == 2
    assert propose(watch, 1, 5) == words[:1]
    assert propose(watch, 10, 7) == []
    with pytest.raises(ConfigError, match="max_new must be at least 1, not 0"):
        propose(watch, 0)


def test_what_contains_a_picked_word_costs_less(tokenizer: Any) -> None:
    watch = VocabularyWatch(tokenizer, WatchConfig(max_characters=2))
    for _ in range(20):
        watch.update("春，")
    for _ in range(6):
        watch.update("春秋，")
    words = propose(watch, 5, 5)
    cost = watch.num_tokens("春秋")
    # 春 saves 26 times its tokens less one, which is more than 春秋 saves; then 春秋 is 春 and what is left.
    assert cost > 2
    assert words[0] == "春"
    assert "春秋" in words[1:] or "秋" in words[1:]
