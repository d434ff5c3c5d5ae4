"""The model card of a detector folder, written from the facts in its description."""

from collections.abc import Mapping
from typing import Any

from train.detector_file import DetectorFile

_HEAD = """\
---
library_name: pytorch
license: apache-2.0
tags: [image-forensics, diffusion, lare]
---
# Detector of diffusion-generated images

"""
_USE = """\
## Use

```sh
lare detect PICTURE --detector FOLDER{model_flag}
```

```python
from detect import Detector

detector = Detector.from_pretrained("FOLDER"{model_argument})
verdict, = detector(["picture.jpg"])
```

A verdict is "generated", "real" or "unsure". A map of errors comes with it. The map is no proof.
"""
_LIMITS = """\
## Limits

- The promise holds for photographs that are exchangeable with the validation photographs, and for no others.
- A picture unlike the training images gets a note, and "unsure" instead of "generated".
- Generators that are not named above may be missed. "real" is no proof of a photograph.
- The checkpoint was chosen on the same validation images that the false-alarm rate is computed from.
"""


def write_card(description: DetectorFile, *, has_model: bool) -> str:
    """The text of README.md.

    Args:
        description: The facts.
        has_model: Whether the diffusion model lies in the folder.
    """
    needs_name = not has_model and description.probes[0].model.hub_id is None
    parts = [
        _HEAD + _what_it_is(description),
        _promise(description),
        _training(description),
        _test(description.test),
        _USE.format(
            model_flag=" --model DIFFUSION_MODEL" if needs_name else "",
            model_argument=', model="DIFFUSION_MODEL"' if needs_name else "",
        ),
        _LIMITS if description.method == "classifier" else _LIMITS.rpartition("- ")[0],
    ]
    return "\n".join(part for part in parts if part)


def _what_it_is(description: DetectorFile) -> str:
    probe = description.probes[0]
    fields, model = probe.fields, probe.model
    name = f"{model.hub_id} at {model.revision}" if model.hub_id else f"UNet {str(fields.get('unet_sha256'))[:12]}…"
    what = (
        "A network that reads the picture and its latent reconstruction error (LaRE)."
        if description.method == "classifier"
        else "The mean latent reconstruction error (LaRE) alone. No network, and no generated image was used."
    )
    return (
        f"{what}\n\nMaps are made by {name}: {fields['image_size']} px, timestep {fields.get('timestep')}, "
        f"{fields.get('ensemble_size')} noise draws.\n"
    )


def _promise(description: DetectorFile) -> str:
    photographs = description.photographs
    return (
        "## False alarms\n\n"
        f"Scores are compared with those of {len(photographs.scores):,} validation photographs of "
        f"{photographs.num_groups:,} groups. A picture is called generated only if at most the chosen share of them "
        "scores as high. For photographs that are exchangeable with the validation ones, at most this share is called "
        f"generated. The smallest share that can be kept is {photographs.smallest_rate:.2%}.\n"
    )


def _training(description: DetectorFile) -> str:
    facts = description.facts
    lines = [f"- {name.replace('_', ' ')}: {low:.4g} to {high:.4g}" for name, (low, high) in facts.ranges.items()]
    formats = ", ".join(f"{count:,} {name}" for name, count in facts.formats.items())
    sources = ", ".join(description.sources) or "none: photographs alone"
    return (
        f"## Training images\n\n{facts.num_images:,} images. Generated sources: {sources}.\n\n"
        + "\n".join([f"- files: {formats}", *lines])
        + "\n\nRanges hold 99 % of the images.\n"
    )


def _test(test: Mapping[str, Any]) -> str:
    if not test:
        return ""
    rows = [(name, block) for name, block in test["sources"].items()]
    lines = [
        f"| {name} | {block['n_generated']} | {block['auroc']:.3f} | {block['balanced_accuracy']:.3f} |"
        for name, block in rows
    ]
    return "\n".join(
        [
            "## Test split",
            "",
            "| source | images | AUROC | balanced accuracy |",
            "| --- | --- | --- | --- |",
            *lines,
            "",
        ]
    )
