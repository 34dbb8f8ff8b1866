"""Messages about settings in the words of somebody who gave options: ``--batch-size``, no Python name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, get_type_hints

from typer.models import OptionInfo

from everlearn.cli.options import SETTING_OF

__all__ = ["in_option_names", "options_of"]

# What settings are called below the command line, beside the last parts of their paths.
_OTHER_NAMES = {
    "beams": ("num_beams",),
    "experiences": ("num_experiences",),
    "max_classes": ("learner.gradient.max_classes",),
    "documents": ("documents.split",),
    "drop_text_after": ("drop_text_after_days",),
    "max_record_bytes": ("documents.max_record_bytes",),
    **{f"{role}_field": (f"fields.{role}",) for role in ("text", "target", "id", "domain", "time")},
}
_NO_OPTIONS: Mapping[str, str] = MappingProxyType({})
# A name of one word is a word of sentences and file names too, unless something is said of it.
_BEFORE_A_WORD = r"(?:^|(?<=[:;(,] )|(?<= where )|(?<= but ))"
_BEHIND_A_WORD = (
    r"(?= = |=['\d]| is (?:['\"\d\[{(-]|at its|given\b|not\b|for\b|None|True|False)| must | cannot |: )"
)
_BEFORE_A_NAME, _BEHIND_A_NAME = r"(?<![\w./\\'\"-])", r"(?!\.?[\w/\\'\"-])"


def options_of(command: Callable[..., Any]) -> dict[str, str]:
    """The options of a command by all names that a message may call them."""
    found: dict[str, str] = {}
    for parameter, hint in get_type_hints(command, include_extras=True).items():
        info = next((one for one in getattr(hint, "__metadata__", ()) if isinstance(one, OptionInfo)), None)
        if info is None:
            continue
        spelled = next((one.split("/")[0] for one in info.param_decls or () if one.startswith("--")), None)
        option = spelled or f"--{parameter.replace('_', '-')}"
        last = SETTING_OF.get(parameter, parameter).rpartition(".")[2]
        found |= dict.fromkeys((parameter, last, *_OTHER_NAMES.get(parameter, ())), option)
    return found


def in_option_names(message: str, options: Mapping[str, str] = _NO_OPTIONS) -> str:
    """A message about settings as somebody wants it who gave options.

    >>> in_option_names("settings: stream.batch_size = 0: too small")
    '--batch-size = 0: too small'
    >>> in_option_names("/data/stream.delay/my seed: made with other settings: seed is 1 in the run")
    '/data/stream.delay/my seed: made with other settings: --seed is 1 in the run'
    >>> in_option_names("stream.delay has no effect where task = 'lm'")
    "--delay has no effect where --task = 'lm'"
    >>> in_option_names("top must be at least 1, not 0", {"top": "--top"})
    '--top must be at least 1, not 0'

    Args:
        message: As the settings call themselves.
        options: Those of the command, by further names; see ``options_of``.
    """
    names = {path: f"--{name.replace('_', '-')}" for name, path in SETTING_OF.items()}
    names = {**names, "learner.gradient.max_classes": "--max-classes", **options}
    for name in sorted(names, key=len, reverse=True):  # one may be a part of another
        before, behind = (
            (_BEFORE_A_WORD, _BEHIND_A_WORD) if name.isalpha() else (_BEFORE_A_NAME, _BEHIND_A_NAME)
        )
        message = re.sub(before + re.escape(name) + behind, names[name], message)
    # One option may stand for several settings, and the same is said of each.
    return "; ".join(dict.fromkeys(message.removeprefix("settings: ").split("; ")))
