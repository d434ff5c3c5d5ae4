"""What LaRE costs with each family of diffusion models, by their published configurations: `python -m bench.families`.

Nothing is run and no weights are read: operations, weights and memory follow from shapes.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.data.families import PUBLISHED, write_configurations
from extract.models.folder import ModelFolder
from extract.models.memory import Needed, count_parameters, estimate

IMAGE_SIZES = (256, 512, 1024)
ENSEMBLE_SIZE = 4
BATCH_SIZE = 1
COMPUTE_DTYPE = "bf16"


@dataclass(frozen=True)
class Cost:
    """One model's."""

    network_parameters: int
    text_parameters: int
    """Of the largest text encoder, which is freed before the maps are made."""
    sizes: list[Needed]


def cost(name: str) -> Cost:
    """What a published model costs for an image, with its draws at once."""
    with tempfile.TemporaryDirectory(prefix="lare-families-") as folder:
        model = ModelFolder.open(str(write_configurations(name, Path(folder))), with_weights=False)
        parameters = count_parameters(model)
        texts = [parameters[text.folder] for text in model.layout.texts if text.folder in parameters]
        sizes = estimate(model, IMAGE_SIZES, (ENSEMBLE_SIZE, 0), BATCH_SIZE, COMPUTE_DTYPE)
        return Cost(parameters[model.layout.network], max(texts), sizes)


def format_table(costs: dict[str, Cost]) -> str:
    """A Markdown table; the first model's operations are what the others are divided by."""
    first = next(iter(costs.values()))
    sides = "".join(f" {side} px, TMAC (over SD 1.5) |" for side in IMAGE_SIZES)
    memory = " / ".join(map(str, IMAGE_SIZES))
    lines = [
        f"| model | network, B | largest text encoder, B |{sides} memory at {memory} px, GB |",
        "| --- |" + " --- |" * (3 + len(IMAGE_SIZES)),
    ]
    for name, each in costs.items():
        cells = [
            f"{size.gmac / 1e3:.2f} ({size.gmac / base.gmac:.1f})"
            for size, base in zip(each.sizes, first.sizes, strict=True)
        ]
        gigabytes = " / ".join(f"{size.memory_bytes / 1e9:.1f}" for size in each.sizes)
        billions = f"{each.network_parameters / 1e9:.2f} | {each.text_parameters / 1e9:.2f}"
        lines.append(f"| {name} | {billions} | {' | '.join(cells)} | {gigabytes} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(format_table({name: cost(name) for name in PUBLISHED}) + "\n")
