"""A folder of pictures, and the detector that the command loads."""

from pathlib import Path

import pytest

from tests.detect.fakes import FakeDetector
from tests.samples import make_sample


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of 12 pictures, one of them broken, and a text; it stands in the working folder."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(11):
        (folder / f"{i:02}.png").write_bytes(make_sample(i).image)
    (folder / "05 broken.png").write_bytes(b"nothing")
    (folder / "notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeDetector:
    """What the command loads instead of a detector."""
    fake = FakeDetector()
    monkeypatch.setattr("detect.files.run.load_detector", lambda config: fake)
    return fake
