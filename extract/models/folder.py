"""A diffusion model on the local disk, checked before anything is loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from extract.models.hub import find_folder, hub_patterns
from extract.models.kinds import ANY_AUTOENCODER, KINDS
from extract.models.parts import AUTOENCODER_ALONE, VAE, Component, Layout, ModelParts, Text, name_class
from extract.models.registry import layout_of, supported
from extract.models.settings import read_settings, schedule_settings, shown
from extract.models.stable_diffusion import StableDiffusion
from extract.models.weights import MissingFile

INDEX = "model_index.json"
SCHEDULER = "scheduler/scheduler_config.json"


class ModelFolder(ModelParts):
    """The parts of a diffusion model, as they were found in its folder."""

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
            with_weights: Whether weights and tokenizers must be there. Without, configurations are read alone: costs
                can be counted, and nothing computed.

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
            part = _open_vae(name, pinned, kind, with_weights, local_files_only)
            return cls(AUTOENCODER_ALONE, {VAE: part}, {}, {})
        patterns = hub_patterns(variant=variant, with_weights=with_weights)
        folder = find_folder(model, revision, patterns, local_files_only)
        layout, index = _identify(folder)
        network = Component.open(folder / layout.network, layout.networks, variant, with_weights)
        texts = () if network.class_name in layout.without_text else _texts_of(folder, layout, index)
        parts = {layout.network: network}
        if layout.autoencoders:
            parts[VAE] = (
                _check_vae(Component.open(folder / VAE, layout.autoencoders, variant, with_weights))
                if vae is None
                else _open_vae(vae, vae_revision, None, with_weights, local_files_only, layout.autoencoders)
            )
        elif vae is not None:
            raise ValueError(f"vae is {vae}: {folder} is a model of pixels, which has none. Leave --vae out")
        scheduler = folder / SCHEDULER
        if not scheduler.is_file():
            raise MissingFile(f"{scheduler} does not exist: the noise schedule is read from it")
        settings = schedule_settings(scheduler, _of_noising(scheduler, layout))
        parts |= {
            text.folder: Component.open(folder / text.folder, text.classes, variant, with_weights) for text in texts
        }
        tokenizers = {text.tokenizer: _find_tokenizer(folder, text) for text in texts} if with_weights else {}
        result = cls(layout, parts, tokenizers, settings)
        layout.check(result)
        return result


def _identify(folder: Path) -> tuple[Layout, Mapping[str, Any]]:
    """The family of a folder, and its model_index.json.

    Folders without it, and pipelines of other names around Stable Diffusion's parts, are told by their UNet.

    Raises:
        ValueError: If it is of no supported family.
        MissingFile: If it is no folder of a whole model.
    """
    path = folder / INDEX
    index = read_settings(path) if path.is_file() else {}
    pipeline = index.get("_class_name")
    if (layout := layout_of(pipeline)) is not None:
        return layout, index
    usual = StableDiffusion.layout
    unet = folder / usual.network / "config.json"
    if unet.is_file() and (pipeline is None or name_class(read_settings(unet)) in usual.networks):
        return usual, index
    if pipeline is None:
        raise MissingFile(f"{folder} {_what_it_holds(folder)}: expected the folder of a whole model, with {INDEX}")
    raise ValueError(f"{folder} is a {shown(pipeline)}: supported are {supported()}")


def _what_it_holds(folder: Path) -> str:
    """What a folder without a whole model holds, in words."""
    config = folder / "config.json"
    if config.is_file():
        kind = name_class(read_settings(config))
        return "holds one network alone" if kind == "unknown" else f"holds a {shown(kind)} alone"
    if (folder / "adapter_config.json").is_file() or any(folder.glob("*lora*.safetensors")):
        return "holds a LoRA alone, which changes another model"
    return "holds no diffusion model"


def _texts_of(folder: Path, layout: Layout, index: Mapping[str, Any]) -> tuple[Text, ...]:
    """The text encoders that a model has; one that its index names as absent, or not at all, may be missing."""

    def is_absent(text: Text) -> bool:
        named = index.get(text.folder)
        return text.is_optional and not (isinstance(named, list) and any(named))

    return tuple(text for text in layout.texts if not is_absent(text))


def _find_tokenizer(folder: Path, text: Text) -> Path:
    path = folder / text.tokenizer
    kind = KINDS[text.classes[0]]
    if not path.is_dir():
        raise MissingFile(f"{path} does not exist: expected the files of a {kind.tokenizer}")
    # transformers makes a tokenizer of no words where there are none.
    whole = [("tokenizer.json",), *([kind.vocabulary] if kind.vocabulary else [])]
    if not any(all((path / name).is_file() for name in files) for files in whole):
        raise MissingFile(f"{path} holds no vocabulary: expected {', or '.join(' and '.join(each) for each in whole)}")
    return path


def _of_noising(path: Path, layout: Layout) -> dict[str, Any]:
    """A scheduler's settings.

    Raises:
        ValueError: If it is for another way of noising than the family's.
    """
    settings = read_settings(path)
    name = settings.get("_class_name")
    # Samplers that are made for DDPM also step along a straight line, and say it in another entry.
    is_flow = (isinstance(name, str) and "FlowMatch" in name) or settings.get("prediction_type") == "flow_prediction"
    if is_flow != (layout.noising == "flow"):
        expected = "flow matching" if layout.noising == "flow" else "DDPM"
        raise ValueError(f"{path} is of a {shown(name)}: expected a scheduler of {expected}")
    return settings


def _check_vae(vae: Component) -> Component:
    if vae.config.get("latents_mean") is not None or vae.config.get("latents_std") is not None:
        raise ValueError(f"{vae.folder} scales latents by channel: supported are one scaling_factor and shift_factor")
    return vae


def _open_vae(
    name: str,
    revision: str | None,
    variant: str | None,
    with_weights: bool,
    local_files_only: bool,
    supported: tuple[str, ...] = ANY_AUTOENCODER,
) -> Component:
    """The autoencoder of a folder or hub repository, which lies in it or in its `vae` folder."""
    folder = find_folder(name, revision, hub_patterns(("vae/", ""), variant, with_weights), local_files_only)
    part = folder if (folder / "config.json").is_file() else folder / VAE
    return _check_vae(Component.open(part, supported, variant, with_weights))
