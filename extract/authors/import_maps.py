"""A cache from maps that the LaRE² authors' scripts made: `python -m extract import-maps --data … --maps … …`.

How such maps were made is not recorded with them. The fingerprint says "unknown" for every setting that the user
does not give, and holds a hash over all imported files.
"""

import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cache_schema import (
    FULL_MANTISSA_BITS,
    RULES,
    Cache,
    CacheError,
    Dataset,
    DatasetError,
    Fingerprint,
    ImageRejected,
    ShardData,
    ShardStale,
    Status,
    base_names,
    check_choice,
    check_least,
    create_cache,
    formats_identity,
    read_image_bytes,
    store_name,
)
from extract.authors.map_files import check_same_picture, find_unusable, load_map, map_name, read_annotation
from extract.config import StoredDtype
from extract.rejected import warn_rejected

logger = logging.getLogger(__name__)

RECIPE = 1
"""Raised by any change that moves an imported value by more than rounding."""
UNKNOWN = "unknown"
_PLACES = ("data", "cache", "maps", "annotation")
PIXELS_PER_CELL = 8
"""Latent stride of Stable Diffusion's autoencoders."""
_NEVER_KNOWN = (
    "unet_sha256",
    "unet_config_sha256",
    "vae_sha256",
    "vae_config_sha256",
    "text_encoder_sha256",
    "text_encoder_config_sha256",
    "tokenizer_sha256",
    "alphas_cumprod_sha256",
    "noise_seed",
    "noise_rule",
    "noise_probe_sha256",
    "latent_rule",
)


@dataclass(frozen=True, kw_only=True)
class ImportConfig:
    """A folder of maps that the authors' scripts made, taken into a cache that training reads.

    What is left unknown about the maps does not keep them from being used; it only cannot be compared later.

    Raises:
        ValueError: If a setting is outside its range.
    """

    data: str
    """Folder with dataset.json: the images, packed for example from the same annotation."""
    maps: str
    """Flat folder of `.pt` files; the map of an image is called by its base name up to the first dot."""
    annotation: str
    """The list of images or maps with their labels, `ann.txt`; of several runs, their lists one after the other."""
    cache: str
    """Cache folder for this dataset and these maps; made if absent."""
    model: str = UNKNOWN
    """Name of the diffusion model that made the maps, as far as known."""
    timestep: int | None = None
    """Scheduler index of the noised latents, as far as known."""
    ensemble_size: int | None = None
    """Number of noise draws that were averaged, as far as known."""
    image_size: int | None = None
    """Side in px of the square that every image was squashed to; 8 times the side of the maps if not given."""
    prompt: str = UNKNOWN
    """The text or its template, as far as known."""
    prediction_type: str = UNKNOWN
    """`epsilon` or `v_prediction`, as far as known."""
    compute_dtype: str = UNKNOWN
    """Number format of the models, as far as known."""
    stored_dtype: StoredDtype = "float16"
    """Number format in the cache."""
    overwrite: bool = False
    """Import again where a store exists; each store is replaced by one rename."""
    max_reject_fraction: float = 0.05
    """Share of a tar's images that may be rejected; above it the command exits 3, with the store written."""

    def __post_init__(self) -> None:
        """Check the settings."""
        for name, least in (("timestep", 0), ("ensemble_size", 1), ("image_size", 1)):
            check_least(name, getattr(self, name), least)
        check_choice("stored_dtype", self.stored_dtype, get_args(StoredDtype))
        if not 0 <= self.max_reject_fraction <= 1:
            raise ValueError(f"max_reject_fraction is {self.max_reject_fraction}: expected 0 … 1")
        if not Path(self.maps).is_dir():
            raise ValueError(f"maps is {self.maps}: no such folder")


