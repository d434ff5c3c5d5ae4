"""What one file may cost: scans of JPEGs, pixels, and the memory of several large pictures at once."""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import BaseContext
from pathlib import Path

import pytest
from PIL import Image

from cache_schema import ImageRejected, Status, decode_image, has_more_scans, most_scans, share_turns, turns
from cache_schema.images import decode_file
from tests.bad_images import CASES, encode, jpeg, noise, png, quadrants, raw_png


def with_more_scans(data: bytes, number: int) -> bytes:
    """A progressive JPEG with its last scan again and again: each is a whole pass over the coefficients."""
    at = data.rindex(b"\xff\xda")
    return data[:-2] + number * data[at:-2] + data[-2:]


def flat(width: int, height: int, **options: object) -> bytes:
    return jpeg(Image.new("L", (width, height), 128), **{"quality": 50, **options})


@pytest.mark.parametrize("number", [0, 30])
def test_usual_numbers_of_scans_pass_at_the_largest_size(number: int) -> None:
    data = with_more_scans(flat(10_000, 10_000, progressive=True), number)
    assert not has_more_scans(data, most_scans(10_000 * 10_000))


@pytest.mark.timeout(30)
def test_a_file_of_many_scans_is_rejected_in_no_time() -> None:
    data = with_more_scans(flat(9_000, 9_000, progressive=True), 2000)
    start = time.perf_counter()
    with pytest.raises(ImageRejected, match="JPEG of 9000 x 9000 pixels in more than 49 scans") as caught:
        decode_image(data)
    assert caught.value.status is Status.TOO_LARGE and time.perf_counter() - start < 5


def test_a_small_picture_may_have_many_scans() -> None:
    data = with_more_scans(jpeg(noise(), progressive=True), 1000)
    assert decode_image(data).size == (64, 64)


def test_scans_of_previews_and_of_pictures_behind_the_first_do_not_count() -> None:
    whole = flat(64, 64, progressive=True)
    preview = b"\xff\xe2" + (60_002).to_bytes(2, "big") + (b"\xff\xda" * 30_000)
    for data in (whole[:2] + preview + whole[2:], whole + with_more_scans(whole, 100)):
        assert not has_more_scans(data, 20)
    assert has_more_scans(with_more_scans(whole, 100), 20)


def test_colours_in_scans_of_their_own_count_too() -> None:
    """A sequential file whose scans hold one colour each has no end of them either."""
    grey = flat(64, 64)
    assert not has_more_scans(with_more_scans(grey, 100), 20)  # one scan holds all: nothing is read behind it
    at = grey.index(b"\xff\xc0")
    three = bytearray(grey[: at + 2] + (17).to_bytes(2, "big") + grey[at + 4 : at + 9] + b"\3")
    three += b"\1\x11\0\2\x11\0\3\x11\0" + grey[at + 13 :]
    assert has_more_scans(with_more_scans(bytes(three), 100), 20)


def test_no_known_file_has_many_scans() -> None:
    assert [name for name, case in CASES.items() if has_more_scans(case.data(), 20)] == []


@pytest.mark.timeout(20)
@pytest.mark.parametrize("part", [b"\xff\xda\0\0", b"\xff\xda", b"\xff\xd8\xff\xda\0\2", b"\xff\xfe\0\2\xff\xda"])
def test_scans_of_any_bytes_are_counted_soon(part: bytes) -> None:
    assert has_more_scans(b"\xff\xd8" + part * 500_000, 20) in (True, False)


def test_fewer_pixels_may_be_asked_for() -> None:
    assert decode_file(png(), max_pixels=48 * 32).image.size == (48, 32)
    with pytest.raises(ImageRejected, match="48 x 32 pixels, at most 1535") as caught:
        decode_file(png(), max_pixels=48 * 32 - 1)
    assert caught.value.status is Status.TOO_LARGE


# Turns


