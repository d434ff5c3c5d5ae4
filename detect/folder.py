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
            named: Folder or hub id that a person named; None: the one in the folder, or on the hub.

        Raises:
            ValueError: If nobody knows.
        """
        known = self.description.probes[probe].model
        vae = {"vae": known.vae, "vae_revision": known.vae_revision}
        included = self.folder / INCLUDED_MODEL
        if named is not None:
            revision = known.revision if str(named) == known.hub_id else None
            return ModelSource(str(Path(named).expanduser()), revision, **vae)
        if included.is_dir():
            return ModelSource(str(included), None, **vae)
        if known.hub_id is not None:
            return ModelSource(known.hub_id, known.revision, **vae)
        unet = str(self.description.probes[probe].fields.get("unet_sha256", "unknown"))
        raise ValueError(
            f"{self.folder} does not say where the diffusion model of its maps is (SHA-256 of the UNet's weights: "
            f"{unet}). Name its folder with --model."
        )


def _download(name: str, revision: str | None) -> Path:
    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=_PATTERNS))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        raise ValueError(
            f"{name} is neither a detector folder, nor in the local hub cache, nor can it be downloaded: {error}"
        ) from error
