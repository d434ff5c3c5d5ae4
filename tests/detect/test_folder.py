"""Where the diffusion models of a detector's probes are."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from detect.folder import DetectorFolder


def folder_of(*fields: dict[str, str]) -> DetectorFolder:
    """A detector folder with probes of these fingerprint fields, whose models nobody knows."""
    unknown = SimpleNamespace(hub_id=None, revision=None, vae=None, vae_revision=None)
    probes = [SimpleNamespace(fields=each, model=unknown) for each in fields]
    description: Any = SimpleNamespace(probes=probes)
    return DetectorFolder(Path("detector"), description)


SD = {"unet_sha256": "a" * 64}
SD3 = {"transformer_sha256": "b" * 64, "model_family": "stable_diffusion_3"}


def test_each_probe_takes_its_own_of_several_models() -> None:
    found = folder_of(SD, SD3)
    assert [found.find_model(n, "one, two").model for n in (0, 1)] == ["one", "two"]
    assert [found.find_model(n, "one").model for n in (0, 1)] == ["one", "one"]


def test_a_detector_says_which_models_its_probes_need() -> None:
    found = folder_of(SD, SD3)
    both = (
        r"UNet's weights: a{64}; stable_diffusion_3, SHA-256 of the transformer's weights: b{64}\)\. Name their folders"
    )
    with pytest.raises(ValueError, match=both):
        found.find_model(0, None)
    with pytest.raises(ValueError, match=r"stable_diffusion, SHA-256 of the UNet's weights: a{64}\)\. Name its folder"):
        folder_of(SD).find_model(0, None)
    message = r"3 models, the detector has 2 probes \(stable_diffusion, .*; stable_diffusion_3, .*transformer.*b{64}\)"
    with pytest.raises(ValueError, match=message):
        found.find_model(0, "one,two,three")
