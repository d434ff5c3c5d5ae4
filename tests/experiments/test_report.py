import base64
import io
import json
import os
import re
import shutil
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cache_schema import write_json
from experiments.__main__ import main
from experiments.answers.answer import Answer, Table
from experiments.answers.markdown import as_document
from experiments.questions import QUESTIONS
from experiments.report import KEPT, ReportConfig, find_texts, load_answers
from tests.experiments.sample_answers import HOSTILE, make_answer
from tests.samples import encode_png

PICTURE = encode_png(np.zeros((2, 3, 3), np.uint8))


class Page(HTMLParser):
    """Collects elements with their attributes, and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two answers, and a file that is none."""
    folder = tmp_path_factory.mktemp("report") / "answers"
    for name in ("cheap", "timestep"):  # and no toy benchmark's
        make_answer(name).save(folder)
        (folder / f"{name}.png").write_bytes(PICTURE)
    (folder / "notes.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def page(answers: Path) -> str:
    out = answers.parent / "new" / "report.html"
    markdown = answers.parent / "docs" / "RESULTS.md"
    assert main([*report(answers), f"--out={out}", f"--markdown={markdown}"]) == 0
    found = load_answers(ReportConfig(answers=answers, toy=answers))
    assert markdown.read_text() == as_document([*found[0].values()], found[1])
    return out.read_text()


def report(folder: Path) -> list[str]:
    """The command for the answers of a folder, the toy benchmark's among them if it is there."""
    return ["report", f"--answers={folder}", f"--toy={folder}"]


def test_page_loads_nothing_and_runs_nothing(page: str) -> None:
    for tag, attributes in Page(page).elements:
        assert tag not in {"script", "iframe", "object", "embed", "link"} or attributes.get("href") == "data:,"
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "srcset", "data", "action"):
            assert (attributes.get(name) or "#").startswith(("data:", "#")), (tag, attributes)
    assert not re.search(r"https?:|@import|url\((?!#)", page)


def test_answers_are_text(page: str) -> None:
    assert "<script" not in page
    texts = Page(page).texts
    assert f"It was not found at t = 0.5. What was found: {HOSTILE}." in texts
    assert f"Table {HOSTILE}" in texts and HOSTILE in texts


def test_sections_follow_the_order_of_the_questions(page: str) -> None:
    elements = Page(page).elements
    ids = [attributes["id"] for tag, attributes in elements if tag == "section"]
    assert ids == ["timestep", "cheap", "missing"]
    assert [attributes["href"] for tag, attributes in elements if tag == "a"] == [f"#{name}" for name in ids]


def test_contents_tell_each_finding_in_a_line(page: str) -> None:
    contents = Page(page[page.index("<nav") : page.index("</nav>")]).texts
    assert contents.count(f"Not found, but {HOSTILE}.") == 2
    assert not any("What was found" in text for text in contents)


def test_what_is_missing_is_named_with_its_command(page: str) -> None:
    texts = Page(page[page.index('<section id="missing"') :]).texts
    commands = [text for text in texts if text.startswith(("make", "python"))]
    asked = [name for name in QUESTIONS if name not in ("timestep", "cheap")]
    assert commands == [
        "make toy-benchmark PHOTOS=FOLDER",
        *(f"python -m experiments {name} --config FILE" for name in asked),
    ]


def test_every_part_of_an_answer_is_shown(page: str) -> None:
    section = page[page.index('<section id="timestep"') : page.index('<section id="cheap"')]
    shown = Page(section)
    assert section.count("<svg") == 2 and section.count("<table") == 2
    images = [attributes["src"] for tag, attributes in shown.elements if tag == "img"]
    assert len(images) == 1
    with Image.open(io.BytesIO(base64.b64decode((images[0] or "").split(",")[1]))) as image:
        assert image.size == (3, 2)
    parts = (
        "What of timestep?",
        " One model only.",
        "1,234",
        "0.750",
        "–",
        "What the figures are.",
        "One scale.",
        " settings",
    )
    command = ("python -m experiments timestep --config study.yaml", "abc123 with changes", "num_seeds", "2", "a 1")
    for text in (*parts, *command):
        assert text in shown.texts, text


def test_cells_of_text_columns_are_marked(page: str) -> None:
    table = Table(
        "",
        ("a", "b", "c", "d"),
        (("x", "0.7 (0.6 to 0.8)", 1, "fine"), ("(y)", "−", None, "+0.1"), ("", "–", 0.5, "5")),
    )
    assert find_texts(table) == [True, False, False, True]
    assert find_texts(Table("", ("a",), ())) == [False]
    assert '<th scope="col" class="text">why</th>' in page and '<th scope="col">AUROC</th>' in page


