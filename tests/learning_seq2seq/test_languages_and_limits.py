"""Multilingual models, special tokens that texts spell out, and how long a target may be."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.learning_seq2seq.conftest import MakeModel, make_tokenizer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    ByT5Tokenizer,
    MBart50Tokenizer,
    MBartConfig,
    MBartForConditionalGeneration,
    MBartTokenizer,
    NllbTokenizer,
    PreTrainedTokenizerFast,
)

from everlearn.errors import ConfigError
from everlearn.learning.gradient import GradientConfig
from everlearn.learning.seq2seq import Seq2SeqConfig, Seq2SeqLearner
from everlearn.learning.seq2seq.decoding import Decoding, generate
from everlearn.learning.seq2seq.pairs import PairReader, unpack_pair
from everlearn.models.language.generation import GenerationSettings
from everlearn.models.language.generation import generate as write
from everlearn.models.language.languages import known_languages, resolve_languages, set_languages
from everlearn.models.language.seq2seq import Seq2SeqModel
from everlearn.types import Example

_LETTERS = "▁abcdefghijklmnopqrstuvwxyz<>/_|"
_PIECES: list[tuple[str, float]] = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
_PIECES += [(letter, -3.0) for letter in _LETTERS]


def _mbart50(**languages: str) -> Any:
    make: Any = MBart50Tokenizer
    return make(vocab=list(_PIECES), **languages)


def _mbart25(**languages: str) -> Any:
    make: Any = MBartTokenizer
    return make(vocab=list(_PIECES), **languages)


def _nllb(**languages: str) -> Any:
    make: Any = NllbTokenizer
    return make(**languages)


def _unigram() -> Any:
    """The end token is a piece of its own in this vocabulary, as in many of SentencePiece."""
    backend = Tokenizer(models.Unigram(_PIECES, unk_id=3))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    make: Any = PreTrainedTokenizerFast
    return make(tokenizer_object=backend, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


def _byt5() -> Any:
    make: Any = ByT5Tokenizer
    return make()


def _model(tokenizer: Any, **more: Any) -> Seq2SeqModel:
    sides: dict[str, Any] = {
        f"{side}_{part}": size
        for side in ("encoder", "decoder")
        for part, size in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 16))
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        make: Any = MBartForConditionalGeneration
        config: Any = MBartConfig(
            vocab_size=len(tokenizer), d_model=16, max_position_embeddings=64, **sides, **more
        )
        model = make(config)
    return Seq2SeqModel(model.eval(), tokenizer, "tiny mbart", "tiny", 64)


_PAIR = {"src_lang": "en_XX", "tgt_lang": "de_DE"}
_KINDS: dict[str, Callable[[], Any]] = {
    "unigram": _unigram,
    "words": make_tokenizer,
    "byt5": _byt5,
    "mbart50": partial(_mbart50, **_PAIR),
}
_READERS = {name: PairReader(make(), make().eos_token_id, 64, 64) for name, make in _KINDS.items()}


@pytest.mark.parametrize("kind", _KINDS)
@settings(max_examples=20, deadline=None)
@given(
    pieces=st.lists(st.sampled_from(["</s>", "<pad>", "<unk>", "de_DE", "<s>", "a", " ", "b c"]), max_size=6)
)
def test_special_tokens_that_are_spelled_out_are_text(kind: str, pieces: list[str]) -> None:
    text, reader = "".join(pieces), _READERS[kind]
    tokenizer = reader.tokenizer
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    plain = reader.sources([Example(id="a", text="b")])[0].tolist()
    (target,) = reader.targets([text])
    (source,) = reader.sources([Example(id="a", text=text)])
    assert sum(token in special for token in source.tolist()) == sum(token in special for token in plain)
    assert target[-1] == tokenizer.eos_token_id
    inner = target[(1 if kind == "mbart50" else 0) : -1].tolist()
    assert not special & set(inner)
    if kind == "byt5":
        assert reader.texts([inner]) == [text.strip()]


def test_ordinary_texts_are_read_as_ever() -> None:
    for kind, reader in _READERS.items():
        for text in ("a b", "", "one two three " * 30):
            expected = reader.tokenizer(text, truncation=True, max_length=64)["input_ids"]
            assert reader.sources([Example(id="a", text=text)])[0].tolist() == expected, kind
            expected = reader.tokenizer(text_target=text)["input_ids"][:64]
            assert reader.targets([text])[0].tolist() == expected, kind


@pytest.mark.parametrize("make", [_mbart50, _mbart25, _nllb])
def test_languages_are_asked_for_and_checked(make: Any) -> None:
    target = "deu_Latn" if make is _nllb else "de_DE"
    source = "eng_Latn" if make is _nllb else "en_XX"
    assert {source, target} <= set(known_languages(make()))
    assert not {"<s>", "</s>", "<pad>", "<unk>", "<mask>"} & set(known_languages(make()))
    with pytest.raises(ConfigError, match=rf"target_language must be given.* {target}"):
        resolve_languages(make(), source, None)
    with pytest.raises(ConfigError, match=r"target_language must be given"):
        PairReader(make(), 2, 64, 64)
    with pytest.raises(ConfigError, match=rf"no language 'klingon'; it has .*{source}"):
        resolve_languages(make(), "klingon", target)
    with pytest.raises(ConfigError, match="marks no languages; leave it out"):
        resolve_languages(_unigram(), source, None)
    assert resolve_languages(make(), source, target) == (source, target)
    assert resolve_languages(make(src_lang=source, tgt_lang=target), None, None) == (source, target)
    assert resolve_languages(_unigram(), None, None) == (None, None)


@pytest.mark.parametrize("make", [_mbart50, _mbart25, _nllb])
def test_targets_are_learned_and_written_in_their_language(make: Any) -> None:
    source, target = ("fra_Latn", "deu_Latn") if make is _nllb else ("fr_XX", "de_DE")
    more = {} if make is _mbart25 else {"decoder_start_token_id": 2}
    tokenizer = make()
    config = Seq2SeqConfig(
        source_language=source, target_language=target, optimization=GradientConfig(dtype="float32")
    )
    learner = Seq2SeqLearner(_model(tokenizer, **more), config)
    reference = make(src_lang=source, tgt_lang=target)
    example = Example(id="1", text="a b", target="c d")
    (pair,) = learner.model_examples([example])
    source_ids, target_ids = (ids.tolist() for ids in unpack_pair(pair.input))
    assert source_ids == reference("a b")["input_ids"]
    assert (
        target_ids
        == [token for token in reference(text_target="c d")["input_ids"] if True][: len(target_ids)]
    )
    number = tokenizer.convert_tokens_to_ids(target)
    generated = generate(learner.model, [np.array(source_ids)], learner._decoding)[0].ids
    if make is _mbart25:  # reads the language first; the others write it
        assert learner._decoding.start_id == number
        assert number not in target_ids
        assert target_ids[-1] == tokenizer.eos_token_id
    else:
        assert (target_ids[0], generated[0]) == (number, number)
    learner.learn([example])
    (predicted,) = learner.predict([example])
    written = write(learner.model, tokenizer, "a b", GenerationSettings(max_new_tokens=12))
    assert written.strip()[:6] == (predicted.label or "")[:6]
    again = Seq2SeqLearner(_model(make(), **more), config)
    again.restore(learner.state())
    assert again.fingerprint() == learner.fingerprint()
    assert tokenizer.init_kwargs["tgt_lang"] == target


def test_a_state_from_before_there_were_languages_is_taken() -> None:
    set_languages(tokenizer := _mbart50(), "en_XX", "en_XX")
    learner = Seq2SeqLearner(_model(tokenizer, decoder_start_token_id=2), Seq2SeqConfig())
    assert not {"source_language", "target_language"} & set(dict(learner.description())["config"])


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_target_may_be_as_long_as_was_said_whatever_its_neighbours(
    make_model: MakeModel, num_beams: int
) -> None:
    model = make_model(seed=2).model
    model.final_logits_bias[0, 1] = -1.0  # seldom ends by itself
    generator = np.random.default_rng(0)
    sources = [np.append(generator.integers(3, 30, size=size), 1).astype(np.int32) for size in (0, 2, 3)]
    asked = Decoding(
        start_id=0, end_id=1, pad_id=0, max_target_length=20, bounded_by_source=False, num_beams=num_beams
    )
    assert max(len(one.ids) for one in generate(model, sources, asked)) == 20
    bounded = Decoding(start_id=0, end_id=1, pad_id=0, max_target_length=24, num_beams=num_beams)
    for decoding in (asked, bounded):
        alone = [generate(model, [source], decoding)[0] for source in sources]
        together = generate(model, sources, decoding)
        assert [one.ids for one in together] == [one.ids for one in alone]
        for one, other in zip(together, alone, strict=True):
            assert one.log_probability == pytest.approx(other.log_probability, rel=1e-4)
    assert len({len(one.ids) for one in generate(model, sources, bounded)}) > 1


def test_what_is_said_of_length_holds_for_predictions(make_model: MakeModel) -> None:
    for given_length, expected in ((None, 18), (23, 23)):
        learner = Seq2SeqLearner(make_model(seed=2), Seq2SeqConfig(max_target_length=given_length))
        learner.model.final_logits_bias[0, 1] = -100.0  # type: ignore[operator]
        source = learner._reader.sources([Example(id="a", text="")])
        assert len(generate(learner.model, source, learner._decoding)[0].ids) == expected
