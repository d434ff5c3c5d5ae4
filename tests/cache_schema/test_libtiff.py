"""What libtiff says of damage: heard where we decode, and left alone in the threads of others."""

import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from cache_schema import ImageRejected, decode_image
from cache_schema.libtiff import libtiff_damage
from tests.bad_images import damaged_fax_tiff, encode, fax_tiff, noise
from tests.cache_schema.test_bad_images import damaged_variants


def load_by_pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_no_file_makes_a_decoder_print(capfd: pytest.CaptureFixture[str]) -> None:
    for data in [damaged_fax_tiff("group4")(), *damaged_variants(300)]:
        try:
            decode_image(data)
        except ImageRejected:
            continue
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "compression", ["group3", "group4", "tiff_ccitt", "tiff_lzw", "packbits", "tiff_adobe_deflate"]
)
def test_whole_files_have_pillow_s_pixels(compression: str) -> None:
    data = encode(noise().convert("1"), "TIFF", compression=compression)
    assert np.array_equal(np.asarray(decode_image(data)), load_by_pillow(data))


def test_what_others_decode_meanwhile_is_printed_as_ever_and_no_damage_of_ours(
    capfd: pytest.CaptureFixture[str],
) -> None:
    data = damaged_fax_tiff("group4")()
    with libtiff_damage() as damage:
        thread = threading.Thread(target=load_by_pillow, args=(data,))
        thread.start()
        thread.join()
        assert damage == []
        printed = capfd.readouterr().err
        load_by_pillow(data)
    assert "Fax4Decode: Bad code word" in printed
    assert len(damage) == 1 and damage[0] in printed and capfd.readouterr().err == ""


def test_each_thread_hears_of_its_own_file() -> None:
    files = [fax_tiff("group3"), damaged_fax_tiff("group3")(), damaged_fax_tiff("group4")()] * 20

    def outcome(data: bytes) -> str:
        try:
            decode_image(data)
        except ImageRejected as error:
            return error.reason.partition("(")[2].partition(":")[0]
        return "picture"

    with ThreadPoolExecutor(min(4, (os.cpu_count() or 1) + 2)) as pool:
        assert list(pool.map(outcome, files)) == ["picture", "Fax3Decode1D", "Fax4Decode"] * 20
