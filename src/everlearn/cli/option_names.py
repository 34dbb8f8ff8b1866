"""Messages about settings in the words of somebody who gave options: ``--batch-size``, no Python name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from typer.models import OptionInfo

from everlearn.cli.setting_options import settings_of
from everlearn.settings.run_config import DECLARED

__all__ = ["in_option_names", "options_of"]

_OTHER_NAMES = {"drop_text_after": ("drop_text_after_days",)}
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
    settings = settings_of(command)
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        known = getattr(parameter.annotation, "__metadata__", ())
        info = next((extra for extra in known if isinstance(extra, OptionInfo)), None)
        if info is None:
            continue
        spelled = next(
            (spelling.split("/")[0] for spelling in info.param_decls or () if spelling.startswith("--")), None
        )
        option = spelled or f"--{name.replace('_', '-')}"
        called = [name, *_OTHER_NAMES.get(name, ())]
        for setting in settings.get(name, ()):
            last = setting.path.rpartition(".")[2]
            called += [last, f"fields.{last.removesuffix('_field')}", *setting.setting.also_called]
        found |= dict.fromkeys(called, option)
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
    names = {path: setting.setting.flag for path, setting in DECLARED.items() if setting.setting.flag} | dict(
        options
    )
    for name in sorted(names, key=len, reverse=True):  # one may be a part of another
        before, behind = (
            (_BEFORE_A_WORD, _BEHIND_A_WORD) if name.isalpha() else (_BEFORE_A_NAME, _BEHIND_A_NAME)
        )
        message = re.sub(before + re.escape(name) + behind, names[name], message)
    # One option may stand for several settings, and the same is said of each.
    return "; ".join(dict.fromkeys(message.removeprefix("settings: ").split("; ")))
