"""`lare VERB --flag value …`: every command of the project under one name and one dialect of flags.

Help and misspelt flags are answered from the source alone. The work is loaded when its settings are known to exist.
"""

import locale
import os
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from workflow.cli.flags import WrongFlags, parse_flags, translate
from workflow.cli.help import show_verb, show_verbs
from workflow.cli.verbs import VERBS, Verb, load_questions
from workflow.code_hash import ROOT

EXIT_WRONG_SETTINGS, EXIT_SIGINT = 2, 130
QUESTION = "question"
_QUESTION_LINE = Verb("Answer a question about LaRE from data: lare question --help lists them.", ("experiments",), ())


def main(args: Sequence[str] | None = None) -> int:
    """Run a verb.

    Args:
        args: What follows `lare`; None: the arguments of this process.

    Returns:
        Exit status: 0 done, 1 error, 2 wrong settings, 3 more rejected images than allowed.
    """
    args = [*sys.argv[1:]] if args is None else [*args]
    verbs: Mapping[str, Verb] = VERBS | {QUESTION: _QUESTION_LINE}
    program, name, rest = "lare", *_split(args)
    try:
        if name == QUESTION:
            program, name, rest, verbs = f"lare {QUESTION}", *_split(rest), _load_checkout_questions()
        if not name:
            return _write(show_verbs(verbs, program))
        if name not in verbs:
            near = get_close_matches(name, verbs, 1)
            raise WrongFlags(f"{name} is no verb" + (f": do you mean {near[0]}?" if near else ""))
        called = f"{program} {name}".removeprefix("lare ")
        return _run(called, verbs[name], rest)
    except WrongFlags as error:
        sys.stderr.write(f"error: {error} ({program} {name if name in verbs else ''}".rstrip() + " --help)\n")
        return EXIT_WRONG_SETTINGS


def _split(args: Sequence[str]) -> tuple[str, list[str]]:
    """Verb and what follows it; no verb where help is asked for."""
    return ("", []) if not args or args[0] in ("-h", "--help", "help") else (args[0], [*args[1:]])


def _run(called: str, verb: Verb, args: Sequence[str]) -> int:
    flags = {flag.name: flag.values for flag in parse_flags(args)[1]}
    if verb.needs_checkout:
        _find_checkout(verb.command[0])
    if "help" in flags and not (flags["help"] and verb.is_open):
        return _write(show_verb(called, verb))
    arguments = ["--help"] if "help" in flags else translate(verb, args)
    if verb.command == ("train", "predict") and "help" not in flags:
        arguments = complete_predict(arguments)
    from cache_schema.program import exit_on_sigterm  # a third of a second that help does without

    exit_on_sigterm()
    work = import_module(f"{verb.command[0]}.__main__").main
    status: int = work([*verb.command[1:], *arguments])
    return status


def complete_predict(arguments: Sequence[str]) -> list[str]:
    """Add the folder of the checkpoint's run as the place of the predictions.

    Its config.yaml is not read: settings are code, and the run may be a stranger's. The checkpoint says what it is.

    Raises:
        WrongFlags: If the checkpoint is not there.
    """
    given = dict(argument[2:].split("=", 1) for argument in arguments if argument.startswith("--") and "=" in argument)
    added = [] if "return_predictions" in given else ["--return_predictions=false"]
    if "ckpt_path" not in given:
        return [*arguments, *added]
    ckpt = Path(given["ckpt_path"]).expanduser()
    if not ckpt.is_file():
        raise WrongFlags(f"--ckpt is {ckpt}: no such file")
    run = ckpt.absolute().parent.parent
    is_run = (run / "config.yaml").is_file()
    place = [f"--out={run}"] if is_run and "out" not in given else []
    return [*place, *arguments, *added]


def _load_checkout_questions() -> Mapping[str, Verb]:
    _find_checkout("experiments")
    return load_questions()


def _find_checkout(package: str) -> None:
    """Let a package be found that is installed with none of the others, but stands beside them in a checkout.

    Raises:
        WrongFlags: If this is no checkout.
    """
    if find_spec(package) is None and (ROOT / package).is_dir():
        sys.path.insert(0, str(ROOT))
    if find_spec(package) is None or not (ROOT / package).is_dir():
        raise WrongFlags(f"{package} is not installed: run this verb in a checkout of the project, where `make` works")


def _write(text: str) -> int:
    if sys.stdout.encoding.lower() not in ("utf-8", "utf8"):
        from cache_schema.program import soften_output

        soften_output()
    sys.stdout.write(text + "\n")
    return 0


def run_as_program() -> NoReturn:
    """`main` as a process of its own."""
    if sys.path[:1] not in ([""], [os.getcwd()]):  # as cache_schema.program.keep_imports_ours
        os.environ["PYTHONSAFEPATH"] = "1"
    if sys.flags.utf8_mode == 0 and locale.getencoding().lower() not in ("utf-8", "utf8"):
        from cache_schema.program import read_files_as_utf8  # a third of a second that most calls do without

        read_files_as_utf8()
    try:
        status = main()
    except KeyboardInterrupt:  # while the work is loaded; the work itself ends in order
        sys.stderr.write("stopped by Ctrl-C\n")
        status = EXIT_SIGINT
    sys.exit(status)
