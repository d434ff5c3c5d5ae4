import hashlib

import pytest

from cache_schema import Fingerprint
from cache_schema.fingerprint import FIELDS


def test_hash_is_sha256_of_sorted_compact_json() -> None:
    expected = hashlib.sha256(b'{"method":"lare","timestep":200}').hexdigest()
    assert Fingerprint({"timestep": 200, "method": "lare"}).hexdigest == expected


def test_difference_names_each_field_with_both_values() -> None:
    mine = Fingerprint({"timestep": 200, "compute_dtype": "fp32", "recipe": 1})
    theirs = Fingerprint({"timestep": 261, "recipe": 1, "image_size": 64})
    assert mine.difference(theirs) == [
        "compute_dtype: fp32 ≠ (absent)",
        "image_size: (absent) ≠ 64",
        "timestep: 200 ≠ 261",
    ]


@pytest.mark.parametrize("value", [0.5, True, None])
def test_values_without_a_canonical_text_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="fingerprint field x is"):
        Fingerprint({"x": value})  # type: ignore[dict-item]


def test_every_field_is_described() -> None:
    assert all(FIELDS.values())
