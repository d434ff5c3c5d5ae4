"""What the demo's detector says of six test pictures, ready for the page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache_schema import decode_image, read_json
from demo.places import PICTURES, VERDICTS
from train.pictures.charts import colorize
from workflow.figures import png_uri


@dataclass(frozen=True)
class AskedPicture:
    """One picture and its verdict.

    Attributes:
        name: Of its file.
        image: Data URI.
        map: Its error map, data URI.
        made_by: What made it, as the index says.
        verdict: In a word.
        probability: Of "generated", in percent, or "".
        p_real: In words.
        notes: Sentences.
    """

    name: str
    image: str
    map: str
    made_by: str
    verdict: str
    probability: str
    p_real: str
    notes: list[str]


@dataclass(frozen=True)
class Asked:
    """All of them, and what holds for each.

    Attributes:
        pictures: In the order of the answers.
        rate: False-alarm rate of the verdicts, in percent.
        notes: Sentences that every verdict has.
    """

    pictures: list[AskedPicture]
    rate: str
    notes: list[str]

    @classmethod
    def load(cls, out: Path, top: float) -> "Asked | None":
        """Read the answers of a demo; None where it has none.

        Args:
            out: The demo's folder.
            top: Value at the upper end of the maps' colours.
        """
        if not (out / VERDICTS).is_file():
            return None
        content = read_json(out / VERDICTS)
        entries = content["verdicts"]
        shared = set.intersection(*({note["text"] for note in entry["notes"]} for entry in entries))
        pictures = [_show(entry, out / PICTURES / entry["name"], top, shared) for entry in entries]
        return cls(pictures, f"{content['detector']['false_alarm_rate']:.1%}", sorted(shared))


def _show(entry: dict[str, Any], file: Path, top: float, shared: set[str]) -> AskedPicture:
    return AskedPicture(
        name=entry["name"],
        image=png_uri(np.asarray(decode_image(file.read_bytes()))),
        map=png_uri(colorize(np.asarray(entry["map"]), top)),
        made_by="photograph" if entry["image_source"] == "real" else entry["image_source"],
        verdict=entry["verdict"],
        probability="" if entry["probability"] is None else f"{entry['probability']:.1%}",
        p_real=tell_p_real(entry["p_real"]),
        notes=[note["text"] for note in entry["notes"] if note["text"] not in shared],
    )


def tell_p_real(p_real: float) -> str:
    """A p-value as a person reads it: "1 in 20 photographs scores as high"."""
    if p_real > 0.5:
        return f"{p_real:.0%} of photographs score as high"
    one_in = 1 / p_real
    count = f"{one_in:.1f}".removesuffix(".0") if one_in < 10 else f"{one_in:,.0f}"
    return f"1 in {count} photographs scores as high"
