"""The languages of a multilingual encoder-decoder, whose tokenizer marks every text with its own.

Such a tokenizer (of mBART, M2M100, NLLB …) has a language for sources and one for targets. Where nobody has
said which, it takes some default, and a target of another language would be learned as one of that.
"""

from __future__ import annotations

from typing import Any

from everlearn.errors import ConfigError

__all__ = [
    "check_target_language",
    "is_multilingual",
    "keep_own_language",
    "known_languages",
    "language_id",
    "resolve_languages",
    "set_languages",
]

_NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


def is_multilingual(tokenizer: Any) -> bool:
    """Whether a tokenizer marks texts with their language."""
    return hasattr(tokenizer, "set_tgt_lang_special_tokens") and hasattr(tokenizer, "src_lang")


def known_languages(tokenizer: Any) -> list[str]:
    """The codes of the languages of a multilingual tokenizer, sorted."""
    codes = getattr(tokenizer, "lang_code_to_id", None)
    if codes:
        return sorted(codes)
    named = {str(getattr(tokenizer, name, None)) for name in _NAMED}
    return sorted(token for token in map(str, tokenizer.all_special_tokens) if token not in named)


def language_id(tokenizer: Any, language: str) -> int:
    """The token that stands for a language."""
    codes = getattr(tokenizer, "lang_code_to_id", None) or {}
    return int(codes[language] if language in codes else tokenizer.convert_tokens_to_ids(language))


def resolve_languages(
    tokenizer: Any, source: str | None, target: str | None
) -> tuple[str | None, str | None]:
    """The languages that a new run translates between: what is given, else what the tokenizer was saved with.

    Args:
        tokenizer: Of transformers.
        source: What is given for sources; None: nothing.
        target: What is given for targets; None: nothing.

    Returns:
        Both codes; None and None where the tokenizer knows no languages.

    Raises:
        ConfigError: A language is unknown, is needed and not given, or given where there are none; lists
            those that there are.
    """
    given = {"source": source, "target": target}
    if not is_multilingual(tokenizer):
        for side, language in given.items():
            if language is not None:
                raise ConfigError(
                    f"learner.translation.{side}_language: {language!r} is given, but the model's tokenizer "
                    "marks no languages; leave it out"
                )
        return None, None
    languages = known_languages(tokenizer)
    saved = {"source": "src_lang", "target": "tgt_lang"}
    for side, language in given.items():
        found = language or tokenizer.init_kwargs.get(saved[side])
        if found is None:
            raise ConfigError(
                f"learner.translation.{side}_language must be given: the model translates between several "
                f"languages and marks every text with its own. It knows {', '.join(languages)}"
            )
        if found not in languages and f"__{found}__" in languages:
            found = f"__{found}__"
        if found not in languages:
            raise ConfigError(
                f"learner.translation.{side}_language: the model's tokenizer has no language {found!r}; it "
                f"has {', '.join(languages)}"
            )
        given[side] = found
    return given["source"], given["target"]


def set_languages(tokenizer: Any, source: str, target: str) -> None:
    """Let a multilingual tokenizer read sources and targets as texts of these languages, in place."""
    tokenizer.src_lang, tokenizer.tgt_lang = source, target
    # What it is saved with, so that whoever loads it goes on with them.
    tokenizer.init_kwargs |= {"src_lang": source, "tgt_lang": target}


def keep_own_language(tokenizer: Any) -> None:
    """Let targets be of the sources' language, in place, as runs have it that were made without languages."""
    if is_multilingual(tokenizer) and getattr(tokenizer, "tgt_lang", None) is None:
        tokenizer.tgt_lang = tokenizer.src_lang


def check_target_language(tokenizer: Any) -> None:
    """Refuse to read targets of which nobody has said the language.

    Raises:
        ConfigError: The tokenizer is multilingual and has no language for targets.
    """
    if is_multilingual(tokenizer) and getattr(tokenizer, "tgt_lang", None) is None:
        resolve_languages(tokenizer, getattr(tokenizer, "src_lang", None), None)
