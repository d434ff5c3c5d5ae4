"""The photographs of the toy models and of the toy benchmark, cut from the two public datasets that they come from.

`python -m demo.toy.photographs --flowers FOLDER --clothing FOLDER --out FOLDER`, with TensorFlow's `flower_photos`
(CC-BY 2.0) and `alexeygrigorev/clothing-dataset-small` (CC0) as they are unpacked. `toy-photographs.csv` lists the
photographs: 2,651 trained the models, 1,849 others are the benchmark's.
"""

import csv
import io
import logging
from pathlib import Path, PurePosixPath

from jsonargparse import auto_cli
from PIL import Image
from tqdm import tqdm

from cache_schema import decode_image, new_folder

logger = logging.getLogger(__name__)

TABLE = Path(__file__).with_name("toy-photographs.csv")
SHORT_SIDE_PX, LONGEST_PX, JPEG_QUALITY = 144, 192, 92


def load_table(path: Path = TABLE) -> dict[str, str]:
    """Photograph, "flowers/<class>/<file>" or "clothing/<class>/<file>" → role, "generator" or "benchmark"."""
    with path.open(newline="", encoding="utf-8") as f:
        return {row["photograph"]: row["role"] for row in csv.DictReader(f)}


def shrink(image: Image.Image) -> bytes:
    """A photograph shrunk to the short side and cut to the longest around its centre, as JPEG."""
    scale = SHORT_SIDE_PX / min(image.size)
    image = image.resize([max(SHORT_SIDE_PX, round(s * scale)) for s in image.size], Image.Resampling.LANCZOS)
    width, height = (min(s, LONGEST_PX) for s in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    buffer = io.BytesIO()
    image.crop((left, top, left + width, top + height)).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def prepare(flowers: Path, clothing: Path, out: Path) -> None:
    """Write `<out>/generator` and `<out>/benchmark`.

    Args:
        flowers: Folder with `<class>/<file>` of flower_photos.
        clothing: Folder with `<class>/<file>` of clothing-dataset-small, in its splits or not.
        out: New folder.

    Raises:
        ValueError: If photographs are missing.
        FileExistsError: If `out` is there.
    """
    table = load_table()
    found = {
        f"{dataset}/{file.parent.name}/{file.name}": file
        for dataset, folder in (("flowers", flowers), ("clothing", clothing))
        for file in folder.rglob("*.jpg")
    }
    if missing := sorted(table.keys() - found.keys()):
        raise ValueError(
            f"{len(missing)} of {len(table)} photographs are not below {flowers} and {clothing}, the first is "
            f"{missing[0]}"
        )
    if out.exists():
        raise FileExistsError(f"{out} is there. Choose another --out.")
    out.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(out, durable=False) as temporary:
        for name, role in tqdm(table.items(), desc="photographs", disable=None):
            file = temporary / role / PurePosixPath(name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(shrink(decode_image(found[name].read_bytes())))
    logger.info("%s: %d photographs", out, len(table))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    auto_cli(prepare, as_positional=False)
