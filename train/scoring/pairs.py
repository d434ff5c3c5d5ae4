"""How an image made from a photograph scores against its photograph and the photograph's VAE reconstruction."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from train.scoring.intervals import count_groups, share_interval
from train.scoring.scores import Reading

ROUNDTRIP_PREFIX = "vae-roundtrip"  # of the control that was encoded and decoded without diffusion


def compare_pairs(reading: Reading) -> dict[str, dict[str, Any]]:
    """How often an image made from a photograph has a lower mean LaRE than the photograph or its VAE reconstruction.

    Args:
        reading: Of minus the mean LaRE.

    Returns:
        Image source or control → lower_than_photo (share), n (images whose photograph was scored) of n_groups,
        lower_than_roundtrip (share of the images whose photograph has a scored VAE reconstruction, see
        `choose_roundtrip`; null without any, and for reconstructions themselves). Each share has its interval by the
        images' groups, "…_interval", null without. A copy, byte for byte its photograph, says nothing: n_copies counts
        them, where the table tells `sha256`, and they are in no share and in no other number.
    """
    table, mean_lare = reading.table, -reading.scores.mean(axis=0)
    groups, labels = table["group"].to_numpy(), table["label"]
    sources = table["image_source"].unique().to_pylist()
    roundtrips = list_roundtrips(table)
    result = {}
    for name in sorted(sources):
        images, photos = match_pairs(table, name)
        if not len(images):
            continue
        is_copy = find_copies(table, images, photos)
        copies, images, photos = images[is_copy], images[~is_copy], photos[~is_copy]
        generated = pc.any(pc.equal(labels.filter(pc.equal(table["image_source"], name)), 1)).as_py()
        roundtrip = None if name in roundtrips else choose_roundtrip(name, roundtrips, needs_own=bool(generated))
        ours, theirs = match_pairs(table, name, roundtrip) if roundtrip else (images[:0], images[:0])
        is_other = ~np.isin(ours, copies)
        ours, theirs = ours[is_other], theirs[is_other]
        result[name] = {
            **_describe_share("lower_than_photo", mean_lare[images] < mean_lare[photos], groups[images]),
            **_describe_share("lower_than_roundtrip", mean_lare[ours] < mean_lare[theirs], groups[ours]),
            "n": len(images),
            "n_copies": len(copies),
            "n_groups": count_groups(groups[images]),
        }
    return result


def find_copies(table: pa.Table, images: NDArray[np.intp], photos: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which images are byte for byte the photographs that they were made from, (pairs,).

    Args:
        table: Of the scored samples; without `sha256` none is known to be a copy.
        images: Positions in it, (pairs,).
        photos: Of their photographs, (pairs,).
    """
    if "sha256" not in table.column_names:
        return np.zeros(len(images), dtype=bool)
    hashes = table["sha256"].to_numpy()
    same: NDArray[np.bool_] = np.asarray(hashes[images] == hashes[photos], dtype=bool)
    return same


def list_roundtrips(table: pa.Table) -> list[str]:
    """The image sources that are VAE reconstructions: real images or controls whose name says so.

    Args:
        table: `label` and `image_source` of the scored samples.
    """
    others = table.filter(pc.not_equal(pc.fill_null(table["label"], -1), 1))["image_source"].unique().to_pylist()
    return sorted(source for source in others if source.startswith(ROUNDTRIP_PREFIX))


def match_pairs(table: pa.Table, source: str, partner: str | None = None) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Images of a source, each with another image made from its photograph.

    Args:
        table: `key`, `image_source` and `derived_from` of the scored samples.
        source: Image source that is derived from photographs.
        partner: Another one; None: the photograph itself.

    Returns:
        Positions in the table, (pairs,), of the source's images that have a partner, and of the partners.
    """
    columns = table.select(["key", "image_source", "derived_from"]).to_pydict()
    rows = list(zip(columns["key"], columns["image_source"], columns["derived_from"], strict=True))
    if partner is None:
        partners = {key: i for i, (key, _, _) in enumerate(rows)}
    else:
        partners = {photo: i for i, (_, name, photo) in enumerate(rows) if name == partner and photo is not None}
    pairs = [(i, partners[photo]) for i, (_, name, photo) in enumerate(rows) if name == source and photo in partners]
    positions = np.array(pairs, dtype=np.intp).reshape(-1, 2)
    return positions[:, 0], positions[:, 1]


def choose_roundtrip(source: str, roundtrips: Sequence[str], *, needs_own: bool) -> str | None:
    """The VAE reconstruction that a source is compared with: by the model that made it.

    `vae-roundtrip-b` belongs to `toy-b-img2img`: what follows the prefix is a part of the source's name between
    hyphens. `vae-roundtrip`, which names no model, belongs to all.

    Args:
        source: Image source.
        roundtrips: The reconstructions that there are.
        needs_own: Whether another model's reconstruction will not do, as for generated images: a model without a
            decoder has none. Controls, which no model made, take the first by name.

    Returns:
        None without such a reconstruction.
    """
    own = [r for r in roundtrips if r.removeprefix(f"{ROUNDTRIP_PREFIX}-") in source.split("-")]
    of_all = [r for r in roundtrips if r == ROUNDTRIP_PREFIX]
    return min(own or of_all or ([] if needs_own else roundtrips), default=None)


def _describe_share(name: str, statements: NDArray[np.bool_], groups: NDArray[np.object_]) -> dict[str, Any]:
    if not len(statements):
        return {name: None, f"{name}_interval": None}
    found = share_interval(statements, groups)
    return {name: found.value, f"{name}_interval": found.interval and list(found.interval)}
