from pathlib import Path

import pytest

from cache_schema import Dataset, open_cache
from experiments.study import study as study_module
from experiments.study.some_images import narrow
from experiments.study.study import Study
from tests.experiments.made_up import run_here
from tests.experiments.small_set import make_study, write_small_set


@pytest.mark.slow
def test_fewer_images_have_caches_and_detectors_of_their_own(
    photographs: Path, model_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_module, "run_module", run_here)
    data = write_small_set(tmp_path / "small", photographs).folder
    study = make_study(data, model_folders["a"], tmp_path, max_images=40)
    part = narrow(study)
    rows, all_keys = Dataset.open(part.config.data).table().to_pylist(), Dataset.open(data).table()["key"].to_pylist()
    assert 0 < sum(row["label"] is not None for row in rows) <= 40
    assert {row["key"] for row in rows} < set(all_keys)
    assert {row["split"] for row in rows} == {"train", "validation", "test"}
    cache, default = (open_cache(each.cache(each.default_cache)) for each in (part, study))
    assert cache.fields == default.fields and cache.dataset_id != default.dataset_id
    assert cache.folder.parent.parent == default.folder.parent
    assert part.config.out.parent == study.config.out and part.config.out != study.config.out
    assert narrow(study).config == part.config


def test_without_a_limit_it_is_the_study_itself(study: Study) -> None:
    assert narrow(study) is study
