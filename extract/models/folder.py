"""A diffusion model on the local disk, checked and hashed before anything is loaded."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from extract.models.hub import find_folder, hub_patterns
from extract.models.settings import MAX_JSON_BYTES, check_shapes, read_settings, schedule_settings, shown
from extract.models.weights import STEMS, MissingFile, check_no_pointer, check_weights, weight_files

UNETS = ("UNet2DConditionModel", "UNet2DModel")
AUTOENCODERS = ("AutoencoderKL", "AutoencoderTiny")
TEXT_ENCODERS = ("CLIPTextModel",)

_NEEDED = {
    "UNet2DConditionModel": ("in_channels", "out_channels", "block_out_channels"),
    "UNet2DModel": ("in_channels", "out_channels", "block_out_channels"),
    "AutoencoderKL": ("latent_channels", "block_out_channels"),
    "AutoencoderTiny": ("latent_channels", "encoder_block_out_channels"),
}
"""Class of a part → entries of its configuration that are read."""


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
        named = config.get("architectures")
        class_name = config.get("_class_name") or (named[0] if named and isinstance(named, list) else "unknown")
        if class_name not in supported:
            raise ValueError(f"{folder} holds a {shown(class_name)}: supported are {', '.join(supported)}")
        if missing := [name for name in _NEEDED.get(class_name, ()) if name not in config]:
            raise ValueError(f"{path} has no {' and no '.join(missing)}: download it again")
        check_shapes(path, config)
        stem = STEMS[class_name in TEXT_ENCODERS]
        return cls(folder, class_name, config, weight_files(folder, stem, variant) if with_weights else (), variant)

    @cached_property
    def sha256(self) -> str:
        """Hash of the weight files' bytes, in the order of their names; read once."""
        return hash_files(self.weights)

    @property
    def config_sha256(self) -> str:
        """Hash of the configuration as canonical JSON, without notes of the saving library (`_diffusers_version`)."""
        config = {k: v for k, v in self.config.items() if not k.startswith("_")}
        return hashlib.sha256(json.dumps(config, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class ModelFolder:
    """The parts of a latent diffusion model that extraction needs."""

    unet: Component | None
    """None where the autoencoder alone was asked for."""
    vae: Component
    scheduler_config: dict[str, Any]
    """What the noise schedule follows from; empty without a UNet."""
    text_encoder: Component | None
    """None for a `UNet2DModel`, which has no text condition."""
    tokenizer: Path | None

    @classmethod
    def open(
        cls,
        model: str,
        revision: str | None = None,
        vae: str | None = None,
        vae_revision: str | None = None,
        with_unet: bool = True,
        variant: str | None = None,
        with_weights: bool = True,
    ) -> "ModelFolder":
        """Find a model's parts and check that they fit together; downloads what is not on the disk.

        Args:
            model: Diffusers folder or hub id.
            revision: Commit hash of a hub id.
            vae: Folder or hub id of another autoencoder; its files lie in it or in its `vae` folder.
            vae_revision: Commit hash of that.
            with_unet: Whether more than the autoencoder is needed. Without, `model` may be an autoencoder's own folder,
                and is not looked for if `vae` is named.
            variant: Of the weights' names, "fp16"; an autoencoder that `vae` names has none.
            with_weights: Whether weights and tokenizer must be there. Without, configurations are read alone: costs can
                be counted, and nothing computed.

        Raises:
            ValueError: If it cannot be found, or is of a kind that is not supported; the message says what is.
        """
        try:
            return cls._open(model, revision, vae, vae_revision, with_unet, variant, with_weights, True)
        except MissingFile:  # a folder may lack it, or the local hub cache: only the second can be helped
            return cls._open(model, revision, vae, vae_revision, with_unet, variant, with_weights, False)

    @classmethod
    def _open(
        cls,
        model: str,
        revision: str | None,
        vae: str | None,
        vae_revision: str | None,
        with_unet: bool,
        variant: str | None,
        with_weights: bool,
        local_files_only: bool,
    ) -> "ModelFolder":
        if not with_unet:
            name, pinned, kind = (model, revision, variant) if vae is None else (vae, vae_revision, None)
            autoencoder = cls(None, _open_vae(name, pinned, kind, with_weights, local_files_only), {}, None, None)
            autoencoder._check_vae()
            return autoencoder
        folder = find_folder(
            model, revision, hub_patterns(variant=variant, with_weights=with_weights), local_files_only
        )
        unet = Component.open(folder / "unet", UNETS, variant, with_weights)
        has_text = unet.class_name == "UNet2DConditionModel"
        scheduler = folder / "scheduler" / "scheduler_config.json"
        if not scheduler.is_file():
            raise MissingFile(f"{scheduler} does not exist: the noise schedule is read from it")
        result = cls(
            unet=unet,
            vae=(
                Component.open(folder / "vae", AUTOENCODERS, variant, with_weights)
                if vae is None
                else _open_vae(vae, vae_revision, None, with_weights, local_files_only)
            ),
            scheduler_config=schedule_settings(scheduler, read_settings(scheduler)),
            text_encoder=(
                Component.open(folder / "text_encoder", TEXT_ENCODERS, variant, with_weights) if has_text else None
            ),
            tokenizer=folder / "tokenizer" if has_text and with_weights else None,
        )
        result._check_unet(unet)
        result._check_vae()
        return result

    @property
    def parts(self) -> list[Component]:
        """The networks that there are."""
        return [part for part in (self.unet, self.vae, self.text_encoder) if part is not None]

    def check_files(self) -> None:
        """Check that the files of all parts can be read, without reading weights.

        Raises:
            ValueError: If one is a pointer of a large-file store, is cut short or damaged.
        """
        for part in self.parts:
            check_weights(part.weights)
        for file in _tokenizer_files(self.tokenizer):
            check_no_pointer(file)
            if file.stat().st_size > MAX_JSON_BYTES:
                raise ValueError(f"{file} has {file.stat().st_size:,} bytes: expected at most {MAX_JSON_BYTES:,}")

    def _check_vae(self) -> None:
        vae = self.vae.config
        if vae.get("latents_mean") is not None or vae.get("latents_std") is not None:
            raise ValueError(
                f"{self.vae.folder} scales latents by channel: supported are one scaling_factor and shift_factor"
            )

    def _check_unet(self, part: Component) -> None:
        unet, vae = part.config, self.vae.config
        for name in ("addition_embed_type", "class_embed_type", "num_class_embeds", "encoder_hid_dim_type"):
            if unet.get(name) is not None:
                raise ValueError(
                    f"{part.folder} needs a further condition ({name}: {shown(unet[name])}): "
                    "supported are UNets with a text condition alone, or none"
                )
        channels = (unet.get("in_channels"), unet.get("out_channels"), vae.get("latent_channels"))
        if len(set(channels)) != 1:
            raise ValueError(
                f"{part.folder} takes {channels[0]} and gives {channels[1]} channels, the autoencoder "
                f"{self.vae.folder} has {channels[2]}: supported are UNets from latents to latents"
            )
        if self.tokenizer is not None and not self.tokenizer.is_dir():
            raise MissingFile(f"{self.tokenizer} does not exist: expected the files of a CLIPTokenizer")
        if self.text_encoder is not None:
            width = self.text_encoder.config.get("hidden_size")
            if unet.get("cross_attention_dim") != width:
                raise ValueError(
                    f"{part.folder} takes text of width {shown(unet.get('cross_attention_dim'))}, "
                    f"{self.text_encoder.folder} gives {width}"
                )

    def latent_shape(self, image_size: int) -> tuple[int, int, int]:
        """(c, h, w) of the latents of a square image.

        Raises:
            ValueError: If the side is no multiple of what autoencoder and UNet divide it by.
        """
        vae = self.vae.config
        widths = vae["encoder_block_out_channels" if self.vae.class_name == "AutoencoderTiny" else "block_out_channels"]
        stride = 2 ** (len(widths) - 1)
        multiple, parts = stride, "the autoencoder of this model needs"
        if self.unet is not None:
            multiple *= 2 ** (len(self.unet.config["block_out_channels"]) - 1)
            parts = "autoencoder and UNet of this model need"
        if image_size % multiple:
            raise ValueError(f"image_size is {image_size}: {parts} a multiple of {multiple}")
        return vae["latent_channels"], image_size // stride, image_size // stride

    def hashes(self, known: Callable[[Sequence[Path]], str] | None = None) -> dict[str, str]:
        """Fingerprint fields that identify weights and configurations.

        Args:
            known: Gives the hash of weight files without reading them again, such as `KnownHashes`; None reads them.
        """

        def weights_of(part: Component) -> str:
            return part.sha256 if known is None else known(part.weights)

        if self.unet is None:
            return {"vae_sha256": weights_of(self.vae), "vae_config_sha256": self.vae.config_sha256}
        parts = {"unet": self.unet, "vae": self.vae, "text_encoder": self.text_encoder}
        fields = {}
        for name, part in parts.items():
            fields[f"{name}_sha256"] = weights_of(part) if part else "none"
            fields[f"{name}_config_sha256"] = part.config_sha256 if part else "none"
        texts = _tokenizer_files(self.tokenizer)
        fields["tokenizer_sha256"] = hash_files(texts) if texts else "none"
        return fields


def _tokenizer_files(folder: Path | None) -> list[Path]:
    """Files of a tokenizer in the order of their names: all that may be read of it."""
    files = folder.iterdir() if folder else ()
    return sorted(file for file in files if file.suffix in (".json", ".txt") and file.is_file())


def hash_files(paths: Iterable[Path]) -> str:
    """SHA-256 over the bytes of files, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(2**24):
                digest.update(block)
    return digest.hexdigest()


def _open_vae(
    name: str, revision: str | None, variant: str | None, with_weights: bool, local_files_only: bool
) -> Component:
    """The autoencoder of a folder or hub repository, which lies in it or in its `vae` folder."""
    folder = find_folder(name, revision, hub_patterns(("vae/", ""), variant, with_weights), local_files_only)
    return Component.open(
        folder if (folder / "config.json").is_file() else folder / "vae", AUTOENCODERS, variant, with_weights
    )
