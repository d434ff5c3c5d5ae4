"""Help texts: the verbs, and the settings of one, grouped by how often they are set."""

import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from workflow.cli.source import Setting, first_sentence
from workflow.cli.verbs import Verb

MAX_COLUMNS = 110
NAME_COLUMNS = 26


def show_verbs(verbs: Mapping[str, Verb], program: str = "lare") -> str:
    """All verbs, a line each."""
    lines = [line for name, verb in verbs.items() for line in _in_columns(name, verb.summary, 2 + max(map(len, verbs)))]
    return "\n".join([f"Usage: {program} VERB [--flag value …]", "", *lines, "", f"{program} VERB --help: its flags."])


def show_verb(name: str, verb: Verb) -> str:
    """One verb: what it does, how it is called, and its settings with a sentence each."""
    required = [setting for setting in verb.known.values() if setting.is_required and setting.name not in verb.often]
    often = [verb.known[setting] for setting in verb.often]
    rest = [setting for setting in verb.known.values() if setting not in required and setting not in often]
    words = " ".join(_word(setting) for setting in verb.known.values() if setting.is_positional)
    parts = [
        f"Usage: lare {name} {words} [--flag value …]".replace("  ", " "),
        "",
        *textwrap.wrap(verb.summary, _columns()),
    ]
    if verb.example:
        parts.append(f"For example: lare {name} {verb.example}")
    parts += ["", *_group("Required", required, verb)] if required else []
    often = [*often, *([_CONFIG] if verb.has_config else [])]
    parts += ["", *_group("Most people set", often, verb)] if often else []
    if verb.is_open:
        parts += ["", f"All {len(verb.known)} settings: lare {name} --help=all; with their values: --print_config."]
    elif rest:
        parts += ["", *_group("The rest" if often else "Optional", rest, verb)]
    return "\n".join(parts)


_CONFIG = Setting(
    "config", text="YAML file of settings, or the name of a packaged one; several: later over earlier, flags over all."
)


def _group(title: str, settings: Sequence[Setting], verb: Verb) -> list[str]:
    short = {full: name for name, full in verb.aliases.items()}
    return [f"{title}:", *(line for setting in settings for line in _lines(setting, short))] if settings else []


def _lines(setting: Setting, short: Mapping[str, str]) -> Iterator[str]:
    name = _word(setting) if setting.is_positional else f"--{short.get(setting.name, setting.name)}"
    text = first_sentence(setting.text)
    if "." not in text.partition(" ")[0]:  # not the name of a file
        text = text[:1].upper() + text[1:]
    if setting.choices and not all(f"`{choice}`" in text for choice in setting.choices):
        text += f" One of {', '.join(setting.choices)}."
    if setting.default is not None:
        text += f" [{setting.default}]"
    yield from _in_columns(name, text, NAME_COLUMNS)


def _word(setting: Setting) -> str:
    """What stands without a flag, as usage shows it: "STORE", "FILES…"."""
    return setting.name.upper() + ("…" if setting.is_list else "")


def _in_columns(name: str, text: str, width: int) -> Iterator[str]:
    """A name and its text beside it; a name that is too long has a line of its own."""
    lines = textwrap.wrap(text, max(30, _columns() - width - 2), break_on_hyphens=False) or [""]
    if len(name) > width - 2:
        yield f"  {name}"
        name = ""
    yield f"  {name:<{width}}{lines[0]}".rstrip()
    yield from (f"  {'':<{width}}{line}" for line in lines[1:])


def _columns() -> int:
    return min(shutil.get_terminal_size((MAX_COLUMNS, 24)).columns, MAX_COLUMNS)
