"""One dialect of flags for every verb: underscores, `--flag value` or `--flag=value`, `--config` anywhere.

What a person types is checked against the verb's settings before the work is loaded, and put into the form that the
work's own parser takes.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from workflow.cli.source import Setting
from workflow.cli.verbs import Verb
from workflow.code_hash import ROOT

CONFIG_FOLDERS = ("extract/configs", "train/configs", "experiments/configs")
"""Folders of settings that `--config` takes by name: "sd15", "lare2"."""


class WrongFlags(ValueError):
    """What was typed does not fit the verb."""


@dataclass(frozen=True)
class Flag:
    """A flag and what follows it."""

    name: str
    """As typed, without `--`; hyphens are underscores."""
    values: tuple[str, ...]


def parse_flags(arguments: Sequence[str]) -> tuple[list[str], list[Flag]]:
    """Words before the first flag, and the flags with what follows each.

    A value that begins with `--` stands behind "=": `--fit_args=--trainer.max_epochs=1`.
    """
    words: list[str] = []
    flags: list[Flag] = []
    for argument in arguments:
        short = {"-c": "--config", "-h": "--help"}.get(argument, argument)
        if short.startswith("--") and len(short) > 2:
            name, equals, value = short[2:].partition("=")
            flags.append(Flag(name.replace("-", "_"), (value,) if equals else ()))
        elif flags:
            flags[-1] = Flag(flags[-1].name, (*flags[-1].values, argument))
        else:
            words.append(argument)
    return words, flags


def translate(verb: Verb, arguments: Sequence[str]) -> list[str]:
    """Arguments for the work's own parser: checked, full names, config files first and as paths.

    Raises:
        WrongFlags: If a flag is unknown, has no value or too many, or a config file cannot be used.
    """
    words, flags = parse_flags(arguments)
    is_file = "config" not in verb.known  # otherwise it is a setting like others
    configs = [value for flag in flags if flag.name == "config" and is_file for value in _some(flag)]
    if configs and not verb.has_config:
        raise WrongFlags("--config: this verb has no settings that a file could hold")
    others = [Flag(_full_name(verb, flag.name), flag.values) for flag in flags if flag.name != "config" or not is_file]
    words, others = _find_words(verb, words, others)
    files = [find_config(config) for config in configs]
    for file in files if verb.command != ("workflow.prefetch",) else ():  # it takes those of other verbs
        check_keys(verb, file)
    translated = [argument for file in files for argument in ("--config", str(file))]
    written = [word for flag in others for word in _write(verb.known, flag)]
    if any(word.startswith("-") and word != "-" for word in words):  # a file's name, which is no flag
        return [*translated, *written, "--", *words]
    return [*translated, *words, *written]


_OTHER = Setting("")


def _find_words(verb: Verb, words: list[str], flags: list[Flag]) -> tuple[list[str], list[Flag]]:
    """What stands without a flag, and the flags that are left.

    Where a verb takes any number of words, what follows a flag beyond its own value is words too:
    `--detector FOLDER a.jpg b.jpg`.

    Raises:
        WrongFlags: If there are more words than the verb takes.
    """
    positional = [setting for setting in verb.known.values() if setting.is_positional]
    takes_any = any(setting.is_list for setting in positional)
    if len(words) > len(positional) and not takes_any:
        raise WrongFlags(f"{words[len(positional)]!r} stands without a flag: expected --flag value")
    left = []
    for flag in flags:
        setting = verb.known.get(flag.name, _OTHER)
        num = 0 if setting.is_positional else len(flag.values)
        if takes_any and not setting.is_positional and not setting.is_list:
            is_bare = setting.is_bool and flag.values[:1] and flag.values[0].lower() not in ("true", "false")
            num = 0 if is_bare else 1
        words = [*words, *flag.values[num:]]
        if not setting.is_positional:
            left.append(Flag(flag.name, flag.values[:num]))
    return [word for word in words if word != "--" or not takes_any], left


def _some(flag: Flag) -> tuple[str, ...]:
    if not flag.values:
        raise WrongFlags(f"--{flag.name} needs a value")
    return flag.values


def _full_name(verb: Verb, name: str) -> str:
    """The setting that a flag means."""
    bare = name.removesuffix("+")
    if bare in verb.aliases and bare not in verb.known:
        return verb.aliases[bare] + name[len(bare) :]
    outer = ".".join(bare.split(".")[:2])
    if bare in verb.known or (verb.is_open and outer in verb.known and outer != bare):
        return name
    head, dot, key = bare.partition(".")
    if dot and key and head in verb.known and verb.known[head].kind.startswith("dict["):  # --sbatch.constraint a100
        return name
    raise WrongFlags(f"--{name} is no setting of this verb{suggest(bare, [*verb.known, *verb.aliases, 'config'])}")


def suggest(name: str, known: Sequence[str]) -> str:
    """The end of a message, ": do you mean …?", where a known name is near; otherwise nothing."""
    short = {each.rpartition(".")[2]: each for each in reversed(known)}
    near = get_close_matches(name, known, 1, 0.6) or [
        short[each] for each in get_close_matches(name.rpartition(".")[2], [*short], 1, 0.75)
    ]
    return f": do you mean --{near[0]}?" if near else ""


def _write(known: Mapping[str, Setting], flag: Flag) -> Iterator[str]:
    """A flag in the form that argparse and jsonargparse take."""
    setting = known.get(flag.name, _OTHER)
    values = [value for value in flag.values if value != ""] if setting.takes_words else list(flag.values)
    if flag.name in ("config", "recipe"):
        values = [str(find_config(value)) for value in values]
    if setting.is_switch and flag.name != "print_config":
        values = _as_bool(flag)
        if values == ["true"]:
            yield f"--{flag.name}"
        return
    if flag.name == "print_config":
        yield "--print_config" + (f"={values[0]}" if values else "")
        return
    if not values and setting.is_bool:
        values = ["true"]
    _some(Flag(flag.name, tuple(values)))
    if setting.takes_words:
        yield from (f"--{flag.name}", *values)
    elif setting.is_list and (len(values) > 1 or (setting.is_list_only and not values[0].startswith("["))):
        yield f"--{flag.name}=[{','.join(_as_item(value, setting.kind) for value in values)}]"
    elif len(values) > 1:
        raise WrongFlags(f"--{flag.name} takes one value, got {len(values)}: {' '.join(values)}")
    else:
        yield f"--{flag.name}={values[0]}"


def _as_bool(flag: Flag) -> list[str]:
    values = [value.lower() for value in flag.values] or ["true"]
    if values not in (["true"], ["false"]):
        raise WrongFlags(f"--{flag.name} is {' '.join(flag.values)}: expected true, false or nothing")
    return values


def _as_item(value: str, kind: str) -> str:
    is_number = re.fullmatch(r"-?\d+(\.\d+)?([eE][-+]?\d+)?", value)
    return value if is_number and "str" not in kind else json.dumps(value)


def packaged_configs() -> dict[str, Path]:
    """Name → settings file that comes with the packages."""
    return {file.stem: file for folder in CONFIG_FOLDERS for file in sorted((ROOT / folder).glob("*.yaml"))}


def find_config(name: str) -> Path:
    """A settings file: a path, or the name of one that comes with the packages.

    Raises:
        WrongFlags: If there is none, or it cannot be read as YAML with settings.
    """
    path, packaged = Path(name).expanduser(), packaged_configs()
    if not path.exists() and name in packaged:
        path = packaged[name]
    if not path.exists():
        near = get_close_matches(name, packaged, 1, 0.6)
        instead = f"do you mean {near[0]}?" if near else f"by name there are {', '.join(packaged)}"
        raise WrongFlags(f"--config is {name}: no such file; {instead}")
    load_settings(path)
    return path


def load_settings(path: Path) -> dict[str, Any]:
    """A settings file's content.

    Raises:
        WrongFlags: If it cannot be read as YAML with settings.
    """
    import yaml  # a tenth of a second that most calls do without

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise WrongFlags(f"--config is {path}, which is not YAML: {' '.join(str(error).split())}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise WrongFlags(f"--config is {path}, which cannot be read: {error}") from error
    if content is not None and not isinstance(content, dict):
        raise WrongFlags(f"--config is {path}, which holds no settings: expected lines `name: value`")
    return content or {}


def check_keys(verb: Verb, path: Path) -> None:
    """Refuse a settings file with a name that the verb does not have, as far as the dots of it go.

    Raises:
        WrongFlags: If there is one.
    """
    outer = {name.partition(".")[0]: name for name in verb.known}
    for key in load_settings(path):
        if str(key).partition(".")[0] not in outer:
            near = get_close_matches(str(key), outer, 1, 0.6)
            hint = f": do you mean {near[0]}?" if near else ""
            raise WrongFlags(f"{path} sets {key}, which is no setting of this verb{hint}")
