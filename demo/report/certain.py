"""The images that a detector is most certain about, rightly and wrongly, ready for the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from train.pictures.cases import GROUPS, Case, list_groups, load_certain_cases
from train.pictures.draw import UNITS, compute_tops, format_probability, paint_case
from train.scoring.scores import Reading
from workflow.figures import png_uri

WEAK = 0.2
"""A correlation nearer to 0 is called none."""


@dataclass(frozen=True)
class CertainImage:
    """One image.

    Attributes:
        image_source: What made it.
        score: The detector's, as text.
        layers: "image" and the names of maps → data URI.
    """

    image_source: str
    score: str
    layers: dict[str, str]


@dataclass(frozen=True)
class CertainGroup:
    """What was called the same, rightly or wrongly.

    Attributes:
        title: Who was called what.
        count: How many there are.
        total: Of how many that could have been.
        images: The most certain of them.
    """

    title: str
    count: int
    total: int
    images: list[CertainImage]


@dataclass(frozen=True)
class Certain:
    """All groups, painted in the same scales.

    Attributes:
        groups: In the order of `GROUPS`.
        scales: Layer → (value at the upper end of its colours, what it means).
        caption: Whether attention and map go together, in a sentence; empty where that is not defined.
    """

    groups: list[CertainGroup]
    scales: dict[str, tuple[float, str]]
    caption: str

    @classmethod
    def load(cls, reading: Reading, data: Path, cache: Path, ckpt: Path, num: int = 5) -> "Certain":
        """Choose, read and paint `num` images of each group; raises as `load_certain_cases` does."""
        members = list_groups(reading)
        labels = reading.table["label"].to_pylist()
        found = load_certain_cases(reading, str(data), [str(cache)], ckpt, num)
        cases = [case for group in found.values() for case in group]
        tops = compute_tops(cases)
        groups = [
            CertainGroup(title, len(members[title]), labels.count(label), [_paint(case, tops) for case in found[title]])
            for title, (label, _) in GROUPS.items()
        ]
        return cls(groups, {layer: (top, UNITS[layer]) for layer, top in tops.items()}, describe_agreement(cases))


def _paint(case: Case, tops: Mapping[str, float]) -> CertainImage:
    layers = {name: png_uri(pixels) for name, pixels in paint_case(case, tops).items()}
    return CertainImage(case.image_source, format_probability(case.score), layers)


def describe_agreement(cases: Sequence[Case]) -> str:
    """Whether attention is high in the cells where the map is, over all cases together."""
    both = [(case.attention, case.lare) for case in cases if case.attention is not None and case.is_aligned]
    if not both:
        return ""
    attention = np.concatenate([values.ravel() for values, _ in both])
    pooled = [F.adaptive_avg_pool2d(torch.from_numpy(lare)[None], values.shape)[0] for values, lare in both]
    lare = torch.cat([values.flatten() for values in pooled]).numpy()
    if attention.std() == 0 or lare.std() == 0:
        return ""
    correlation = float(np.corrcoef(attention, lare)[0, 1])
    if abs(correlation) < WEAK:
        finding = "hardly depends on the error"
    else:
        finding = "is higher where the error is high" if correlation > 0 else "is higher where the error is low"
    return (
        f"Attention {finding}. Over the cells of these images its correlation with the map is {correlation:.2f}."
    ).replace("-", "−")
