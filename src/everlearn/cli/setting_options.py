"""A command's options, made from the declarations of the settings that it takes.

Every option defaults to None, "not given", so that a run which is continued keeps its settings.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, get_args, get_origin

import typer

from everlearn.cli.options import HelpAll, parse_delimiter, parse_size
from everlearn.settings.declarations import Declared, declared_in
from everlearn.settings.run_config import DECLARED
from everlearn.settings.section import Section

__all__ = [
    "SETTINGS_OF",
    "Options",
    "given_in",
    "given_settings",
    "has_many_settings",
    "settings_of",
    "taking",
]

_MANY = 15
_PARSERS = {"SIZE": parse_size, "CHARACTER": parse_delimiter}
Options = Mapping[str, tuple[Declared, ...]]
"""The settings that each parameter stands for, the first telling its help."""


def _by_name(settings: Iterable[Declared]) -> Options:
    found: dict[str, tuple[Declared, ...]] = {}
    for setting in settings:
        if setting.setting.flag is not None:
            found[setting.name] = (*found.get(setting.name, ()), setting)
    return found


SETTINGS_OF: Options = _by_name(DECLARED.values())
"""Those of a run."""


def taking(
    *names: str, own: type[Section] | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of settings, in place of its ``**settings``.

    Args:
        *names: Their parameters, as ``text_field``; ``"*"``: all of a run.
        own: A section of settings that are no run's.
    """
    options = dict(_by_name(declared_in(own))) if own is not None else {}
    options |= SETTINGS_OF if names == ("*",) else {name: SETTINGS_OF[name] for name in names}

    def give(command: Callable[..., None]) -> Callable[..., None]:
        command.settings = options  # type: ignore[attr-defined]
        signature = inspect.signature(command, eval_str=True)
        parameters = list(signature.parameters.values())
        if parameters[-1].kind is not inspect.Parameter.VAR_KEYWORD:
            raise TypeError(f"{command.__name__} has no **settings")
        made = [_parameter(name, settings[0]) for name, settings in options.items()]
        if has_many_settings(command):
            made.append(_keyword("help_all", HelpAll, False))
        whole = signature.replace(parameters=[*parameters[:-1], *made])
        command.__signature__ = whole  # type: ignore[attr-defined]
        return command

    return give


def settings_of(command: Any) -> Options:
    """The settings behind a command's parameters."""
    found: Options = getattr(command, "settings", {})
    return found


def has_many_settings(command: Any) -> bool:
    """Whether a command takes so many that its short help leaves some out."""
    return len(settings_of(command)) > _MANY


def given_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run that were given on the command line, by dotted path."""
    return {
        setting.path: {name: {} for name in value} if get_origin(setting.type) is dict else value
        for name, value in values.items()
        if value not in (None, [])
        for setting in SETTINGS_OF.get(name, ())
    }


def given_in(section: type[Section], values: dict[str, Any]) -> dict[str, Any]:
    """Take the settings of a section of its own out of what was given on the command line, by field."""
    found = {settings[0].path: values.pop(name) for name, settings in _by_name(declared_in(section)).items()}
    return {name: value for name, value in found.items() if value not in (None, [])}


def _parameter(name: str, setting: Declared) -> inspect.Parameter:
    flag, kind = str(setting.setting.flag), setting.type
    is_flag = kind is bool
    option = typer.Option(
        f"{flag}/--no-{flag[2:]}" if is_flag else flag,
        metavar=None if is_flag else setting.setting.unit,
        parser=_PARSERS.get(setting.setting.unit),
        help=f"{setting.help} Default: {setting.default_in_words()}.",
        show_default=False,
        rich_help_panel=setting.panel or None,
    )
    taken: Any = list[str] if get_origin(kind) in (dict, tuple) else str if get_args(kind) else kind
    annotation = Annotated[taken | None, option]
    return _keyword(name, annotation, None)


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
