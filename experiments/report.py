"""All answers as one self-contained page, and as Markdown. Nothing is decided here."""

import base64
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from cache_schema import write_bytes, write_text
from cache_schema.program import expand_home
from experiments.answers.answer import Answer, Chart, Picture, Table, describe_settings, format_cell
from experiments.answers.charts import GLYPHS, CurveStyle, choose_styles, draw_chart
from experiments.answers.maps import draw_svgs, load_maps
from experiments.answers.markdown import as_document
from experiments.families import telling as families
from experiments.questions import QUESTIONS, load_telling
from experiments.toy.telling import COMMAND, NAME
from experiments.toy.telling import TELLING as TOY
from workflow.code_hash import ROOT
from workflow.pages import load_template

TEMPLATE = Path(__file__).with_name("templates") / "answers.html.j2"
TITLE = "What LaRE maps tell, and what they do not"


KEPT = ROOT / "docs" / "results"
"""The answers behind docs/RESULTS.md."""


PNG = b"\x89PNG\r\n\x1a\n"
"""What every PNG file begins with."""
QUICK, QUICK_TOY, QUICK_FAMILIES = Path("runs/study/quick/answers"), Path("runs/toy-benchmark"), Path("runs/families")
"""Where this machine has the answers of the quick study, of the toy benchmark whose images it is about, and on
families."""


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Which answers, and where to."""

    config: Path | None = None
    """Settings of a study, the file that `caches` and `ablate` take: its answers are shown, and no others."""
    answers: Path | None = None
    """Folder of a study, or of its answers. Without it and `config`: the quick study and the toy benchmark of this
    machine, or else the answers that docs/RESULTS.md shows."""
    toy: Path | None = None
    """Folder of the toy benchmark's answer, to show it first. Of a study that is named it is shown only on request."""
    families: Path | None = None
    """Folder of the answer on families, to show it last. As `toy`."""
    out: Path = Path("runs/report.html")
    """Page to write: all answers that are there, with charts and pictures."""
    markdown: Path | None = None
    """Markdown file to write, docs/RESULTS.md: the same without charts and pictures."""
    keep: Path | None = None
    """Folder to copy the answers and their pictures to, docs/results, to make the page without doing the work again."""
    retell: bool = False
    """Tell the answers again from their numbers, in the words of today, and write them in place of those of `answers`
    and the two others. No figure changes."""
    data: Path | None = None
    """Dataset folder, to show test images beside their maps."""
    caches: tuple[Path, ...] = ()
    """Caches of that dataset whose maps are shown, a column each, for example of several timesteps."""

    def __post_init__(self) -> None:
        """Check what belongs together."""
        if (self.data is None) == bool(self.caches):
            raise ValueError("data and caches are needed together: the images, and the folders of their maps")
        if self.config is not None and self.answers is not None:
            raise ValueError("config and answers both name a study: expected one of them")


@dataclass(frozen=True)
class Places:
    """Where answers are looked for."""

    answers: tuple[Path, ...]
    """Folders of a study's answers. The first that holds one is taken."""
    toy: Path | None
    """Folder of the toy benchmark's answer; None: it is not shown."""
    families: Path | None = None
    """Likewise, of the answer on families."""
    config: str = "FILE"
    """The study's settings, as a page names them: no place on this machine."""

    @classmethod
    def find(cls, config: ReportConfig) -> "Places":
        """The study that is named, alone; otherwise what this machine has, or what docs/RESULTS.md shows.

        Raises:
            ValueError: If the study's settings name no folder.
        """
        if config.config is not None:
            file = config.config.absolute()
            name = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else "FILE"
            return cls((read_out(config.config) / "answers",), config.toy, config.families, name)
        if config.answers is not None:
            return cls((config.answers, config.answers / "answers"), config.toy, config.families)
        toy, others = (
            here if (here / f"{name}.json").is_file() else KEPT
            for here, name in ((QUICK_TOY, NAME), (QUICK_FAMILIES, families.NAME))
        )
        return cls((QUICK, KEPT), config.toy or toy, config.families or others)

    def list_files(self) -> Iterator[tuple[Path, str]]:
        """An answer's file, there or not, and the command that makes it, in the order of the page."""
        if self.toy is not None:
            yield self.toy / f"{NAME}.json", COMMAND
        folder = next((each for each in self.answers if any(map(Path.is_file, _files(each)))), self.answers[0])
        for file in _files(folder):
            yield file, f"python -m experiments {file.stem} --config {self.config}"
        if self.families is not None:
            yield self.families / f"{families.NAME}.json", families.COMMAND


def _files(folder: Path) -> list[Path]:
    """Where the answers of a folder are, or would be."""
    return [folder / f"{name}.json" for name in QUESTIONS]


