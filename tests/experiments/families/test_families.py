from collections import Counter
from pathlib import Path

import pytest

from cache_schema import Dataset
from demo.toy.config import SourceConfig
from experiments.__main__ import main
from experiments.answers.answer import Answer
from experiments.answers.markdown import as_section
from experiments.families.families import Families
from experiments.families.settings import TASKS, FamiliesConfig, list_fits, list_matrix, list_stack
from experiments.families.telling import TELLING
from experiments.report import ReportConfig, load_answers
from tests.experiments.made_up import run_here

OVERRIDES = ("--trainer.accelerator=cpu", "--trainer.log_every_n_steps=1", "--data.batch_size=4")


def settings_of(model_folders: dict[str, Path]) -> dict[str, Path]:
    return {"model" if letter == "a" else f"model_{letter}": folder for letter, folder in model_folders.items()}


def refuse(module: str, *arguments: str, **_: object) -> None:
    raise AssertionError(f"{module} {arguments[0]} is run again")


def test_wrong_settings_are_refused_before_the_work(
    photographs: Path, model_folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = settings_of(model_folders)
    with pytest.raises(ValueError, match=r"model_c is .*, which holds no model_index.json"):
        FamiliesConfig(photographs, **models | {"model_c": tmp_path})
    with pytest.raises(ValueError, match="max_photos is 0: expected 1 or more"):
        FamiliesConfig(photographs, **models, max_photos=0)
    with pytest.raises(ValueError, match=r"sigmas is 1\.5: expected a number between 0 and 1"):
        FamiliesConfig(photographs, **models, sigmas=(0.5, 1.5))
    with pytest.raises(SystemExit) as ended:
        main(["families", f"--photos={tmp_path}", *(f"--{name}={folder}" for name, folder in models.items())])
    assert ended.value.code == 2 and "no .jpg or .png below it" in capsys.readouterr().err


def test_each_task_has_a_detector_a_probe_and_a_model_without_decoder_one_of_both(
    photographs: Path, model_folders: dict[str, Path]
) -> None:
    config = FamiliesConfig(photographs, **settings_of(model_folders))
    matrix, stack = [*list_matrix(config)], [*list_stack(config)]
    assert all(fit.probes == (fit.trained_on,) for fit in matrix)
    assert Counter((fit.task, fit.variant) for fit in matrix) == {
        **dict.fromkeys((("plain", "map_only"), ("plain", "full")), 4),
        **dict.fromkeys((("decoder-matched", "map_only"), ("decoder-matched", "full")), 3),
    }
    assert not any(fit.task == "decoder-matched" and fit.trained_on == "d" for fit in matrix)
    for task in TASKS:
        of_task = [fit for fit in stack if fit.task == task]
        assert {fit.trained_on for fit in of_task} == {"a"} and {fit.variant for fit in of_task} == {"map_only"}
        assert ["".join(fit.probes) for fit in of_task] == ["a", "b", "c", "d", "abcd"]
    shared = set(matrix) & set(stack)
    assert {fit.run for fit in shared} == {"map_only-a-on-a"} and len(shared) == 2
    assert len(list_fits(config)) == len(matrix) + len(stack) - 2 == 22


def test_a_dry_run_tells_what_is_made_and_trained_and_does_nothing(
    photographs: Path, model_folders: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    out = tmp_path / "out"
    models = [f"--{name}={folder}" for name, folder in settings_of(model_folders).items()]
    command = ["families", f"--photos={photographs}", *models, f"--out={out}", "--max_photos=10", "--dry_run=true"]
    assert main(command) == 0
    assert "10 photographs, 120 images of 12 kinds, their maps by 4 models × 2 draws" in caplog.text
    assert "22 detectors × 3 seeds: 66 fits, 66 of them left" in caplog.text and not out.exists()


@pytest.mark.slow
def test_question_runs_from_photographs_to_an_answer_and_again(
    photographs: Path, model_folders: dict[str, Path], tmp_path: Path
) -> None:
    config = FamiliesConfig(
        photographs,
        out=tmp_path / "out",
        **settings_of(model_folders),
        num_seeds=1,
        num_epochs=1,
        num_epochs_full=1,
        num_jobs=1,
        sigmas=(0.3, 0.7),
        sources=SourceConfig(num_steps=4, batch_size=16),
        overrides=OVERRIDES,
    )
    families = Families(config, run_here)
    answer = families.run()
    plain, matched = (Dataset.open(families.data[task]) for task in TASKS)
    assert plain.dataset_id == matched.dataset_id
    kinds = {
        (row["image_source"], row["label"], row["subset"])
        for row in matched.table(["image_source", "label", "subset"]).to_pylist()
    }
    assert kinds == {
        *((f"vae-roundtrip-{letter}", 0, f"toy-{letter}") for letter in "abc"),
        *((f"toy-{letter}{kind}", 1, f"toy-{letter}") for letter in "abc" for kind in ("", "-img2img")),
        *(("real", 0, "photographs"), ("toy-d", 1, "photographs"), ("toy-d-img2img", 1, "photographs")),
    }
    for split in ("train", "validation", "test"):
        sources = plain.table(["image_source", "split"]).to_pylist()
        of_split = Counter(row["image_source"] for row in sources if row["split"] == split)
        assert len(of_split) == 12 and len(set(of_split.values())) == 1  # as many of each, in every role

    numbers = answer.numbers
    for task in TASKS:
        assert list(numbers["matrix"][task]) == ["mean_lare", "map_only", "full"]
        for cells in numbers["matrix"][task].values():
            assert all(set(row) == {*"abcd", "all"} for row in cells.values()) and set(cells) == {*"abcd"}
        assert set(numbers["stack"][task]["aurocs"]) == {*"abcd", "abcd"}
    seeds = {reading: cells["a"]["b"]["num_seeds"] for reading, cells in numbers["matrix"]["plain"].items()}
    assert seeds == {"mean_lare": 0, "map_only": 1, "full": 1}
    of_d = [numbers["matrix"][task]["map_only"]["d"]["d"] for task in TASKS]
    assert of_d[0] == of_d[1]  # one detector, and the same images
    assert [row["sigma"] for row in numbers["sweep"]] == [0.3, 0.7]
    assert "not enough seeds for a verdict" in answer.finding

    shown = Answer.load(config.out / "families.json")
    text = (config.out / "RESULTS.md").read_text()
    assert shown == TELLING.retell(shown) and text == as_section(shown) and str(tmp_path) not in text
    assert len(shown.charts) == 5 and (config.out / shown.pictures[0].file).read_bytes().startswith(b"\x89PNG")
    found, _ = load_answers(ReportConfig(answers=config.out, families=config.out))
    assert [each.name for each in found.values()] == ["families"]

    weights = {path: path.stat() for path in config.out.rglob("best.ckpt")}
    assert len(weights) == len(list_fits(config)) and families.count_fits_left() == 0
    again = Families(config, refuse)  # nothing is made or trained a second time
    again.train()
    assert again.sweep(again.make_data()) == numbers["sweep"]
    assert {path: path.stat() for path in config.out.rglob("best.ckpt")} == weights
