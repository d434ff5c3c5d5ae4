"""The model card of a detector folder, written from the facts in its description."""

from collections.abc import Mapping
from typing import Any

from cache_schema import as_markdown
from train.detector_file import DetectorFile, ProbeFile
from train.scoring.calibration import Calibration, describe_fits
from train.scoring.intervals import describe_few_groups

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

A verdict is {verdicts}. A map of errors comes with it. The map is no proof.
"""
_LIMITS = """\
## Limits

- The promise holds for photographs that are exchangeable with the {photographs} photographs, and for no others.
- A picture unlike the {images} gets a note, and "unsure" instead of "generated".
"""
_UNCALIBRATED = """\
- Nothing was calibrated: the training had no validation. It gives no probability, and never says "real".
"""
_LIMITS_OF_METHOD = {
    "classifier": """\
- Generators that are not named above may be missed. "real" is no proof of a photograph.
- The checkpoint was chosen on the same validation images that the false-alarm rate is computed from.
""",
    "mean_lare": """\
- Nobody has measured which generated pictures it finds. Ask about some whose origin you know before you rely on it.
- It never says "real": it has seen no generated picture.
""",
}


def write_card(description: DetectorFile, *, has_model: bool) -> str:
    """The text of README.md.

    Args:
        description: The facts.
        has_model: Whether the diffusion model lies in the folder.
    """
    probes = description.probes
    needs_name = not has_model and any(probe.model.hub_id is None for probe in probes)
    one_each = [f"DIFFUSION_MODEL_{number}" for number in range(1, len(probes) + 1)]
    named = ",".join(one_each) if len(probes) > 1 else "DIFFUSION_MODEL"
    parts = [
        _HEAD + _what_it_is(description),
        _promise(description),
        _training(description),
        _calibration(description.calibration),
        _test(description.test),
        _USE.format(
            verdicts='"generated", "real" or "unsure"' if description.calibration else '"generated" or "unsure"',
            model_flag=f" --model {named}" if needs_name else "",
            model_argument=f', model="{named}"' if needs_name else "",
        ),
        _limits(description),
    ]
    return "\n".join(part for part in parts if part)


def _what_it_is(description: DetectorFile) -> str:
    probes = [_describe_probe(probe) for probe in description.probes]
    made_by = f"Maps are made by {probes[0]}.\n"
    if len(probes) > 1:
        listed = "".join(f"{number}. {probe}\n" for number, probe in enumerate(probes, start=1))
        made_by = f"Maps are made by {len(probes)} diffusion models, side by side:\n\n{listed}"
    if description.method == "classifier":
        what = "A network that reads the picture and its latent reconstruction error (LaRE)."
    else:
        what = "Minus the mean latent reconstruction error (LaRE). No network, and no generated image was used."
    return f"{what}\n\n{_detail(description.detail)}{made_by}"


def _describe_probe(probe: ProbeFile) -> str:
    """A diffusion model and the settings of its maps."""
    fields, model = probe.fields, probe.model
    network = "UNet" if "unet_sha256" in fields else "transformer"
    sha256 = str(fields.get(f"{network.lower()}_sha256"))
    family = f" of {fields['model_family']}" if "model_family" in fields else ""
    name = f"{model.hub_id} at {model.revision}" if model.hub_id else f"{network} {sha256[:12]}…{family}"
    level = f"σ {fields['sigma']}" if "sigma" in fields else f"timestep {fields.get('timestep')}"
    settings = f"{fields['image_size']} px, {level}, {fields.get('ensemble_size')} noise draws"
    return f"{as_markdown(name)}: {as_markdown(settings)}"


def _detail(detail: Mapping[str, Any] | None) -> str:
    """What a regression on local detail is, where there is one."""
    if detail is None:
        return ""
    return (
        "The score is how far the logarithm of the mean lies below what the local detail of the picture predicts. "
        f"The prediction is a regression on {detail['num_photographs']:,} photographs of {detail['num_groups']:,} "
        f"groups, which no score below is of. It explains {detail['explained']:.0%} of their variance.\n\n"
    )


def _compared(description: DetectorFile) -> str:
    """Which photographs scores are compared with."""
    return "validation" if description.method == "classifier" else "calibration"


def _limits(description: DetectorFile) -> str:
    is_classifier = description.method == "classifier"
    images = "training images" if is_classifier else "photographs above"
    limits = _LIMITS.format(photographs=_compared(description), images=images) + _LIMITS_OF_METHOD[description.method]
    return limits + _UNCALIBRATED if is_classifier and description.calibration is None else limits


def _promise(description: DetectorFile) -> str:
    photographs, which = description.photographs, _compared(description)
    return (
        "## False alarms\n\n"
        f"Scores are compared with those of {len(photographs.scores):,} {which} photographs of "
        f"{photographs.num_groups:,} groups. A picture is called generated only if at most the chosen share of them "
        "scores as high. For photographs that are exchangeable with them, at most this share is called generated. "
        f"The smallest share that can be kept is {100 * photographs.smallest_rate:.2g} %.\n"
    )


def _training(description: DetectorFile) -> str:
    facts = description.facts
    names = {name: as_markdown(name.replace("_", " ")) for name in facts.ranges}
    lines = [f"- {names[name]}: {low:.4g} to {high:.4g}" for name, (low, high) in facts.ranges.items()]
    formats = ", ".join(f"{count:,} {as_markdown(name)}" for name, count in facts.formats.items())
    sources = ", ".join(map(as_markdown, description.sources)) or "none: photographs alone"
    what = "Training images" if description.method == "classifier" else "Photographs"
    return (
        f"## {what}\n\n{facts.num_images:,} images. Generated sources: {sources}.\n\n"
        + "\n".join([f"- files: {formats}", *lines])
        + "\n\nRanges hold 99 % of the images.\n"
    )


def _calibration(calibration: Calibration | None) -> str:
    """The temperature and its effect, where one was fitted and its losses are known."""
    lines = describe_fits([] if calibration is None else [calibration])
    return "\n".join(["## Calibration", "", *(f"- {line}" for line in lines), ""]) if lines else ""


def _test(test: Mapping[str, Any]) -> str:
    """Figures of the test split: sources by balanced accuracy, controls by the share that is called generated."""
    if not test:
        return ""
    lines = [
        _test_row(name, block, block.get("balanced_accuracy_at_val_threshold"))
        for name, block in test["sources"].items()
    ]
    parts = [_TEST_HEAD, *lines, ""]
    controls = test.get("controls", {})
    if any("share_called_generated" in block for block in controls.values()):
        lines = [_test_row(name, block, block.get("share_called_generated")) for name, block in controls.items()]
        parts += ["Controls are no generated images.", "", _CONTROLS_HEAD, *lines, ""]
    counts = [block["n_groups"] for block in test["sources"].values() if block.get("n_groups") is not None]
    warning = describe_few_groups(min(counts)) if counts else None
    return "\n".join(["## Test split", "", *parts, *([warning, ""] if warning else [])])


_TEST_HEAD = """| source | images | groups | AUROC (95 % interval) | balanced accuracy |
| --- | --- | --- | --- | --- |"""
_CONTROLS_HEAD = """| control | images | groups | AUROC (95 % interval) | share called generated |
| --- | --- | --- | --- | --- |"""


def _test_row(name: str, block: Mapping[str, Any], called: float | None) -> str:
    """A row; what older results do not have stays empty."""
    auroc, groups = f"{block['auroc']:.3f}", block.get("n_groups")
    if groups is not None and block.get("auroc_interval"):  # without their number, intervals are of the old kind
        auroc += " ({:.3f} to {:.3f})".format(*block["auroc_interval"])
    share = "" if called is None else f"{called:.3f}"
    return f"| {as_markdown(name)} | {block['n_generated']} | {'' if groups is None else groups} | {auroc} | {share} |"
