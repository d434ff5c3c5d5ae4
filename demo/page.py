"""The demo's results as a page: `python -m demo report`."""

import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache_schema import Dataset, read_json
from demo.report.report import DETECTOR, write_report
from demo.report.summary import INTRO, LIMITS
from train.scoring.titles import TITLES
from workflow.stages import Stages

CONFIGS = Path(__file__).with_name("configs")
BENCHMARK = Path(__file__).parents[1] / "docs" / "results" / "toy-benchmark.json"
FAMILIES = BENCHMARK.with_name("families.json")
"""What the toy benchmark and the question on families found, as docs/RESULTS.md shows it. Only a checkout has them."""
PACKAGES = ("torch", "diffusers", "transformers", "timm", "lightning", "zarr", "numpy", "pillow")
PHOTO_PACKAGES = ("mvtb-data", "scikit-image", "scikit-learn")


MIXED = (
    "Images made from class names, toy-a and toy-b, show flowers; {share:.0%} of the photo tiles do. Their columns mix "
    "what made an image with what it shows. Images called img2img show what their photographs show."
)
"""What stands on top: how far origin and subject can be told apart."""


@dataclass(frozen=True)
class PageConfig:
    """The page of a demo that has run."""

    out: Path = Path("runs/demo")
    """The demo's folder; report.html is written there."""


def write_page(config: PageConfig) -> None:
    """Write the page of a demo that has run."""
    data, cache = config.out / "data", config.out / "cache"
    stages = Stages(config.out, data, cache, configs=CONFIGS)
    dataset, settings = Dataset.open(data), read_json(stages.results)["settings"]
    write_report(
        stages.results,
        {name: stages.files(name)[0] for name in TITLES},
        data,
        cache,
        config.out / "report.html",
        title="LaRE² on photographs and toy-model images",
        intro=INTRO.format(num_photographs=dataset.settings["num_photographs"]),
        limits=LIMITS,
        caveat=MIXED.format(share=_share_of_flowers(dataset.settings["contents"])),
        about=_about(dataset, settings),
        ckpt=stages.detectors / DETECTOR / "checkpoints" / "best.ckpt",
        matrix=config.out / "matrix" / "matrix.json",  # of python -m train matrix --out <out>/matrix
        benchmark=BENCHMARK,
        other_models=FAMILIES,
        demo=config.out,
    )


def _share_of_flowers(contents: Mapping[str, Mapping[str, int]]) -> float:
    """Of the photo tiles of all roles."""
    of_flowers = sum(counts.get("flowers", 0) for counts in contents.values())
    return of_flowers / sum(sum(counts.values()) for counts in contents.values())


def _about(dataset: Dataset, settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    commit = settings["git_commit"] or "none: not a git work tree"
    versions = {"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in PACKAGES}}
    return {
        "Commit and versions": {
            "command": "make demo",
            "commit": commit + (" with changes" if settings["git_dirty"] else ""),
            **versions,
        },
        "Images": {**{p: importlib.metadata.version(p) for p in PHOTO_PACKAGES}, **_shown(dataset.settings)},
        "Samples": {s: ", ".join(f"{n} {c}" for n, c in counts.items()) for s, counts in dataset.counts.items()},
        "LaRE maps": {"fingerprint": settings["fingerprint"], **settings["fields"]},
    }


def _shown(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the images, the contents of each role as one line."""
    contents = {
        f"{role} tiles": ", ".join(f"{number} {content}" for content, number in counts.items())
        for role, counts in settings["contents"].items()
    }
    return {name: value for name, value in settings.items() if name != "contents"} | contents
