"""Without validation nothing is chosen: no threshold is reported, stored or used, and the fit says so."""

import json
import logging
import warnings
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint

from tests.train.test_task import TINY, TinyDataModule, _trainer
from train.commands.prediction_writer import PredictionWriter
from train.detector import Detector
from train.export import export_checkpoint
from train.scoring.calibration import Calibration
from train.scoring.prediction_file import CALIBRATION, THRESHOLD, stored_calibration
from train.task import LareTask

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.* is deprecated"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
]


@pytest.fixture(scope="module")
def unvalidated(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A checkpoint of a fit without validation, and what the fit warned of."""
    folder = tmp_path_factory.mktemp("unvalidated")
    last = ModelCheckpoint(dirpath=folder, filename="last")
    best = ModelCheckpoint(dirpath=folder, filename="best", monitor="val_auroc", mode="max")
    trainer = _trainer(folder, max_epochs=1, limit_val_batches=0, callbacks=[best, last], log_every_n_steps=1)
    lines = logging.getLogger("train.task")
    kept = _Kept()
    lines.addHandler(kept)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*(LeafSpec|many workers|is not empty|could not find the monitored key)")
        trainer.fit(LareTask(**TINY, image=False, schedule="constant"), datamodule=TinyDataModule())
    lines.removeHandler(kept)
    return SimpleNamespace(checkpoint=folder / "last.ckpt", warned=kept.lines)


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def test_a_fit_without_validation_warns_of_what_it_does_not_choose(unvalidated: SimpleNamespace) -> None:
    assert not (unvalidated.checkpoint.parent / "best.ckpt").exists()
    assert len(unvalidated.warned) == 2
    assert unvalidated.warned[0].startswith("Nothing was validated: no threshold, no temperature and no unsure band")
    assert unvalidated.warned[1] == "best.ckpt is not written: the fit has no val_auroc to choose it by."


def test_a_validated_fit_warns_of_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    best = ModelCheckpoint(dirpath=tmp_path, filename="best", monitor="val_auroc", mode="max")
    trainer = _trainer(tmp_path, max_epochs=1, callbacks=[best], num_sanity_val_steps=0, log_every_n_steps=1)
    trainer.fit(LareTask(**TINY, image=False), datamodule=TinyDataModule())
    assert not [record for record in caplog.records if record.name == "train.task"]


def test_a_threshold_that_nobody_chose_reaches_no_metric_and_no_prediction(
    unvalidated: SimpleNamespace, tmp_path: Path
) -> None:
    task = LareTask.load_from_checkpoint(unvalidated.checkpoint, weights_only=True)
    assert not task.calibration.is_fitted
    (result,) = _trainer(tmp_path).test(task, datamodule=TinyDataModule(), verbose=False)
    assert "test_auroc" in result and "test_accuracy_at_val_threshold" not in result
    _trainer(tmp_path, callbacks=[PredictionWriter()]).predict(task, datamodule=TinyDataModule())
    table = pq.read_table(tmp_path / "predictions.parquet")
    assert not {THRESHOLD, CALIBRATION} & table.schema.metadata.keys()
    assert table.schema.field("probability").type == pa.float64()
    assert table["probability"].null_count == len(table) and table["score"].null_count == 0
    assert stored_calibration(table) is None


def test_an_older_prediction_file_of_weights_that_were_never_validated_has_no_threshold() -> None:
    table, unfitted = pa.table({"score": [0.1]}), Calibration()
    older = {THRESHOLD: repr(unfitted.threshold), CALIBRATION: json.dumps(unfitted.to_dict())}
    assert stored_calibration(table.replace_schema_metadata(older)) is None
    assert stored_calibration(table.replace_schema_metadata({THRESHOLD: "0.5"})) is None
    assert stored_calibration(table.replace_schema_metadata({THRESHOLD: "0.25"})) == Calibration(0.25)


def test_a_checkpoint_that_was_never_validated_is_exported_with_a_warning(
    unvalidated: SimpleNamespace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    export_checkpoint(str(unvalidated.checkpoint), str(tmp_path / "out"))
    assert "last.ckpt: nothing was calibrated, as its fit had no validation" in caplog.text
    detector = Detector.load(tmp_path / "out")
    assert not detector.is_calibrated
    with pytest.raises(ValueError, match="nothing was calibrated for these weights: their fit had no validation"):
        _ = detector.calibration
