"""Six test pictures, written as files, and what the exported detector says of them: `python -m demo verdicts`."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache_schema import Dataset, file_name, own_folder, read_image_bytes, write_bytes, write_json
from demo.places import DETECTOR, PICTURES, VERDICTS
from detect import Detector, Picture

NUM_PHOTOGRAPHS = 2
PHOTOGRAPH = "photograph"


@dataclass(frozen=True)
class VerdictsConfig:
    """The verdicts of a demo that has trained its detector."""

    out: Path = Path("runs/demo")
    """The demo's folder. Six pictures of its test split are written there, and what its detector says of them."""


def write_verdicts(config: VerdictsConfig) -> None:
    """Write six test pictures as files, ask the detector about them, and keep its answers."""
    dataset = Dataset.open(config.out / "data")
    chosen = choose(dataset)
    folder = config.out / PICTURES
    own_folder(folder)
    for name, row in chosen.items():
        data = read_image_bytes(config.out / "data" / row["tar"], row["offset"], row["size"])
        write_bytes(folder / name, data)
    detector = Detector.from_pretrained(config.out / DETECTOR)
    answers = detector.stream([Picture.of(folder / name, name) for name in chosen])
    entries = []
    for answer, row in zip(answers, chosen.values(), strict=True):
        assert answer.verdict is not None, answer.error  # the demo has made them itself
        lare = answer.verdict.lare.mean(axis=0).tolist()
        entries.append({**answer.to_dict(), "image_source": row["image_source"], "map": lare})
    write_json(config.out / VERDICTS, {"detector": detector.describe(), "verdicts": entries})


def choose(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """File name → index row: of the test split two photographs of two scenes, and an image of each generated source.

    The hash of the key decides, not what a detector says of them.
    """
    rows = [row for n in range(len(dataset.tars)) for row in dataset.rows(n).to_pylist() if row["split"] == "test"]
    rows.sort(key=lambda row: hashlib.sha256(row["key"].encode()).digest())
    photographs = _of_other_groups([row for row in rows if row["label"] == 0])[:NUM_PHOTOGRAPHS]
    sources = sorted({row["image_source"] for row in rows if row["label"] == 1})
    generated = [next(row for row in rows if row["image_source"] == source) for source in sources]
    chosen = {f"{PHOTOGRAPH}-{n}.png": row for n, row in enumerate(photographs, start=1)}
    for row in generated:
        name = f"{file_name(row['image_source'])}.png"
        chosen[f"generated-{name}" if name in chosen else name] = row
    return chosen


def _of_other_groups(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The first row of each group, then all others."""
    seen: set[str] = set()
    first, rest = [], []
    for row in rows:
        (rest if row["group"] in seen else first).append(dict(row))
        seen.add(row["group"])
    return [*first, *rest]
