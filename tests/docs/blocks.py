"""The code of the Markdown files: fenced blocks with their language and mark, and the commands that they hold.

A block is run by a test, or carries a mark above it that says why not: `<!-- not run: needs a GPU -->`.
"""

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
PACKAGES = ("bench", "cache_schema", "demo", "detect", "experiments", "extract", "train", "workflow")
LANGUAGES = {"sh", "python", "yaml", "json", "text"}
"""`text` is no code: a drawing, or what a command prints."""
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]*?) -->\n+)?^```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```$", re.M | re.S
)
INLINE = re.compile(r"(?<!`)`((?:make|lare|python -m) [^`\n]+)`(?!`)")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: Its file, below the repository's root.
        language: What stands after the fence.
        code: Its lines.
        reason: Why no test runs it; None where one does.
    """

    page: str
    language: str
    code: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.page}: {self.code.strip().splitlines()[0][:60]}"


@dataclass(frozen=True)
class Command:
    """A program of this project with its arguments: ("train", "fit") and all words after it."""

    program: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def flags(self) -> list[str]:
        """The names of its flags, without values."""
        return [word.partition("=")[0] for word in self.words if re.match(r"--?[A-Za-z]", word)]


def collect() -> list[Block]:
    """All blocks of all pages, in order."""
    blocks = []
    for page in PAGES:
        name = str(page.relative_to(ROOT))
        for found in BLOCK.finditer(page.read_text(encoding="utf-8")):
            blocks.append(Block(name, found["language"], found["code"], found["reason"]))
    return blocks


def inline_commands() -> list[tuple[str, str]]:
    """Commands in running text, by page; one with an ellipsis, a placeholder, is not meant to be typed."""
    found = []
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for line in INLINE.findall(text):
            if not re.search(r"[…<\\]|VERB", line) and not re.fullmatch(r"python -m \w+|python -m|make \w+=\S*", line):
                found.append((str(page.relative_to(ROOT)), line))
    return found


def shell_lines(code: str) -> list[list[str]]:
    """The commands of a shell block as words: continued lines joined, comments and assignments in front left out."""
    lines = []
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_0-9]+=.*", words[0]):
            words = words[1:]
        if words:
            lines.append(words)
    return lines


def expand_make(words: list[str]) -> list[list[str]]:
    """What `make VERB VARIABLE=…` would run, by `make -n`; variables and verbs must be those of the Makefile.

    Raises:
        ValueError: If the Makefile has no such verb or variable.
    """
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    verbs = re.findall(r"^([a-z0-9-]+):.*## ", makefile, flags=re.M)
    variables = re.findall(r"^(?:export )?([A-Z_]+) *[:?]?=", makefile, flags=re.M)
    for word in words[1:]:
        name, is_variable, _ = word.partition("=")
        if name not in (variables if is_variable else verbs):
            raise ValueError(f"make has no {'variable' if is_variable else 'verb'} {name}: {shlex.join(words)}")
    done = subprocess.run(
        ["make", "-n", "-o", ".venv/.installed", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=True
    )
    parts = re.split(r"&&|;|\n", done.stdout.replace("\\\n", " "))
    return [words for part in parts if " -m " in part for words in shell_lines(part)]


def commands_of(words: list[str]) -> Iterator[Command]:
    """The programs of this project that a line starts; none for `pip`, `curl`, `sbatch` or `ruff`.

    Raises:
        ValueError: If the line starts something else, or a file of it is not there.
    """
    if words[0] == "make":
        for line in expand_make(words):
            yield from commands_of(line)
    elif "-m" in words and words[words.index("-m") + 1] == "workflow":
        yield from commands_of(["lare", *words[words.index("-m") + 2 :]])
    elif "-m" in words and re.match(r"python|torchrun", Path(words[0]).name):
        module, *rest = words[words.index("-m") + 1 :]
        if module.partition(".")[0] not in PACKAGES:
            return
        has_verb = bool(rest) and not rest[0].startswith("-")
        yield Command((module, rest[0]) if has_verb else (module,), tuple(rest[has_verb:]))
    elif Path(words[0]).name == "lare":
        num_verbs = 2 if words[1:2] == ["question"] else 1
        verbs = [word for word in words[1 : 1 + num_verbs] if not word.startswith("-")]
        yield Command(("lare", *verbs), tuple(words[1 + len(verbs) :]))
    elif words[0] == "sbatch":
        script = next(word for word in words[1:] if not word.startswith("-"))
        if not (ROOT / script).is_file():
            raise ValueError(f"{script} is not there: {shlex.join(words)}")
    elif words[0] not in ("pip", "curl"):
        raise ValueError(f"{words[0]} is no program that these pages use: {shlex.join(words)}")
