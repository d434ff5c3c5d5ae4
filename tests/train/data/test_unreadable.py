"""An image that extraction could read and training cannot: the message says by which versions."""

from pathlib import Path

import numpy as np
import PIL
import pytest

from cache_schema import DatasetError, write_dataset
from tests.samples import make_sample
from train.data.joined_tar import JoinedTar, load_pixels


def test_the_versions_of_pillow_and_of_this_program_are_named(tmp_path: Path) -> None:
    sample = make_sample(0, image=b"no picture")
    dataset = write_dataset(tmp_path / "data", [sample], {"made_by": "a test"})
    row = dataset.rows(0).to_pylist()[0]
    places = {name: np.array([row[name[:-1]]]) for name in ("offsets", "sizes")}
    tar = JoinedTar(dataset.tar_path(0), [row["key"]], sha256=[row["sha256"]], lare=None, **places)
    with pytest.raises(DatasetError, match=r"was readable at extraction and is not here, with the same bytes") as told:
        load_pixels(tar, 0)
    assert f"This is Pillow {PIL.__version__} and lare2-cache " in str(told.value)
    assert str(told.value).endswith(": use the versions that it was extracted with.")
