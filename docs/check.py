"""Holds the documents to the program: ``python -m docs.check``; ``--write`` renews cli.md and settings.md.

Checked are links between the project's files, every ``everlearn`` command line in the documents (command and
options must exist), docs/cli.md and docs/settings.md (they are generated, with unit and default of every
option and setting), that no help names an option which its command does not take, that every test which a
document names exists, and that the Chinese README has the English one's code.
"""

from __future__ import annotations

import ast
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import typer.main

from everlearn.cli.app import app
from everlearn.settings import DECLARED
from everlearn.settings.service import ServiceConfig
from everlearn.settings.units import UNITS

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(path for part in ("deploy", "docs", "examples") for path in (ROOT / part).rglob("*.md")),
    ]
)
CLI_REFERENCE, SETTINGS_REFERENCE = ROOT / "docs" / "cli.md", ROOT / "docs" / "settings.md"

_WORDS_OF_THEIR_OWN = frozenset(
    {
        "CODES.parquet",
        "FILE",
        "FILE.yaml",
        "FOLDER",
        "RUN",
        "ADDRESS",
        "KIND",
        "ORDER",
        "PART",
        "POLICY",
        "ROLE",
    }
    | {"TASK", "TENANT", "TYPE"}
)


def main() -> None:
    """Print what is wrong and exit with 1, or with 0."""
    program = typer.main.get_command(app)
    generated = {CLI_REFERENCE: cli_reference(program), SETTINGS_REFERENCE: settings_reference()}
    if "--write" in sys.argv[1:]:
        for path, text in generated.items():
            path.write_text(text, encoding="utf-8")
    problems = [
        problem
        for path in DOCUMENTS
        for problem in [
            *broken_links(path),
            *missing_tests(path),
            *placeholders(path),
            *wrong_commands(path, program),
        ]
    ]
    problems += option_problems(program)
    for path, text in generated.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            problems.append(
                f"docs/{path.name} is not what the program says; run: python -m docs.check --write"
            )
    if code_blocks(ROOT / "README.md") != code_blocks(ROOT / "README.zh-CN.md"):
        problems.append("README.zh-CN.md has other code blocks than README.md")
    print("\n".join(problems) or f"{len(DOCUMENTS)} documents agree with the program")
    sys.exit(1 if problems else 0)


def broken_links(path: Path) -> list[str]:
    """Relative links of a document that lead nowhere."""
    found = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    relative = [target for target in found if "://" not in target and not target.startswith("mailto:")]
    return [f"{path.name}: no file {target}" for target in relative if not (path.parent / target).exists()]


def missing_tests(path: Path) -> list[str]:
    """Tests that a document names (tests/…/test_x.py::test_y) and that do not exist."""
    problems = []
    text = path.read_text(encoding="utf-8")
    for file, name in sorted(set(re.findall(r"(tests/[\w/]+\.py)::(\w+)", text))):
        if not (ROOT / file).is_file() or name not in _functions(ROOT / file):
            problems.append(f"{path.name}: no test {file}::{name}")
    return problems


