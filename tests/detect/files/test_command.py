"""`lare detect` from the words to the exit status, with a detector that has learnt nothing."""

import csv
import json
import os
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detect.__main__ import COMMANDS, main
from detect.files.config import DetectConfig
from tests.detect.fakes import FakeDetector
from workflow import lare


def read(out: str) -> list[dict[str, str]]:
    with open(out, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_command_is_where_it_says() -> None:
    for command in COMMANDS.values():
        for place in (command.config, command.work):
            module, _, name = place.partition(":")
            assert callable(getattr(import_module(module), name))


def test_a_folder_gives_a_line_a_picture(photos: Path, fake: FakeDetector, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "photos", "--detector", "d"]) == 3
    told = capsys.readouterr()
    fields = [line.split("\t") for line in told.out.splitlines()]
    assert [each[3] for each in fields] == sorted(f"photos/{path.name}" for path in photos.glob("*.png"))
    assert {each[0] for each in fields} <= {"generated", "real", "unsure", "unreadable"}
    assert "12 pictures: " in told.err and "1 unreadable" in told.err and "1 other file: 1 .txt" in told.err
    assert "photos/05 broken.png: cannot identify it" in told.err


def test_words_stand_anywhere_in_lare(photos: Path, fake: FakeDetector, capsys: pytest.CaptureFixture[str]) -> None:
    assert lare.main(["detect", "--detector", "d", "photos/00.png", "photos/01.png"]) == 0
    assert [line.split("\t")[3] for line in capsys.readouterr().out.splitlines()] == ["photos/00.png", "photos/01.png"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_answers_go_to_a_file(
    photos: Path, fake: FakeDetector, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    assert main(["run", "photos", "--detector", "d", "--out", f"r.{suffix}"]) == 3
    told = capsys.readouterr()
    assert told.out == "" and f"Answers: r.{suffix}" in told.err
    assert sorted(os.listdir()) == ["photos", f"r.{suffix}"]


def test_answers_on_a_pipe_are_json(photos: Path, fake: FakeDetector, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "photos/00.png", "photos/01.png", "--detector", "d", "--out", "-"]) == 0
    assert [json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()] == fake.asked


def test_maps_are_written_with_attention(photos: Path, fake: FakeDetector) -> None:
    fake.with_attention = True
    assert main(["run", "photos", "--detector", "d", "--maps", "maps", "--explain", "true"]) == 3
    figures = sorted(Path("maps").glob("*.png"))
    assert len(figures) == 11 == len([*Path("maps").glob("*.npy")])
    with Image.open(figures[0]) as figure:
        assert figure.width > 3 * 192  # three panels
    assert np.load(figures[0].with_suffix(".npy"), allow_pickle=False).shape == (4, 8, 8)


def test_finished_files_are_replaced_on_request_alone(
    photos: Path, fake: FakeDetector, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "photos/00.png", "--detector", "d", "--out", "r.csv"]
    assert main(command) == 0
    assert main(command) == 1
    assert "r.csv exists" in capsys.readouterr().err
    fake.identity = "f" * 64
    assert main([*command, "--overwrite", "true"]) == 0
    assert [row["detector"] for row in read("r.csv")] == ["f" * 64]


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["--detector", "d"], 2, "no pictures are given"),
        (["photos"], 2, "required: --detector"),
        (["photos", "--detector", ""], 2, "detector is empty"),
        (["photos", "--detector", "d", "--out", "r.txt"], 2, "--out is r.txt: expected a name that ends in .csv"),
        (["photos", "--detector", "d", "--false_alarm_rate", "1"], 2, "false_alarm_rate is 1"),
        (["photos", "--detector", "d", "--batch_size", "0"], 2, "batch_size is 0: expected 1 or more"),
        (["photos", "--detector", "d", "--compute_dtype", "fp8"], 2, "--compute_dtype is fp8: expected one of"),
        (["-", "--files_from", "-", "--detector", "d"], 2, "standard input is named more than once"),
        (["photos", "missing.png", "--detector", "d"], 1, "missing.png: no such file or directory"),
        (["--files_from", "missing", "--detector", "d"], 1, "missing: no such file or directory"),
        (["photos", "--detector", "d", "--out", "nowhere/r.csv"], 1, "nowhere is no folder"),
        (["photos/00.png", "--detector", "d", "--maps", "photos/notes.txt"], 1, "file exists"),
        (["photos", "--detector", "d", "--maps", "photos/maps"], 1, "which lies in photos"),
        ([".", "--detector", "d", "--maps", "maps"], 1, "--maps is maps, which lies in ."),
    ],
)
def test_mistakes_are_told_in_a_sentence_before_a_model_is_loaded(
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: list[str],
    status: int,
    message: str,
) -> None:
    def load(config: DetectConfig) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr("detect.files.run.load_detector", load)
    try:
        found = main(["run", *args])
    except SystemExit as ended:
        found = int(ended.code or 0)
    error = capsys.readouterr().err
    assert found == status and message in error and len(error.splitlines()) == 1


def test_a_folder_without_pictures_is_an_error(
    photos: Path, fake: FakeDetector, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("texts").mkdir()
    Path("texts/a.txt").touch()
    assert main(["run", "texts", "--detector", "d", "--out", "r.csv"]) == 1
    assert "no pictures were found. Not asked about: 1 other file: 1 .txt" in capsys.readouterr().err
    assert not Path("r.csv").exists() and not Path("r.csv.part").exists()