@pytest.fixture
def low(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of 48 × 32 pixels are large."""
    monkeypatch.setattr(turns, "LARGE_BYTES", 48 * 32 * 8 - 1)


def decode_and_tell(name: str, data: bytes, folder: Path) -> None:
    """Say in a folder when a picture is decoded; runs in a process of its own."""
    (folder / f"{name}-began").touch()
    turns.LARGE_BYTES = 48 * 32 * 8 - 1
    decode_image(data)
    (folder / name).touch()


def wait_for(*paths: Path) -> None:
    end = time.monotonic() + 60
    while not all(path.exists() for path in paths):
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(params=["fork", "spawn", "forkserver"])
def context(request: pytest.FixtureRequest) -> Iterator[BaseContext]:
    share_turns()  # before a fork server starts, as the callers do
    yield multiprocessing.get_context(request.param)


@pytest.mark.usefixtures("low")
def test_processes_decode_one_large_picture_at_a_time(context: BaseContext, tmp_path: Path) -> None:
    small = png(quadrants().resize((4, 4)))
    jobs = [("large", png()), ("small", small)]
    workers = [context.Process(target=decode_and_tell, args=(*job, tmp_path)) for job in jobs]
    with turns.decoding_turn(turns.LARGE_BYTES + 1):
        for worker in workers:
            worker.start()
        wait_for(tmp_path / "large-began", tmp_path / "small")
        time.sleep(0.3)
        assert not (tmp_path / "large").exists()
    wait_for(tmp_path / "large")
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0


@pytest.mark.usefixtures("low")
def test_a_turn_ends_with_the_process_that_had_it(tmp_path: Path) -> None:
    share_turns()
    context = multiprocessing.get_context("fork")
    holding = context.Event()

    def hold() -> None:
        with turns.decoding_turn(turns.LARGE_BYTES + 1):
            holding.set()
            time.sleep(600)

    holder = context.Process(target=hold)
    holder.start()
    assert holding.wait(60)
    holder.kill()
    holder.join()
    assert decode_image(png()).size == (48, 32)


@pytest.mark.usefixtures("low")
def test_threads_take_turns_and_small_pictures_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LARE_DECODING_TURNS", raising=False)
    with ThreadPoolExecutor(2) as pool:
        with turns.decoding_turn(turns.LARGE_BYTES + 1):
            large, small = pool.submit(decode_image, png()), pool.submit(decode_image, png(noise().resize((8, 8))))
            assert small.result(60).size == (8, 8)
            time.sleep(0.1)
            assert not large.done()
        assert large.result(60).size == (48, 32)


@pytest.mark.usefixtures("low")
def test_without_the_file_pictures_are_decoded_all_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LARE_DECODING_TURNS", str(tmp_path / "gone"))
    assert decode_image(png()).size == (48, 32)


@pytest.mark.parametrize("worker", [False, True])
def test_the_file_is_removed_by_the_process_that_made_it(tmp_path: Path, worker: bool) -> None:
    code = (
        "import multiprocessing, os, sys\n"
        "from cache_schema import share_turns\n"
        "def work():\n"
        "    share_turns(); share_turns()\n"
        "    if os.fork() == 0: sys.exit()\n"
        "    os.wait()\n"
        "    assert len([name for name in os.listdir(os.environ['TMPDIR']) if 'turns' in name]) == 1\n"
        "if sys.argv[1:]:\n"
        "    worker = multiprocessing.get_context('fork').Process(target=work)\n"
        "    worker.start(); worker.join(); sys.exit(worker.exitcode)\n"
        "work()\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "LARE_DECODING_TURNS"}
    subprocess.run(
        [sys.executable, "-c", code, *["worker"] * worker], check=True, env={**environment, "TMPDIR": str(tmp_path)}
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "is_large"),
    [
        (lambda: jpeg(Image.new("RGB", (7_000, 7_000))), False),
        (lambda: jpeg(Image.new("RGB", (7_200, 7_200))), True),
        (lambda: raw_png(7_000, 7_000, bytes(21_000), depth=8, color=2), False),
        (lambda: raw_png(6_000, 6_000, bytes(24_000), depth=8, color=6), True),  # white is put behind
        (lambda: encode(Image.new("RGB", (6_000, 6_000)), "WEBP", quality=1, method=0), True),  # copies of its own
    ],
)
def test_cameras_pictures_do_not_wait(make: object, is_large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    held = []
    flock = turns.fcntl.flock
    monkeypatch.setattr("cache_schema.turns.fcntl.flock", lambda *given: held.append(given) or flock(*given))
    share_turns()
    decode_image(make())  # type: ignore[operator]
    assert bool(held) is is_large
