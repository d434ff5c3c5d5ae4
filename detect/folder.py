"""A detector folder: found on the disk or on the hub, checked, with the diffusion model that its maps need."""

from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from extract import ModelSource
from train import INCLUDED_MODEL, DetectorFile

_PATTERNS = ["config.json", "model.safetensors", "detector.json", "README.md", f"{INCLUDED_MODEL}/*"]


@dataclass(frozen=True)
class DetectorFolder:
    """A folder whose files are whole.

    Attributes:
        folder: Where it is.
        description: Its detector.json.
    """

    folder: Path
    description: DetectorFile

    @classmethod
    def open(cls, name: str | Path, revision: str | None = None) -> "DetectorFolder":
        """Find a folder, download it where it is none, and check all its files.

        Args:
            name: Folder or hub id.
            revision: Branch, tag or commit hash on the hub.

        Raises:
            ValueError: If it cannot be found, or a file is missing or damaged.
            FormatVersionError: If another version of the format wrote it.
        """
        folder = Path(name).expanduser()
        if not folder.is_dir():
            folder = _download(str(name), revision)
        return cls(folder, DetectorFile.read(folder))

    def find_model(self, probe: int, named: str | Path | None) -> ModelSource:
        """Where a probe's diffusion model is.

        Args:
            probe: Number of the probe.
            named: Folder or hub id that a person named, or several with commas between, one for each probe; None: the
                one in the folder, or on the hub.

        Raises:
            ValueError: If nobody knows, or several are named and not one for each probe.
        """
        known = self.description.probes[probe].model
        vae = {"vae": known.vae, "vae_revision": known.vae_revision}
        included = self.folder / INCLUDED_MODEL
        if named is not None:
            named = self._name_of(probe, str(named))
            revision = known.revision if str(named) == known.hub_id else None
            return ModelSource(str(Path(named).expanduser()), revision, **vae)
        if included.is_dir():
            return ModelSource(str(included), None, **vae)
        if known.hub_id is not None:
            return ModelSource(known.hub_id, known.revision, **vae)
        if len(self.description.probes) == 1:
            raise ValueError(
                f"{self.folder} does not say where the diffusion model of its maps is ({self.describe_probe(0)}). Name "
                "its folder with --model."
            )
        raise ValueError(
            f"{self.folder} does not say where the diffusion models of its maps are ({self._describe_probes()}). Name "
            "their folders with --model, in this order and with commas between."
        )

    def describe_probe(self, probe: int) -> str:
        """Which diffusion model a probe needs: its family, and the SHA-256 of its network's weights."""
        fields = self.description.probes[probe].fields
        name, kind = ("unet", "UNet") if "unet_sha256" in fields else ("transformer", "transformer")
        family = str(fields.get("model_family", "stable_diffusion"))
        return f"{family}, SHA-256 of the {kind}'s weights: {fields.get(f'{name}_sha256', 'unknown')}"

    def _name_of(self, probe: int, named: str) -> str:
        """What a person named for a probe."""
        if "," not in named or Path(named).expanduser().exists():
            return named
        names, num_probes = [name.strip() for name in named.split(",")], len(self.description.probes)
        if len(names) != num_probes:
            needed = self._describe_probes()
            raise ValueError(f"model names {len(names)} models, the detector has {num_probes} probes ({needed})")
        return names[probe]

    def _describe_probes(self) -> str:
        return "; ".join(self.describe_probe(n) for n in range(len(self.description.probes)))


def _download(name: str, revision: str | None) -> Path:
    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=_PATTERNS))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        raise ValueError(
            f"{name} is neither a detector folder, nor in the local hub cache, nor can it be downloaded: {error}"
        ) from error
