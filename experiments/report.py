"""All answers as one self-contained page, and as Markdown. Nothing is decided here."""

import base64
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from experiments.answers.answer import Answer, Chart, Picture, Table, describe_settings, format_cell
from experiments.answers.charts import GLYPHS, CurveStyle, choose_styles, draw_chart
from experiments.answers.maps import draw_svgs, load_maps
from experiments.answers.markdown import as_document
from experiments.questions import QUESTIONS, load_telling
from experiments.toy.telling import COMMAND, NAME
from experiments.toy.telling import TELLING as TOY
from workflow.code_hash import ROOT
from workflow.pages import load_template

TEMPLATE = Path(__file__).with_name("templates") / "answers.html.j2"
TITLE = "What LaRE maps tell, and what they do not"


KEPT = ROOT / "docs" / "results"
"""The answers behind docs/RESULTS.md."""


def find_folder(made: str, holds: str, otherwise: Path) -> Path:
    """A folder of this machine where it holds such files, and otherwise another."""
    return Path(made) if any(Path(made).glob(holds)) else otherwise


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Which answers, and where to."""

    answers: Path = field(default_factory=lambda: find_folder("runs/study/quick/answers", "*.json", KEPT))
    """Folder of a study's answers. Without any of the quick study's: those that docs/RESULTS.md shows."""
    toy: Path = field(default_factory=lambda: find_folder("runs/toy-benchmark", f"{NAME}.json", KEPT))
    """Folder of the toy benchmark's answer, which comes first: its output, or the one that docs/RESULTS.md shows."""
    out: Path = Path("runs/report.html")
    """Page to write: all answers that are there, with charts and pictures."""
    markdown: Path | None = None
    """Markdown file to write, docs/RESULTS.md: the same without charts and pictures."""
    keep: Path | None = None
    """Folder to copy the answers and their pictures to, docs/results, to make the page without doing the work again."""
    retell: bool = False
    """Tell the answers again from their numbers, in the words of today, and write them in place of those of `answers`
    and `toy`. No figure changes."""
    data: Path | None = None
    """Dataset folder, to show test images beside their maps."""
    caches: tuple[Path, ...] = ()
    """Caches of that dataset whose maps are shown, a column each, for example of several timesteps."""

    def __post_init__(self) -> None:
        """Check what belongs together."""
        if (self.data is None) == bool(self.caches):
            raise ValueError("data and caches are needed together: the images, and the folders of their maps")


@dataclass(frozen=True)
class Section:
    """An answer, ready for the page."""

    answer: Answer
    charts: list[tuple[Chart, list[CurveStyle], str]]
    """With the styles of their curves, and drawn as SVG."""
    pictures: list[tuple[Picture, str]]
    """With their data URIs."""
    settings: dict[str, str]


def load_answers(config: ReportConfig) -> tuple[list[Answer], dict[str, str]]:
    """The answers that are there, in the order of the page, and what is not: its name → the command that answers it."""
    answers, missing = [], {}
    commands = {NAME: COMMAND} | {name: f"python -m experiments {name} --config FILE" for name in QUESTIONS}
    for name, command in commands.items():
        file = (config.toy if name == NAME else config.answers) / f"{name}.json"
        if file.is_file():
            answers.append(retell(Answer.load(file), file.parent) if config.retell else Answer.load(file))
        else:
            missing[name] = command
    return answers, missing


def retell(answer: Answer, folder: Path) -> Answer:
    """Tell an answer again from its numbers, and write it in place of the old one."""
    telling = TOY if answer.name == NAME else load_telling(answer.name)
    told = telling.retell(answer)
    told.save(folder)
    return told


def prepare(answer: Answer, folder: Path) -> Section:
    """Draw an answer's charts, and read its pictures from its folder."""
    return Section(
        answer,
        [(chart, choose_styles(chart), draw_chart(chart)) for chart in answer.charts],
        [(picture, read_png(folder / picture.file)) for picture in answer.pictures],
        describe_settings(answer.settings),
    )


def read_png(path: Path) -> str:
    """A PNG file as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def find_texts(table: Table) -> list[bool]:
    """For each column of a table whether it holds texts, and not figures."""
    is_figure = re.compile(r"[−+–]?\s*[\d.]|[−–]?$").match
    columns = ([row[i] for row in table.rows] for i in range(len(table.columns)))
    return [any(isinstance(cell, str) and not is_figure(cell) for cell in column) for column in columns]


def render(config: ReportConfig, answers: list[Answer], missing: dict[str, str]) -> str:
    """The page: contents with findings, a section an answer, what is missing, maps. No external loads, no scripts."""
    return load_template(TEMPLATE).render(
        title=TITLE,
        sections=[prepare(answer, config.answers) for answer in answers],
        missing=missing,
        maps=draw_svgs(load_maps(config.data, config.caches)) if config.data else [],
        format_cell=format_cell,
        find_texts=find_texts,
        glyphs=GLYPHS,
    )


def run(config: ReportConfig) -> None:
    """Write all answers that are there as one page, and as Markdown."""
    answers, missing = load_answers(config)
    if not answers:
        commands = ", ".join(f"`{command}`" for command in missing.values())
        raise ValueError(f"{config.answers} holds no answer. These commands write one each: {commands}")
    files = {config.out: render(config, answers, missing)}
    if config.markdown:
        files[config.markdown] = as_document(answers, missing)
    if config.keep:
        for answer in answers:
            answer.save(config.keep)
            for picture in answer.pictures:  # which may be kept there already
                (config.keep / picture.file).write_bytes((config.answers / picture.file).read_bytes())
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    sys.stdout.write("".join(f"{path}\n" for path in files))