def _functions(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def placeholders(path: Path) -> list[str]:
    """Figures that were never filled in."""
    found = re.findall(r"\b(?:RESULT|TODO|FIXME|TBD)_?\w*", path.read_text(encoding="utf-8"))
    return [f"{path.name}: placeholder {word}" for word in found]


def wrong_commands(path: Path, program: Any) -> list[str]:
    """Command lines of a document that the program would not take."""
    problems = []
    for line in re.findall(r"^\s*(?:\$ )?everlearn .*$", "\n".join(code_blocks(path)), flags=re.MULTILINE):
        words = shlex.split(line, comments=True)[1:]
        if not words or words[0].startswith("-"):
            continue
        name = words[0] if words[0] in _commands(program) else " ".join(words[:2])
        command = _commands(program).get(name)
        if command is None:
            problems.append(f"{path.name}: no command {name!r}: {line.strip()}")
            continue
        known = {flag for p in command.params for flag in [*p.opts, *p.secondary_opts]} | {"--help"}
        unknown = [w for w in words[1:] if w.startswith("--") and w.split("=")[0] not in known]
        problems += [f"{path.name}: {words[0]} has no option {w}: {line.strip()}" for w in unknown]
    return problems


def code_blocks(path: Path) -> list[str]:
    """The fenced code blocks of a document."""
    return re.findall(r"^```\w*\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def cli_reference(program: Any) -> str:
    """docs/cli.md: every command with its arguments and options, their units and defaults."""
    lines = ["# Command line", "", "Generated from the program by `python -m docs.check --write`."]
    lines += ["Settings as files name them: [settings.md](settings.md).", ""]
    lines += ["## Units", "", "| written | stands for |", "| --- | --- |"]
    lines += [f"| {word} | {meaning} |" for word, meaning in UNITS.items()]
    lines.append("")
    for name, command in _commands(program).items():
        lines += [f"## everlearn {name}", "", _plain(command.help or ""), ""]
        rows = []
        for parameter in command.params:
            if parameter.param_type_name == "option" and not getattr(parameter, "hidden", False):
                flags = ", ".join(f"`{flag}`" for flag in [*parameter.opts, *parameter.secondary_opts])
                meaning, _ = _meaning_and_default(parameter)
                unit = parameter.metavar or ""
                rows.append(f"| {flags} | {unit} | {meaning} | {default_of(parameter)} |")
            elif parameter.param_type_name == "argument":
                shown = parameter.metavar or parameter.name
                default = "needed" if parameter.required else "none"
                rows.append(f"| `{shown}` | | {_plain(parameter.help or '')} | {default} |")
        lines += ["| argument or option | unit | meaning | default |", "| --- | --- | --- | --- |", *rows, ""]
    return "\n".join(lines)


def settings_reference() -> str:
    """docs/settings.md: every setting of a run, and of a service, as a settings file names it."""
    lines = ["# Settings", "", "Generated from the program by `python -m docs.check --write`.", ""]
    lines += [
        "A file for `--config` gives them by section, as in `stream: {batch_size: 64}`; null: the default. "
        "Units: see [cli.md](cli.md).",
        "",
    ]
    lines += ["| setting | option | unit | meaning | default |", "| --- | --- | --- | --- | --- |"]
    for path, one in DECLARED.items():
        option = f"`{one.setting.flag}`" if one.setting.flag else ""
        unit = one.setting.unit or ("yes or no" if one.type is bool else "")
        lines.append(
            f"| `{path}` | {option} | {unit} | {_plain(one.help)} | {_plain(one.default_in_words())} |"
        )
    lines += [
        "",
        "## Of a service",
        "",
        "For `everlearn serve --config FILE`; in the environment as `EVERLEARN_SERVICE_` and the name in "
        "capitals.",
        "",
        "| setting | meaning | default |",
        "| --- | --- | --- |",
    ]
    for name, field in ServiceConfig.model_fields.items():
        meaning, _, told = (field.description or "").partition(" Default: ")
        default = told.rstrip(".") or field.default
        in_words = (
            {True: "yes", False: "no"}[default]
            if isinstance(default, bool)
            else f"{default:g}"
            if isinstance(default, float)
            else str(default)
        )
        lines.append(f"| `{name}` | {_plain(meaning)} | {_plain(in_words)} |")
    return "\n".join([*lines, ""])


def default_of(option: Any) -> str | None:
    """What holds where an option is not given; None where nothing says it."""
    _, told = _meaning_and_default(option)
    if told is not None:
        return told
    if option.required:
        return "needed"
    if option.is_flag:
        return "yes" if option.default else "no"
    if option.multiple:
        return "none"
    return None if option.default is None else str(option.default)


def option_problems(program: Any) -> list[str]:
    """Options without a unit or default, and help that names an option of another command as if its own."""
    problems = []
    for name, command in _commands(program).items():
        options = [one for one in command.params if one.param_type_name == "option"]
        own = {flag for one in options for flag in [*one.opts, *one.secondary_opts]} | {"--help"}
        for option in options:
            called = f"everlearn {name} {option.opts[0]}"
            if default_of(option) is None:
                problems.append(f"{called}: nothing says its default")
            if not option.is_flag and option.metavar not in UNITS.keys() | _WORDS_OF_THEIR_OWN:
                problems.append(f"{called}: no unit is known by the name {option.metavar}")
        for text in [command.help or "", *(one.help or "" for one in options)]:
            for command_named, flag in re.findall(r"(\w+ )?(?<![\w-])(--[a-z][a-z-]*)", _plain(text)):
                if flag not in own and command_named.strip() not in _commands(program):
                    problems.append(f"everlearn {name} has no option {flag}, but its help names it")
    return problems


def _meaning_and_default(option: Any) -> tuple[str, str | None]:
    """The help of an option, and what it says of the default."""
    meaning, found, default = _plain(option.help or "").partition("Default: ")
    return meaning.strip(), default.strip().rstrip(".") if found else None


def _commands(program: Any) -> dict[str, Any]:
    """Commands by name; those of a group by both names."""
    found: dict[str, Any] = {}
    for name, command in program.commands.items():
        parts = getattr(command, "commands", None)
        found |= {name: command} if parts is None else {f"{name} {part}": c for part, c in parts.items()}
    return found


def _plain(text: str) -> str:
    without_markup = re.sub(r"\[/?[a-z ]*\]", "", text)
    return " ".join(without_markup.split()).replace("|", "\\|")


if __name__ == "__main__":
    main()
