"""The maps that a cache's fingerprint describes, of pictures that lie in no tar."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache_schema import Fingerprint, FingerprintMismatch, round_mantissa, without_formats
from extract.config import ExtractConfig
from extract.models.stable_diffusion import StableDiffusion
from extract.run.fingerprint import ModelSource, compute_fingerprint, config_of
from extract.run.images import Batch, Row, RowSettings, add_noise, canvas_pixels
from extract.run.maps import MapMaker, Settled
from extract.run.methods import Method, make_method
from extract.run.model import Model


@dataclass(frozen=True)
class Probe:
    """A diffusion model and all settings of one cache. The model's weights are not loaded yet."""

    config: ExtractConfig
    model: Model[ExtractConfig]
    method: Method
    fields: Mapping[str, int | str]
    """Of the fingerprint, as computed here."""

    @classmethod
    def prepare(
        cls,
        fields: Mapping[str, int | str],
        source: ModelSource,
        known_hashes: Callable[[Sequence[Path]], str] | None = None,
        **changes: Any,
    ) -> "Probe":
        """Read the settings from a fingerprint's fields, and check the model against them.

        Args:
            fields: Of the cache whose maps are wanted.
            source: Where its diffusion model is.
            known_hashes: As of `ModelFolder.hashes`.
            **changes: As of `config_of`. Another compute_dtype moves the maps a little.

        Raises:
            ValueError: If the model cannot be found or used, or no settings of this code make such maps.
            FingerprintMismatch: If the model or this code makes other maps; the message has the fields that differ.
        """
        family = str(fields.get("model_family", StableDiffusion.layout.family))
        probe = cls.from_config(config_of(fields, source, **changes), known_hashes, family)
        wanted = Fingerprint(without_formats(fields) | {"compute_dtype": probe.config.compute_dtype})
        if lines := wanted.difference(Fingerprint(probe.fields)):
            raise FingerprintMismatch(
                f"{source.model} makes other maps than those that the detector was trained on (trained ≠ this model): "
                f"{'; '.join(lines)}. Name the diffusion model of its training with --model."
            )
        return probe

    @classmethod
    def from_config(
        cls,
        config: ExtractConfig,
        known_hashes: Callable[[Sequence[Path]], str] | None = None,
        family: str | None = None,
    ) -> "Probe":
        """The probe of an extraction's settings, for a detector that is yet to be made.

        Args:
            config: Its dataset and cache play no role.
            known_hashes: As of `ModelFolder.hashes`.
            family: That its model must be of; None: any.

        Raises:
            ValueError: If the model cannot be found or used, or the settings make several caches.
            FingerprintMismatch: If its model is of another family.
        """
        if len(config.variants) > 1:
            raise ValueError("timesteps and ensemble_sizes make several maps of a picture: expected one of each")
        model = Model.prepare(config, None, config.needs, family=family)
        config = model.config
        (variant,) = config.variants
        method = make_method(config, model.folder)
        fields = compute_fingerprint(config, variant, model, method, model.folder.hashes(known_hashes)).fields
        return cls(config, model, method, fields)

    @property
    def row_settings(self) -> RowSettings:
        """What a picture's tensors depend on."""
        config = self.config
        return RowSettings(
            config.image_size, self.method.latent_shape, config.variants[0].ensemble_size, config.noise_seed
        )

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """(channels, h, w) of a map."""
        return self.method.map_shape

    def make_row(self, key: str, canvas: NDArray[np.uint8], sha256: bytes) -> Row:
        """A picture's tensors.

        Args:
            key: What its noise follows from.
            canvas: `cache_schema.resize_canvas` of it, (S, S, 3), uint8.
            sha256: Of its bytes, 32 of them.
        """
        return add_noise(key, canvas_pixels(canvas), sha256, self.row_settings)

    def shares_model(self, other: "Probe") -> bool:
        """Whether both use the same parts of the same model in the same number format."""

        def identity(probe: Probe) -> tuple[object, ...]:
            config, model = probe.config, probe.model
            formats = config.compute_dtype, config.text_dtype
            return model.folder, formats, config.guidance, model.needs.decoder, model.device

        return identity(self) == identity(other)

    def load(self, other: "LoadedProbe | None" = None) -> "LoadedProbe":
        """Load the model's weights, or take those of another probe that shares the model."""
        model = other.maker.model if other else self.model.load([self.model.policy.text_without_class])
        return LoadedProbe(self, MapMaker(self.config, self.method, model))


@dataclass(frozen=True)
class LoadedProbe:
    """A probe that makes maps."""

    probe: Probe
    maker: MapMaker

    @property
    def pin_memory(self) -> bool:
        """Whether batches should lie in page-locked memory."""
        return self.maker.model.device.type == "cuda"

    def compute(self, batches: Iterator[Batch]) -> Iterator[tuple[Batch, Settled]]:
        """Maps of each batch as a cache would hold them, one batch later than they were started.

        Args:
            batches: Of rows by `Probe.make_row`.

        Yields:
            The batch, and what became of its pictures; maps (len(keys), c, h, w), float32, rounded as they are stored.
        """
        config = self.probe.config
        text = self.probe.model.policy.text_without_class
        for batch, (settled,) in self.maker.compute(batches, lambda b: [text] * len(b.keys), config.variants):
            stored = round_mantissa(settled.maps, config.stored_dtype, config.stored_mantissa_bits)
            yield batch, settled._replace(maps=stored.astype(np.float32))