def read_out(path: Path) -> Path:
    """The folder that a study's settings name for what it makes. Its images need not be there.

    Raises:
        ValueError: If the file names none, or is no settings.
        OSError: If it cannot be read.
    """
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"config is {path}, which is not YAML: {' '.join(str(error).split())}") from error
    out = settings.get("out") if isinstance(settings, dict) else None
    if not isinstance(out, str):
        raise ValueError(f"{path} names no folder as `out`: expected settings of a study, or name its answers instead")
    return Path(expand_home(out))


@dataclass(frozen=True)
class Section:
    """An answer, ready for the page."""

    answer: Answer
    charts: list[tuple[Chart, list[CurveStyle], str]]
    """With the styles of their curves, and drawn as SVG."""
    pictures: list[tuple[Picture, str]]
    """With their data URIs."""
    settings: dict[str, str]


def load_answers(config: ReportConfig) -> tuple[dict[Path, Answer], dict[str, str]]:
    """The answers that are there by their files, in the order of the page, and what is not: its name → its command.

    Raises:
        ValueError: If there is none; says where they were looked for.
    """
    places = Places.find(config)
    answers, missing = dict[Path, Answer](), dict[str, str]()
    for file, command in places.list_files():
        if file.is_file():
            answers[file] = retell(Answer.load(file), file.parent) if config.retell else Answer.load(file)
        else:
            missing[file.stem] = command
    if not answers:
        folders = [*places.answers, *(each for each in (places.toy, places.families) if each)]
        raise ValueError(
            f"there is no answer in {' or '.join(map(str, folders))}: `lare question ablate` and `lare question NAME` "
            f"write them, with the study's settings and NAME one of {', '.join(QUESTIONS)}"
        )
    return answers, missing


def retell(answer: Answer, folder: Path) -> Answer:
    """Tell an answer again from its numbers, and write it in place of the old one."""
    own = {NAME: TOY, families.NAME: families.TELLING}
    telling = own[answer.name] if answer.name in own else load_telling(answer.name)
    told = telling.retell(answer)
    told.save(folder)
    return told


def prepare(answer: Answer, folder: Path) -> Section:
    """Draw an answer's charts, and read its pictures from its folder."""
    return Section(
        answer,
        [(chart, choose_styles(chart), draw_chart(chart)) for chart in answer.charts],
        [(picture, as_uri(read_png(folder / picture.file))) for picture in answer.pictures],
        describe_settings(answer.settings),
    )


def read_png(path: Path) -> bytes:
    """A picture beside an answer.

    Raises:
        ValueError: If it is a link, or no PNG: a folder of answers may come from anyone.
        OSError: If it cannot be read.
    """
    is_plain = stat.S_ISREG(path.lstat().st_mode)
    content = path.read_bytes() if is_plain else b""
    if not content.startswith(PNG):
        raise ValueError(f"{path} is no PNG file: an answer's pictures are PNG files beside it, not links")
    return content


def as_uri(png: bytes) -> str:
    """A PNG file as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def find_texts(table: Table) -> list[bool]:
    """For each column of a table whether it holds texts, and not figures."""
    is_figure = re.compile(r"[−+–]?\s*[\d.]|[−–]?$").match
    columns = ([row[i] for row in table.rows] for i in range(len(table.columns)))
    return [any(isinstance(cell, str) and not is_figure(cell) for cell in column) for column in columns]


def render(config: ReportConfig, answers: Mapping[Path, Answer], missing: Mapping[str, str]) -> str:
    """The page: contents with findings, a section an answer, what is missing, maps. No external loads, no scripts."""
    return load_template(TEMPLATE).render(
        title=TITLE,
        sections=[prepare(answer, file.parent) for file, answer in answers.items()],
        missing=missing,
        maps=draw_svgs(load_maps(config.data, config.caches)) if config.data else [],
        format_cell=format_cell,
        find_texts=find_texts,
        glyphs=GLYPHS,
    )


def run(config: ReportConfig) -> None:
    """Write all answers that are there as one page, and as Markdown."""
    answers, missing = load_answers(config)
    files = {config.out: render(config, answers, missing)}
    if config.markdown:
        files[config.markdown] = as_document([*answers.values()], missing)
    if config.keep:
        for file, answer in answers.items():
            answer.save(config.keep)
            for picture in answer.pictures:  # which may be kept there already
                write_bytes(config.keep / picture.file, read_png(file.parent / picture.file))
    for path, text in files.items():
        write_text(path, text)
    folders = dict.fromkeys(str(file.parent) for file in answers)
    sys.stdout.write(f"{len(answers)} answers of {' and '.join(folders)}\n" + "".join(f"{path}\n" for path in files))