def test_toy_benchmark_comes_first(answers: Path, tmp_path: Path) -> None:
    make_answer("toy-benchmark").save(tmp_path)
    found, missing = load_answers(ReportConfig(answers=answers, toy=tmp_path))
    assert [answer.name for answer in found.values()] == ["toy-benchmark", "timestep", "cheap"]
    assert "toy-benchmark" not in missing


def test_without_a_study_the_answers_of_this_machine_come_before_those_that_are_shipped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def places() -> set[Path]:
        return {file.parent for file in load_answers(ReportConfig())[0]}

    monkeypatch.chdir(tmp_path)
    assert places() == {KEPT}
    make_answer("toy-benchmark").save(Path("runs/toy-benchmark"))
    assert places() == {KEPT, Path("runs/toy-benchmark")}
    make_answer("cheap").save(Path("runs/study/quick/answers"))
    assert places() == {KEPT, Path("runs/study/quick/answers"), Path("runs/toy-benchmark")}  # families is shipped
    make_answer("families").save(Path("runs/families"))
    assert places() == {Path("runs/study/quick/answers"), Path("runs/toy-benchmark"), Path("runs/families")}


def test_a_study_shows_its_own_answers_alone(
    answers: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("mine/answers", "runs/study/quick/answers"):
        shutil.copytree(answers, folder)
    make_answer("toy-benchmark", pictures=()).save(Path("runs/toy-benchmark"))
    # What is given with flags elsewhere need not be in the file, and nothing that it names need be there.
    Path("mine.yaml").write_text("out: mine\nmodel: nowhere\nnum_seeds: 3\n")
    for named in ("--config=mine.yaml", "--answers=mine", "--answers=mine/answers"):
        assert main(["report", named]) == 0
        assert capsys.readouterr().out == "2 answers of mine/answers\nruns/report.html\n"
        page = Path("runs/report.html").read_text()
        assert 'id="timestep"' in page and "toy-benchmark" not in page and str(tmp_path) not in page
    assert main(["report", "--config=mine.yaml", "--toy=runs/toy-benchmark"]) == 0
    assert 'id="toy-benchmark"' in Path("runs/report.html").read_text()


def test_a_study_without_answers_is_an_error_that_names_where_they_were_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("out: mine\n")
    Path("none.yaml").write_text("num_seeds: 3\n")
    Path("list.yaml").write_text("[]")
    Path("broken.yaml").write_text("a: [")
    for arguments, sentence in (
        (["--config=mine.yaml"], "there is no answer in mine/answers: `lare question ablate` and"),
        (["--answers=mine"], "there is no answer in mine or mine/answers: "),
        (["--answers=mine", "--toy=toy"], "there is no answer in mine or mine/answers or toy: "),
        (["--config=none.yaml"], "none.yaml names no folder as `out`"),
        (["--config=list.yaml"], "list.yaml names no folder as `out`"),
        (["--config=broken.yaml"], "config is broken.yaml, which is not YAML: "),
        (["--config=nowhere.yaml"], "nowhere.yaml: no such file"),
    ):
        assert main(["report", *arguments]) == 1
        error = capsys.readouterr().err
        assert sentence in error and error.count("\n") == 1
    assert not Path("runs").exists()
    with pytest.raises(SystemExit):
        main(["report", "--config=mine.yaml", "--answers=mine"])
    assert "config and answers both name a study" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../timestep", "/etc/passwd", "..", "", ".hidden", "a/b", "a\\b", "a\0b", None, 3])
def test_a_strangers_answer_names_no_file_outside_its_folder(
    name: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, kept = tmp_path / "theirs", tmp_path / "kept"
    content = asdict(make_answer("timestep"))
    for changed in ({"name": name}, {"pictures": [{"title": "", "file": name, "note": ""}]}):
        write_json(folder / "timestep.json", content | changed)
        for more in ([], [f"--keep={kept}"], ["--retell=true"]):
            assert main([*report(folder), f"--out={tmp_path / 'report.html'}", *more]) == 1
            assert "timestep.json is no answer that a question's command wrote: " in capsys.readouterr().err
    assert {path.name for path in tmp_path.rglob("*")} == {"theirs", "timestep.json"}


def test_a_strangers_answer_is_that_of_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_answer("cheap").save(tmp_path).rename(tmp_path / "timestep.json")
    assert main([*report(tmp_path), f"--out={tmp_path / 'report.html'}", "--retell=true"]) == 1
    assert "holds the answer 'cheap': its file is called cheap.json" in capsys.readouterr().err
    for text in ("[]", "{}", '{"tables": 1}', "{", '{"tables": [], "charts": [], "pictures": [], "other": 1}'):
        (tmp_path / "timestep.json").write_text(text)
        assert main([*report(tmp_path), f"--out={tmp_path / 'report.html'}"]) == 1
        error = capsys.readouterr().err
        assert "timestep.json" in error and "bug" not in error and error.count("\n") == 1


def test_a_strangers_picture_is_a_png_and_no_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private, folder = tmp_path / "private.png", tmp_path / "theirs"
    private.write_bytes(PICTURE)
    make_answer("timestep").save(folder)
    picture = folder / "timestep.png"
    for make in (lambda: picture.symlink_to(private), lambda: picture.write_text("secret"), lambda: os.mkfifo(picture)):
        make()
        assert main([*report(folder), f"--out={tmp_path / 'report.html'}"]) == 1
        assert "timestep.png is no PNG file" in capsys.readouterr().err
        picture.unlink()
    assert not (tmp_path / "report.html").exists()


def test_kept_pictures_take_the_place_of_links_and_do_not_follow_them(answers: Path, tmp_path: Path) -> None:
    kept, other = tmp_path / "kept", tmp_path / "other.png"
    kept.mkdir()
    other.write_text("not theirs to write")
    (kept / "timestep.png").symlink_to(other)
    assert main([*report(answers), f"--out={tmp_path / 'report.html'}", f"--keep={kept}"]) == 0
    assert other.read_text() == "not theirs to write" and (kept / "timestep.png").read_bytes() == PICTURE


def test_page_can_be_made_again_from_the_answers_that_were_kept(answers: Path, page: str, tmp_path: Path) -> None:
    kept, out = tmp_path / "kept", tmp_path / "report.html"
    assert main([*report(answers), f"--out={out}", f"--keep={kept}"]) == 0
    assert sorted(file.name for file in kept.iterdir()) == ["cheap.json", "cheap.png", "timestep.json", "timestep.png"]
    assert main([*report(kept), f"--out={out}", f"--keep={kept}"]) == 0  # onto themselves too
    assert out.read_text() == page and (kept / "cheap.png").read_bytes() == PICTURE


def test_maps_are_shown_where_data_and_caches_are_given(
    answers: Path, page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = []
    monkeypatch.setattr("experiments.report.load_maps", lambda data, caches: given.append((data, *caches)))
    monkeypatch.setattr("experiments.report.draw_svgs", lambda maps: ["<svg>one</svg>", "<svg>two</svg>"])
    out = tmp_path / "report.html"
    assert main([*report(answers), f"--out={out}", "--data=data", "--caches=[a/t50-e4, a/t200-e4]"]) == 0
    assert given == [(Path("data"), Path("a/t50-e4"), Path("a/t200-e4"))]
    section = out.read_text().split('<section id="maps"')[1].split("</section>")[0]
    assert "<svg>one</svg>" in section and "<svg>two</svg>" in section
    assert 'id="maps"' not in page


def test_answers_are_told_again_in_place(tmp_path: Path) -> None:
    for file in KEPT.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    old = json.loads((tmp_path / "ensemble.json").read_text()) | {"headline": "Old.", "finding": "Old words."}
    (tmp_path / "ensemble.json").write_text(json.dumps(old))
    assert main([*report(tmp_path), f"--out={tmp_path / 'report.html'}", "--retell=true"]) == 0
    for file in KEPT.glob("*.json"):
        assert Answer.load(tmp_path / file.name) == Answer.load(file)


def test_what_cannot_be_shown_is_an_error(answers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="data and caches are needed together"):
        ReportConfig(answers=answers, data=tmp_path)
    with pytest.raises(ValueError, match="data and caches are needed together"):
        ReportConfig(answers=answers, caches=(tmp_path,))
    assert main([*report(tmp_path), f"--out={tmp_path / 'report.html'}"]) == 1
    assert "there is no answer in" in capsys.readouterr().err
    content = json.loads((answers / "cheap.json").read_text())
    content["pictures"][0]["file"] = "nowhere.png"
    (tmp_path / "cheap.json").write_text(json.dumps(content))
    assert Answer.load(tmp_path / "cheap.json").pictures[0].file == "nowhere.png"
    assert main([*report(tmp_path), f"--out={tmp_path / 'report.html'}"]) == 1
    assert "nowhere.png" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()