@dataclass
class MapImport:
    """An import whose settings, dataset and annotation fit; no map has been read yet."""

    config: ImportConfig
    dataset: Dataset
    unusable: dict[str, str]
    """Sample key → why it can have no map."""
    sha256: dict[str, bytes] = field(default_factory=dict)
    """Sample key → hash of its map's file, once they were hashed."""

    @classmethod
    def prepare(cls, config: ImportConfig) -> "MapImport":
        """Check dataset and annotation against each other.

        Raises:
            ValueError: If the annotation cannot be read, or a label in it is not the index's.
            CacheError: If the dataset cannot be read.
        """
        dataset = Dataset.open(config.data)
        annotation = read_annotation(Path(config.annotation))
        rows = dataset.table(["key", "source_path", "label"]).to_pylist()
        return cls(config, dataset, find_unusable(rows, annotation))

    def run(self) -> int:
        """Hash all maps, then write a store for each tar.

        Returns:
            Number of tars with more rejected images than allowed. Their stores are written all the same.

        Raises:
            CacheError: If no map can be used, `image_size` does not fit them, the cache holds other maps, a file
                changed meanwhile, or a tar is not what the index says. Stores that were published stay.
        """
        shape = self._hash_files()
        image_size = self._image_size(shape)
        logger.info("%d of %d images have a file; maps of shape %s", len(self.sha256), self._num_rows, shape)
        cache = create_cache(self.config.cache, self.dataset.dataset_id, self._fingerprint(image_size))
        num_above = 0
        with tqdm(total=self._num_rows, desc="importing", unit="map", disable=None) as bar:
            for n in range(len(self.dataset.tars)):
                if not self.config.overwrite and self._is_done(cache, n):
                    bar.update(self.dataset.tars[n].num_rows)
                    continue
                shard = self._import_tar(n, shape, bar)
                cache.write(store_name(self.dataset.tars[n].name), shard)
                rejected = shard.num_rejected
                logger.info("%s: %d maps, %d images rejected", self.dataset.tars[n].name, len(shard.keys), rejected)
                num_above += warn_rejected(shard, self.config.max_reject_fraction)
        return num_above

    @property
    def _num_rows(self) -> int:
        return sum(tar.num_rows for tar in self.dataset.tars)

    def _path(self, row: Mapping[str, Any]) -> Path:
        return Path(self.config.maps) / map_name(row["source_path"])

    def _hash_files(self) -> tuple[int, ...]:
        """Hash every map that there is, and return the shape of the first one that can be used."""
        rows = self.dataset.table(["key", "source_path"]).to_pylist()
        shape: tuple[int, ...] = ()
        last_failure = "there is no file"
        for row in tqdm(rows, desc="hashing", unit="map", disable=None):
            key, path = row["key"], self._path(row)
            if key in self.unusable:
                continue
            if not path.is_file():
                self.unusable[key] = f"there is no {path.name} in the folder of maps"
                continue
            data = path.read_bytes()
            self.sha256[key] = hashlib.sha256(data).digest()
            if not shape:
                try:
                    shape = load_map(data).shape
                except ImageRejected as error:
                    last_failure = f"{path.name}: {error.reason}"
        if not shape:
            raise CacheError(
                f"{self.config.maps} holds no map that can be used for {self.config.data}; {len(self.sha256)} files "
                f"have the name of an image. The last one that failed: {last_failure}"
            )
        return shape

    def _image_size(self, shape: tuple[int, ...]) -> int:
        size = self.config.image_size or PIXELS_PER_CELL * shape[-1]
        if size % shape[-1]:
            raise CacheError(f"image_size is {size}: maps of {shape[-1]} cells do not divide it into whole pixels")
        return size

    def _fingerprint(self, image_size: int) -> Fingerprint:
        config, known = self.config, {}
        for name in ("timestep", "ensemble_size"):
            value = getattr(config, name)
            known[name] = UNKNOWN if value is None else value
        digest = hashlib.sha256()
        for key in sorted(self.sha256):
            digest.update(key.encode() + b"\0" + self.sha256[key])
        return Fingerprint(
            {
                "recipe": RECIPE,
                "method": "lare-imported",
                "maps_sha256": digest.hexdigest(),
                "model": config.model,
                **dict.fromkeys(_NEVER_KNOWN, UNKNOWN),
                **known,
                "prediction_type": config.prediction_type,
                "image_size": image_size,
                **formats_identity(self.dataset),
                **RULES,  # rows whose picture the authors' rules would have made another one are rejected
                "prompt_policy": config.prompt,
                "compute_dtype": config.compute_dtype,
                "stored_dtype": config.stored_dtype,
                "mantissa_bits": FULL_MANTISSA_BITS[config.stored_dtype],
            }
        )

    def _is_done(self, cache: Cache, n: int) -> bool:
        entry = self.dataset.tars[n]
        if not cache.has(store_name(entry.name)):
            return False
        if cache.attributes(store_name(entry.name)).get("rows_sha256") != entry.rows_sha256:
            raise ShardStale(
                f"{entry.name} has changed since its maps were imported: import again with --overwrite true"
            )
        return True

    def _import_tar(self, n: int, shape: tuple[int, ...], bar: Any) -> ShardData:
        start, entry, table = time.perf_counter(), self.dataset.tars[n], self.dataset.rows(n)
        lare = np.full((entry.num_rows, *shape), np.nan, np.float32)
        status = np.full(entry.num_rows, Status.OK, np.uint8)
        reasons = {}
        for i, row in enumerate(table.to_pylist()):
            try:
                lare[i] = self._import_row(n, row, shape)
            except ImageRejected as error:
                status[i], reasons[str(i)] = error.status, error.reason
            bar.update(1)
        return ShardData(
            keys=table["key"].to_pylist(),
            lare=lare,
            status=status,
            image_sha256=np.frombuffer(bytes.fromhex("".join(table["sha256"].to_pylist())), np.uint8).reshape(-1, 32),
            attributes={
                "tar": entry.name,
                "rows_sha256": entry.rows_sha256,
                "reasons": reasons,
                "seconds": round(time.perf_counter() - start, 3),
                "provenance": {"settings": base_names(asdict(self.config), _PLACES)},
            },
        )

    def _import_row(self, n: int, row: Mapping[str, Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The map of one image, or ImageRejected."""
        key, path = row["key"], self._path(row)
        if key in self.unusable:
            raise ImageRejected(Status.UNREADABLE, self.unusable[key])
        data = path.read_bytes()
        if hashlib.sha256(data).digest() != self.sha256[key]:
            raise CacheError(f"{path} was changed during the import. Import again once the folder no longer changes.")
        lare = load_map(data)
        if lare.shape != shape:
            raise ImageRejected(Status.UNREADABLE, f"the map has shape {lare.shape}, the first one has {shape}")
        with np.errstate(over="ignore"):
            if not np.isfinite(lare.astype(self.config.stored_dtype)).all():
                raise ImageRejected(Status.NON_FINITE, f"the map does not fit {self.config.stored_dtype}")
        tar = self.dataset.tar_path(n)
        image = read_image_bytes(tar, row["offset"], row["size"])
        if hashlib.sha256(image).hexdigest() != row["sha256"]:
            raise DatasetError(
                f"{tar}, row {row['row']} ({key}): the image's sha256 is not the index's. Restore the tar, or pack the "
                "dataset again."
            )
        check_same_picture(image)
        return lare
