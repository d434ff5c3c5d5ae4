"""How an image made from a photograph scores against that photograph, and against its mere round trip."""

from typing import Any

import numpy as np

from train.scores import Reading

ROUNDTRIP_PREFIX = "vae-roundtrip"  # of the control that was encoded and decoded without diffusion


def compare_pairs(reading: Reading) -> dict[str, dict[str, Any]]:
    """How often an image derived from a photograph has a lower mean LaRE than that photograph, and than its round trip.

    Args:
        reading: Of minus the mean LaRE.

    Returns:
        Image source or control → lower_than_photo (share), n (images whose photograph was scored), lower_than_roundtrip
        (share of those whose photograph has a scored round trip; null without any, and for round trips themselves).
        With several round trips the first by name counts.
    """
    columns = reading.table.select(["key", "image_source", "derived_from"]).to_pydict()
    mean_lare = dict(zip(columns["key"], -reading.scores.mean(axis=0), strict=True))
    derived = [
        (source, photo, mean_lare[key])
        for key, source, photo in zip(columns["key"], columns["image_source"], columns["derived_from"], strict=True)
        if photo in mean_lare
    ]
    roundtrips = sorted({source for source, _, _ in derived if source.startswith(ROUNDTRIP_PREFIX)})
    roundtrip = {photo: value for source, photo, value in derived if source in roundtrips[:1]}
    result = {}
    for name in sorted({source for source, _, _ in derived}):
        own = [(photo, value) for source, photo, value in derived if source == name]
        others = [] if name in roundtrips else [(p, value) for p, value in own if p in roundtrip]
        result[name] = {
            "lower_than_photo": _share(value < mean_lare[photo] for photo, value in own),
            "lower_than_roundtrip": _share(value < roundtrip[photo] for photo, value in others),
            "n": len(own),
        }
    return result


def _share(statements: Any) -> float | None:
    values = list(statements)
    return float(np.mean(values)) if values else None
