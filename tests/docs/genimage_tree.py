"""A small tree with GenImage's real names, and a hub cache with models under the names that the settings ask for."""

from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import numpy as np
import timm
import yaml
from PIL import Image
from safetensors.torch import save_file

from cache_schema import sample_key
from extract.packing.splits import hash_fraction
from tests.models import save_tiny_sd
from workflow.code_hash import ROOT

VALIDATION_FRACTION = 0.02
"""Of packing, by default. File names are chosen so that a small tree has validation images at this share."""
GENERATORS = {
    "ADM": ("imagenet_ai_0508_adm", "{i}_adm_{n}.PNG", 256),
    "BigGAN": ("imagenet_ai_0419_biggan", "{i:03d}_biggan_{n:05d}.png", 128),
    "stable_diffusion_v_1_5": ("imagenet_ai_0424_sdv5", "{i:03d}_sdv5_{n:05d}.png", 512),
}
"""Folder → folder in it, file names of generated images (class index, number), their side in px."""
WNIDS = ("n01440764", "n01443537", "n01484850", "n01491361")


def save_genimage(root: Path, num_train: int = 26, num_test: int = 4, num_validation: int = 2) -> Path:
    """As many photographs and generated images of each generator and split; the pictures are soft noise."""
    rng = np.random.default_rng(0)
    for generator, (inner, pattern, side) in GENERATORS.items():
        for split, num in (("train", num_train), ("val", num_test)):
            photo = f"{WNIDS[0]}_{{n}}.JPEG" if split == "train" else "ILSVRC2012_val_{n:08d}.JPEG"
            for kind, names, size in (("nature", photo, (500, 375)), ("ai", pattern, (side, side))):
                folder = root / generator / inner / split / kind
                folder.mkdir(parents=True)
                chosen = _choose(folder.relative_to(root), names, num, num_validation if split == "train" else 0)
                for name in chosen:
                    _save_picture(folder / name, size, rng)
    return root


def _choose(folder: Path, pattern: str, num: int, num_validation: int) -> list[str]:
    """The first names of which so many become validation."""
    names = (pattern.format(i=n % len(WNIDS), n=n) for n in count(1))

    def of(is_validation: bool) -> Iterator[str]:
        return (
            n
            for n in names
            if (hash_fraction(0, sample_key((folder / n).as_posix())) < VALIDATION_FRACTION) == is_validation
        )

    return [*islice(of(True), num_validation), *islice(of(False), num - num_validation)]


def _save_picture(path: Path, size: tuple[int, int], rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    image.save(path, "JPEG" if path.suffix == ".JPEG" else "PNG")


def save_hub_cache(home: Path) -> Path:
    """A hub cache, HF_HOME, with a tiny model in Stable Diffusion's place and CLIP's ResNet-50 with random weights."""
    settings = yaml.safe_load((ROOT / "extract" / "configs" / "sd15.yaml").read_text(encoding="utf-8"))
    save_tiny_sd(_snapshot(home, settings["model"], settings["revision"]))
    backbone = timm.create_model("resnet50_clip")
    folder = _snapshot(home, "timm/resnet50_clip.openai", "0" * 40)
    folder.mkdir()
    save_file(backbone.state_dict(), folder / "model.safetensors", {"format": "pt"})
    return home


def _snapshot(home: Path, repository: str, revision: str) -> Path:
    """The folder of a revision, which is also what `main` means; its parent is made."""
    folder = home / "hub" / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(revision)
    (folder / "snapshots").mkdir()
    return folder / "snapshots" / revision
