"""`lare detect` with a real detector and its diffusion model, both tiny."""

import csv
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cache_schema import open_cache
from detect import Detector
from detect.files.names import file_stem
from tests.detect.conftest import Made
from workflow import lare


def detect(made: Made, *args: str) -> int:
    where = ["--detector", str(made.folder), "--model", str(made.model), "--device", "cpu"]
    return lare.main(["detect", *args, *where, "--batch_size", "4"])


def test_a_folder_of_pictures_gives_what_the_python_api_gives(
    made: Made, detector: Detector, pictures: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for i, data in enumerate(pictures):
        Path(f"photos/{i}.png").write_bytes(data)
    Path("photos/broken.jpg").write_bytes(pictures[0][:200])
    args = ["photos", "--false_alarm_rate", "0.2", "--maps", "maps", "--explain", "true", "--out"]
    assert detect(made, *args, "r.csv") == 3
    with open("r.csv", encoding="utf-8", newline="") as file:
        *rows, broken = csv.DictReader(file)
    verdicts = detector(pictures)
    assert [row["name"] for row in rows] == [f"photos/{i}.png" for i in range(len(pictures))]
    assert [row["verdict"] for row in rows] == [verdict.verdict for verdict in verdicts]
    assert [row["sha256"] for row in rows] == [verdict.image.sha256 for verdict in verdicts]
    for name in ("probability", "p_real"):
        np.testing.assert_allclose([float(row[name]) for row in rows], [getattr(v, name) for v in verdicts], atol=1e-5)
    assert (broken["name"], broken["status"]) == ("photos/broken.jpg", "unreadable") and broken["error"]
    assert {row["detector"] for row in [*rows, broken]} == {detector.description.identity}
    for row, verdict in zip(rows, verdicts, strict=True):
        path = Path("maps") / f"{file_stem(row['name'])}.npy"
        np.testing.assert_allclose(np.load(path, allow_pickle=False), verdict.lare, atol=1e-5)
        with Image.open(path.with_suffix(".png")) as figure:
            assert figure.width > 3 * 192  # picture, map, attention


def test_a_packed_dataset_gives_the_maps_of_its_cache(made: Made, tmp_path: Path) -> None:
    out, maps = tmp_path / "r.parquet", tmp_path / "maps"
    assert detect(made, str(made.data), "--out", str(out), "--maps", str(maps)) == 0
    rows = pq.read_table(out).to_pylist()
    assert [row["name"] for row in rows] == made.dataset.table(["key"])["key"].to_pylist()
    cache = open_cache(made.cache)
    for shard in map(cache.read, cache.shards()):
        for key, stored in zip(shard.keys, shard.lare, strict=True):
            np.testing.assert_allclose(np.load(maps / f"{file_stem(key)}.npy"), stored, atol=1e-5)


def test_a_tar_and_a_pipe(
    made: Made, pictures: list[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.tar"
    with tarfile.open(path, "w") as tar:
        for i, data in enumerate(pictures):
            info = tarfile.TarInfo(f"{i}.png")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    assert detect(made, str(path), "--out", "-") == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["name"] for row in told] == [f"{path}/{i}.png" for i in range(len(pictures))]
    assert all(row["verdict"] in ("generated", "real", "unsure") for row in told)


def test_a_mistake_stops_a_real_run_with_what_it_has(
    made: Made,
    pictures: list[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("detect.files.lists.BLOCK_BYTES", 256)  # the NUL comes too late to divide the list
    listed = tmp_path / "list"
    for i, data in enumerate(pictures):
        (tmp_path / f"{i}.png").write_bytes(data)
    names = [f"{tmp_path}/{i}.png" for i in range(len(pictures))] * 8
    out = tmp_path / "r.csv"
    listed.write_text("\n".join(names) + "\nno\0path\n")
    assert detect(made, "--files_from", str(listed), "--out", str(out)) == 1
    assert "a NUL in a list of lines" in capsys.readouterr().err
    assert Path(f"{out}.part").read_bytes().count(b"\n") > 1
    listed.write_text("\n".join(names))
    assert detect(made, "--files_from", str(listed), "--out", str(out)) == 0
    with out.open(encoding="utf-8", newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == names


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["--detector", "{tmp}/nothing"], 1, "nothing"),
        (["--detector", "{folder}", "--model", "{tmp}/nothing"], 1, "nothing"),
        (["--detector", "{folder}"], 1, "--model"),
        (["--detector", "{folder}", "--model", "{model}", "--strict", "--false_alarm_rate", "0.01"], 1, "rate"),
    ],
)
def test_what_a_detector_lacks_is_told_in_a_sentence(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], status: int, message: str
) -> None:
    (tmp_path / "a.png").touch()
    places = {"tmp": tmp_path, "folder": made.folder, "model": made.model}
    assert lare.main(["detect", str(tmp_path / "a.png"), *(arg.format(**places) for arg in args)]) == status
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and "bug" not in error
