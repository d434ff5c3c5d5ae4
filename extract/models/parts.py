"""The parts of a diffusion model on the local disk, and what a family of models needs of them."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from extract.models.kinds import AUTOENCODERS, KINDS, SENTENCEPIECE
from extract.models.settings import MAX_TOKENIZER_BYTES, check_shapes, read_settings, shown
from extract.models.weights import MissingFile, check_no_pointer, check_weights, weight_files

VAE = "vae"
"""Folder of the autoencoder."""
_RENAMED = {"ada_norm_single": "PixArtTransformer2DModel", "ada_norm_zero": "DiTTransformer2DModel"}
"""Kind of normalisation → class, for transformers that were saved before 2024, as diffusers understands them."""


@dataclass(frozen=True)
class Component:
    """One part of a model: a folder with config.json and safetensors files."""

    folder: Path
    class_name: str
    config: dict[str, Any]
    weights: tuple[Path, ...]
    variant: str | None = None
    """Of the names of the weights: "fp16"."""

    @classmethod
    def open(
        cls, folder: Path, supported: tuple[str, ...], variant: str | None = None, with_weights: bool = True
    ) -> "Component":
        """Read a part's configuration and find its weights.

        Args:
            folder: The part.
            supported: Names of classes.
            variant: Of the weights.
            with_weights: Whether its weights must be there; otherwise they are not looked for.

        Raises:
            ValueError: If it is not there, is of another class, or has no safetensors files.
        """
        path = folder / "config.json"
        if not path.is_file():
            raise MissingFile(f"{path} does not exist: expected a folder of {' or '.join(supported)}")
        config = read_settings(path)
        class_name = name_class(config)
        if class_name not in supported:
            raise ValueError(f"{folder} holds a {shown(class_name)}: supported are {', '.join(supported)}")
        kind = KINDS[class_name]
        if missing := [name for name in kind.needed if name not in config]:
            raise ValueError(f"{path} has no {' and no '.join(missing)}: download it again")
        check_shapes(path, config)
        return cls(
            folder, class_name, config, weight_files(folder, kind.stem, variant) if with_weights else (), variant
        )

    @cached_property
    def sha256(self) -> str:
        """Hash of the weight files' bytes, in the order of their names; read once."""
        return hash_files(self.weights)

    @property
    def config_sha256(self) -> str:
        """Hash of the configuration as canonical JSON, without notes of the saving library (`_diffusers_version`)."""
        config = {k: v for k, v in self.config.items() if not k.startswith("_")}
        return hashlib.sha256(json.dumps(config, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def name_class(config: Mapping[str, Any]) -> Any:
    """The class that a configuration is of, as it says itself; "unknown" where it says nothing."""
    named = config.get("architectures")
    class_name = config.get("_class_name") or (named[0] if named and isinstance(named, list) else "unknown")
    if class_name == "Transformer2DModel" and isinstance(norm := config.get("norm_type"), str):
        return _RENAMED.get(norm, class_name)
    return class_name


@dataclass(frozen=True)
class Text:
    """A text encoder that a family has, with its tokenizer."""

    folder: str
    tokenizer: str
    """Folder of its tokenizer."""
    classes: tuple[str, ...]
    is_optional: bool = False
    """Whether a model may lack it."""


@dataclass(frozen=True)
class Layout:
    """What a family needs of a model's folder, found and checked before anything is loaded."""

    family: str
    """Its name in fingerprints."""
    pipelines: tuple[str, ...]
    """`_class_name` of model_index.json."""
    network: str
    """Folder of the network that predicts: unet or transformer."""
    networks: tuple[str, ...]
    """Its classes."""
    noising: Literal["ddpm", "flow"]
    texts: tuple[Text, ...] = ()
    without_text: tuple[str, ...] = ()
    """Classes of networks that take no text."""
    autoencoders: tuple[str, ...] = AUTOENCODERS
    """Classes of its autoencoder; none for a model of pixels."""
    divides: Callable[[Component], int] = lambda network: 1
    """What the sides of latents must be a multiple of, for this network."""
    check: Callable[["ModelParts"], None] = lambda parts: None
    """Raises ValueError where parts do not fit together."""

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders of all networks that it may have."""
        return (self.network, *((VAE,) if self.autoencoders else ()), *(text.folder for text in self.texts))


AUTOENCODER_ALONE = Layout("", (), "", (), "ddpm")
"""Where nothing else of a model is used."""


@dataclass(frozen=True)
class ModelParts:
    """The parts of a diffusion model that extraction needs."""

    layout: Layout
    parts: Mapping[str, Component]
    """Folder → the network in it: "unet" or "transformer", "vae", "text_encoder" …; no network besides an autoencoder
    that was asked for alone."""
    tokenizers: Mapping[str, Path]
    """Name of its folder → the folder; none where no weights were asked for."""
    scheduler_config: dict[str, Any]
    """What the noise schedule follows from; empty without a network."""

    @property
    def network(self) -> Component | None:
        """What predicts; None where the autoencoder alone was asked for."""
        return self.parts.get(self.layout.network)

    def of_network(self, setting: str) -> Any:
        """A setting of the network, as its configuration has it; None where it is not there."""
        return self.parts[self.layout.network].config.get(setting)

    @property
    def network_folder(self) -> Path:
        """Where the network lies."""
        return self.parts[self.layout.network].folder

    @property
    def vae(self) -> Component | None:
        """The autoencoder; None for a model of pixels."""
        return self.parts.get(VAE)

    @property
    def has_text(self) -> bool:
        """Whether texts condition it."""
        return any(text.folder in self.parts for text in self.layout.texts)

    @property
    def is_flow(self) -> bool:
        """Whether its noise levels are flow matching's σ, and not timesteps."""
        return self.layout.noising == "flow"

    @property
    def takes_guidance(self) -> bool:
        """Whether its network was distilled with guidance, and is told of it."""
        return self.network is not None and self.network.config.get("guidance_embeds") is True

    def check_files(self) -> None:
        """Check that the files of all parts can be read, without reading weights.

        Raises:
            ValueError: If one is a pointer of a large-file store, is cut short or damaged.
        """
        for part in self.parts.values():
            check_weights(part.weights)
        for file in [file for folder in self.tokenizers.values() for file in tokenizer_files(folder)]:
            check_no_pointer(file)
            if file.stat().st_size > MAX_TOKENIZER_BYTES:
                raise ValueError(f"{file} has {file.stat().st_size:,} bytes: expected at most {MAX_TOKENIZER_BYTES:,}")

    @property
    def latent_stride(self) -> int:
        """Side in px of a cell of the latents; 1 for a model of pixels."""
        if self.vae is None:
            return 1
        return int(2 ** (len(self.vae.config[KINDS[self.vae.class_name].widths]) - 1))

    @property
    def latent_channels(self) -> int:
        """Channels of the latents; those of the image for a model of pixels."""
        return 3 if self.vae is None else int(self.vae.config["latent_channels"])

    def latent_shape(self, image_size: int) -> tuple[int, int, int]:
        """(c, h, w) of the latents of a square image.

        Raises:
            ValueError: If the side is no multiple of what autoencoder and network divide it by.
        """
        stride = self.latent_stride
        multiple, parts = stride, "the autoencoder of this model needs"
        if self.network is not None:
            multiple *= self.layout.divides(self.network)
            name = "UNet" if self.layout.network == "unet" else "transformer"
            parts = f"autoencoder and {name} of this model need" if self.vae else f"the {name} of this model needs"
        if image_size % multiple:
            raise ValueError(f"image_size is {image_size}: {parts} a multiple of {multiple}")
        return self.latent_channels, image_size // stride, image_size // stride

    def hashes(self, known: Callable[[Sequence[Path]], str] | None = None) -> dict[str, str]:
        """Fingerprint fields that identify weights and configurations.

        Args:
            known: Gives the hash of weight files without reading them again, such as `KnownHashes`; None reads them.
        """
        fields: dict[str, str] = {}
        for name in (VAE,) if self.network is None else dict.fromkeys((self.layout.network, VAE, *self.layout.folders)):
            part = self.parts.get(name)
            weights = "none" if part is None else part.sha256 if known is None else known(part.weights)
            fields |= {f"{name}_sha256": weights, f"{name}_config_sha256": part.config_sha256 if part else "none"}
        if self.network is not None:
            for text in self.layout.texts:
                files = tokenizer_files(self.tokenizers.get(text.tokenizer))
                fields[f"{text.tokenizer}_sha256"] = hash_files(files) if files else "none"
        return fields


def tokenizer_files(folder: Path | None) -> list[Path]:
    """Files of a tokenizer in the order of their names: all that may be read of it."""
    files = folder.iterdir() if folder else ()
    return sorted(f for f in files if (f.suffix in (".json", ".txt") or f.name == SENTENCEPIECE) and f.is_file())


def hash_files(paths: Iterable[Path]) -> str:
    """SHA-256 over the bytes of files, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(2**24):
                digest.update(block)
    return digest.hexdigest()
