"""Whether the parts of a model fit together, by their configurations: what the families' checks are made of."""

from collections.abc import Sequence

from extract.models.parts import Component, ModelParts
from extract.models.settings import shown


def unet_divides(unet: Component) -> int:
    """What a UNet divides the sides of its input by."""
    return int(2 ** (len(unet.config["block_out_channels"]) - 1))


def patch_divides(transformer: Component) -> int:
    """What a transformer divides the sides of its input by."""
    return int(transformer.config["patch_size"])


def check_channels(parts: ModelParts, *, also_variances: bool = False) -> None:
    """Check that a network goes from latents to latents.

    Args:
        parts: The model.
        also_variances: Whether it may give as many channels again, which are not used.

    Raises:
        ValueError: If it takes or gives other channels than the autoencoder has.
    """
    takes, has = parts.of_network("in_channels"), parts.latent_channels
    gives = parts.of_network("out_channels") or takes
    if takes != has or gives not in ((has, 2 * has) if also_variances else (has,)):
        latents = f"the autoencoder {parts.vae.folder} has {has}" if parts.vae else f"images have {has}"
        raise ValueError(
            f"{parts.network_folder} takes {takes} and gives {gives} channels, {latents}: supported are "
            f"{'UNets' if parts.layout.network == 'unet' else 'transformers'} from latents to latents"
        )


def check_text_width(parts: ModelParts, setting: str, width: object, encoders: Sequence[str]) -> None:
    """Check that a network takes text as wide as encoders give it.

    Args:
        parts: The model.
        setting: Of the network.
        width: Of what the encoders give.
        encoders: Their folders.

    Raises:
        ValueError: If it does not.
    """
    if parts.of_network(setting) != width:
        given = " and ".join(str(parts.parts[name].folder) for name in encoders)
        raise ValueError(
            f"{parts.network_folder} takes text of width {shown(parts.of_network(setting))}, {given} "
            f"{'gives' if len(encoders) == 1 else 'give'} {width}"
        )


def check_off(parts: ModelParts, settings: Sequence[str], supported: str) -> None:
    """Check that a network needs no condition that nobody gives it.

    Args:
        parts: The model.
        settings: Of the network, which must be off.
        supported: What is supported instead, in words.

    Raises:
        ValueError: If one of them is on.
    """
    for name in settings:
        if (value := parts.of_network(name)) is not None:
            raise ValueError(
                f"{parts.network_folder} needs a further condition ({name}: {shown(value)}): supported are {supported}"
            )
