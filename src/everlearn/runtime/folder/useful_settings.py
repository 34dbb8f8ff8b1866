"""No setting is accepted where it does nothing; each declares where it has an effect."""

from __future__ import annotations

from collections.abc import Sequence

from everlearn.errors import ConfigError
from everlearn.settings import RunConfig, flatten_settings
from everlearn.settings.conditions import Values
from everlearn.settings.effects import check_effects
from everlearn.stream.files.codes import CodesSource
from everlearn.stream.source import Source
from everlearn.stream.unused_settings import unused_settings

__all__ = ["check_fits_codes", "check_fits_sources", "check_useful"]


def check_useful(
    config: RunConfig, options: Values, in_file: Values | None = None, *, keeps_texts: bool = False
) -> None:
    """Refuse settings that have no effect beside the others: somebody believes that they do something.

    Args:
        config: Everything that holds.
        options: What was given for this time, by dotted path.
        in_file: What a settings file gives; it may spell defaults out.
        keeps_texts: The run holds texts already, whatever becomes of new ones.

    Raises:
        ConfigError: Names the setting, and the one that stands in its way.
    """
    check_effects(config, _explicit(options, in_file), keeps_texts=keeps_texts)


# What was decided when the codes were made, by its name there.
_OF_THE_CODES = {
    f"model.{name}": name
    for name in ("max_length", "windows", "layers", "sketch_size", "dtype", "batch_invariant")
}


def check_fits_codes(
    source: CodesSource, config: RunConfig, options: Values, in_file: Values | None = None
) -> None:
    """Refuse settings of how texts are encoded that a codes file has no use for.

    Args:
        source: The codes file.
        config: Everything that holds.
        options: As of ``check_useful``.
        in_file: The same.

    Raises:
        ConfigError: Names the setting and the file.
    """
    values = dict(flatten_settings(config.to_mapping()))
    for path in sorted(_explicit(options, in_file)):
        made_with = source.coder_config.get(_OF_THE_CODES.get(path, ""))
        if made_with is not None and values[path] is not None and values[path] not in ("auto", made_with):
            raise ConfigError(
                f"{path} = {values[path]!r} has no effect where the stream is {source.name}, whose codes "
                f"were made with {made_with!r}; leave it out, or encode the texts anew"
            )


def check_fits_sources(sources: Sequence[Source], options: Values, in_file: Values | None = None) -> None:
    """Refuse settings of reading, given as to ``check_useful``, that none of the sources has a use for.

    Raises:
        ConfigError: Names the setting and a source.
    """
    unused = [unused_settings(source) for source in sources]
    given = {path for path in _explicit(options, in_file) if {**(in_file or {}), **options}[path] is not None}
    for path in sorted(given):
        section, _, name = path.rpartition(".")
        if section == "stream" and all(name in reasons for reasons in unused):
            raise ConfigError(
                f"{path} has no effect where the stream is {sources[0].name}: {unused[0][name]}; leave it out"
            )


def _explicit(options: Values, in_file: Values | None) -> set[str]:
    defaults = dict(flatten_settings(RunConfig().to_mapping()))
    return {*options, *(path for path, value in (in_file or {}).items() if value != defaults.get(path))}
