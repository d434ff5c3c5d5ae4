from pathlib import Path

import pytest

from extract.run.progress import ProgressFile
from workflow.how_far import epochs_done, images_done


def test_images_are_counted_while_an_extraction_is_at_work(tmp_path: Path) -> None:
    assert images_done(tmp_path) is None
    with ProgressFile(tmp_path, num_tars=2, num_images=8):
        assert images_done(tmp_path) == 0
    assert images_done(tmp_path) is None


@pytest.mark.parametrize(
    ("metrics", "config", "share"),
    [
        ("epoch,step,val_loss\n0,4,\n0,5,0.7\n1,9,\n", "trainer: {max_epochs: 20}", 0.05),
        ("epoch,step,val_loss\n0,5,0.7\n1,9,0.6\n", "trainer: {max_epochs: 2}", 1.0),
        ("epoch,step,val_loss\n0,4,\n", "trainer: {max_epochs: 20}", None),
        ("epoch,step,val_loss\n0,5,0.7\n", "trainer: {max_epochs: -1}", None),
        ("", "trainer: {max_epochs: 2}", None),
        ("epoch,step,val_loss\n0,5,0.7\n", "tra", None),
    ],
)
def test_epochs_are_counted_by_their_validations(
    metrics: str, config: str, share: float | None, tmp_path: Path
) -> None:
    assert epochs_done(tmp_path) is None
    (tmp_path / "metrics.csv").write_text(metrics)
    (tmp_path / "config.yaml").write_text(config)
    assert epochs_done(tmp_path) == share
