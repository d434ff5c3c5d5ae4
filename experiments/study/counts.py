"""How many images a study trains on."""

from pathlib import Path

from cache_schema import Dataset


def count_training_images(data: Path, limit: int | None = None) -> int:
    """Labelled images of the training split.

    Args:
        data: Dataset folder.
        limit: Labelled images of all splits that are taken at most; then about so many of them are of this split.
    """
    rows = Dataset.open(data).table(["split", "label"]).to_pylist()
    splits = [row["split"] for row in rows if row["label"] is not None]
    share = 1.0 if limit is None or limit >= len(splits) else limit / len(splits)
    return round(splits.count("train") * share)
