from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from demo.run import IMAGE_CODE
from experiments.toy import benchmark as toy_benchmark
from workflow import code_hash
from workflow.code_hash import ROOT, hash_code, imported_modules
from workflow.stages import CODE


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a package `box`: `command` imports `box.part`, which `box` hands on, inside a function."""
    files = {
        "box/__init__.py": '"""A box."""\nfrom box.other import unused\nfrom box.part import work\n',
        "box/part.py": '"""A part."""\nimport json\n\ndef work():\n    """Do it."""\n    return json.dumps(1)\n',
        "box/other.py": "unused = 1\n",
        "command.py": "def main():\n    from box import work\n    return work()\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(code_hash, "ROOT", tmp_path)
    monkeypatch.setattr(code_hash, "PACKAGES", ("box", "command"))
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    for function in (code_hash._parse, code_hash._code_of, code_hash._imports_of):
        function.cache_clear()


def changed(file: Path, old: str, new: str) -> str:
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    forget()
    return hash_code("command")


def test_an_import_is_followed_to_the_module_that_a_name_comes_from(project: Path) -> None:
    assert imported_modules("command") == {"command", "box.part"}


def test_a_name_that_a_package_loads_when_it_is_used_is_followed_too(project: Path) -> None:
    init = project / "box" / "__init__.py"
    told = "".join(f"    {line}\n" for line in init.read_text().splitlines()[1:])
    lazy = "def __getattr__(name):\n    return getattr(import_module(...), name)\n"
    init.write_text(f"from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n{told}\n{lazy}")
    forget()
    assert imported_modules("command") == {"command", "box.part"}


def test_code_that_is_imported_moves_the_hash(project: Path) -> None:
    first = hash_code("command")
    assert changed(project / "box" / "part.py", "dumps(1)", "dumps(2)") != first


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("box/part.py", "Do it.", "Do something."),
        ("box/part.py", '"""A part."""\n', "# A comment\n\n"),
        ("box/other.py", "1", "2"),
    ],
)
def test_words_and_code_that_is_not_imported_leave_the_hash(file: str, old: str, new: str, project: Path) -> None:
    first = hash_code("command")
    assert changed(project / file, old, new) == first


def test_a_module_that_was_moved_is_refused(project: Path) -> None:
    (project / "command.py").rename(project / "moved.py")
    with pytest.raises(ModuleNotFoundError, match=r"there is no module command .* was it moved"):
        hash_code("command")


def test_every_step_names_modules_that_are_there_and_what_decides_it() -> None:
    reached = {name: imported_modules(*modules) for name, modules in CODE.items()}
    assert {"extract.lare", "extract.noise", "cache_schema.images", "cache_schema.store"} <= reached["extract"]
    assert {"train.egre", "train.scoring.metrics", "train.data.views", "cache_schema.images"} <= reached["fit"]
    assert {"train.scoring.calibration", "train.scoring.prediction_file"} <= reached["fit"]
    assert {"extract.packing.copies", "cache_schema.writing"} <= reached["pack"]
    assert {"train.data.samples", "train.scoring.readings", "train.scoring.prediction_file"} <= reached["readings"]
    assert not {"train.model", "train.task", "train.detector"} & reached["readings"]
    assert {"demo.toy.crops", "demo.toy.images"} <= imported_modules(*toy_benchmark.CODE)
    assert hash_code(*IMAGE_CODE) != hash_code(*toy_benchmark.CODE)


def test_no_step_depends_on_what_draws_or_tells_its_outcome() -> None:
    pictures = {
        "train.pictures.plots",
        "train.pictures.draw",
        "train.pictures.cases",
        "train.scoring.titles",
        "demo.report.report",
        "demo.report.summary",
    }
    assert not pictures & set.union(*(imported_modules(*modules) for modules in CODE.values()))
    assert (ROOT / "workflow" / "code_hash.py").is_file()


def test_threads_that_hash_at_once_agree() -> None:
    expected = {name: hash_code(*modules) for name, modules in CODE.items()}
    for _ in range(3):
        forget()
        with ThreadPoolExecutor(8) as pool:
            found = pool.map(lambda modules: hash_code(*modules), [*CODE.values()] * 2)
        assert list(found) == [*expected.values()] * 2
