"""The page in a real Chromium: pictures in by every way, verdicts out, by mouse, keyboard and screen reader."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from detect import Answer
from tests.bad_images import encode, noise
from tests.detect.server.browser import Visit, find_chromium, open_browser, visit
from tests.detect.server.conftest import Running, running
from tests.detect.server.fake import FakeDetector, picture, picture_called
from tests.detect.server.waiting import wait_until

CHROMIUM = find_chromium()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install Debian's package chromium, or set CHROMIUM"),
]
GENERATED, REAL, UNSURE = map(picture_called, ("generated", "real", "unsure"))
HOSTILE = "<img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser(str(CHROMIUM)) as opened:
        yield opened


@pytest.fixture(scope="module")
def service() -> Iterator[Running]:
    with running(FakeDetector()) as started:
        yield started


Open = Callable[..., AbstractContextManager[Visit]]


@pytest.fixture
def open_page(browser: Browser, service: Running) -> Open:
    """Opens the page: `open_page(viewport=…)`, or of another service."""

    def open_it(of: Running = service, path: str = "/", **options: Any) -> AbstractContextManager[Visit]:
        return visit(browser, f"http://127.0.0.1:{of.port}{path}", **options)

    return open_it


def test_a_dropped_picture_has_its_verdict_in_words(open_page: Open, service: Running) -> None:
    with open_page() as page:
        page.drop({"cat.png": GENERATED})
        card = page.cards.first
        expect(card.locator(".verdict")).to_have_text("Generated")
        expect(card.locator(".meaning")).to_have_text("It scores like the generated images that the detector knows.")
        expect(card.locator(".name")).to_have_text("cat.png")
        expect(card.locator(".chance-words")).to_contain_text("Probability of “generated”")
        expect(card.locator(".photographs")).to_contain_text("photographs like the validation ones")
        expect(card.locator(".rule")).to_contain_text("false-alarm rate 1")
        expect(card.locator(".doubts li")).to_have_text("The picture is small.")
        expect(card.locator(".file-facts")).to_contain_text("PNG, 24 × 24 px. Judged in")
        expect(card.locator(".fader")).to_contain_text("Error map, not proof")
        expect(page.page.locator("#announcer")).to_have_text("cat.png: generated.")
        expect(page.page.locator("#progress")).to_have_text("1 picture judged")
        assert [url for url in page.requests if url.endswith("/v1/detect?maps=true")] != []
        band = page.page.evaluate("() => ['left', 'width'].map(n => document.querySelector('.band').style[n])")
        assert [float(text.rstrip("%")) for text in band] == pytest.approx([35, 35])


def test_the_map_lies_over_the_picture_and_fades(open_page: Open) -> None:
    with open_page() as page:
        page.drop({"a.png": GENERATED})
        slider = page.page.get_by_label("Error map, not proof")
        expect(slider).to_be_visible()
        for selector, width in ((".picture", 24), (".map", 8)):  # shown before their images are there
            expect(page.page.locator(selector)).to_have_js_property("naturalWidth", width)
        boxes = [page.page.locator(selector).bounding_box() for selector in (".picture", ".map")]
        assert boxes[0] == boxes[1] and boxes[0] is not None and boxes[0]["width"] > 100
        seen = []
        for value in ("0", "35", "100"):
            slider.fill(value)
            seen.append(float(page.style(".map", "opacity")))
        assert seen == [0, 0.35, 1]
        assert slider.get_attribute("aria-valuetext") == "100 % visible"


def test_several_pictures_each_have_a_card_in_order(open_page: Open) -> None:
    with open_page() as page:
        page.drop({"a.png": GENERATED, "b.png": REAL, "c.png": UNSURE})
        expect(page.page.locator("#progress")).to_have_text("3 pictures judged")
        assert page.page.locator(".name").all_text_contents() == ["a.png", "b.png", "c.png"]
        assert page.page.locator(".verdict").all_text_contents() == ["Generated", "Real", "Unsure"]
        assert (
            len(set(page.page.locator(".verdict path").evaluate_all("all => all.map(e => e.getAttribute('d'))"))) == 3
        )
        page.drop({"d.png": picture(5)})
        expect(page.page.locator("#progress")).to_have_text("4 pictures judged")
        assert page.page.locator(".name").first.text_content() == "d.png"  # the newest is on top
        page.page.get_by_role("button", name="Remove all").click()
        expect(page.page.locator("#all")).to_be_hidden()


def test_a_bad_file_is_told_in_words_and_its_name_is_only_text(open_page: Open) -> None:
    with open_page() as page:
        page.drop({HOSTILE: b"no picture", "good.png": REAL})
        expect(page.page.locator("#progress")).to_have_text("2 pictures judged")
        bad, good = page.cards.first, page.cards.last
        expect(bad.locator("h2:visible")).to_have_text("No verdict")
        expect(bad.locator(".error p")).to_contain_text("Cannot identify it as one of JPEG")
        expect(bad.locator(".name")).to_have_text(HOSTILE)
        expect(bad.locator(".view")).to_be_hidden()
        expect(good.locator(".verdict")).to_have_text("Real")
        assert page.page.locator("img:not(.picture):not(.map)").count() == 0


def test_pictures_are_pasted(open_page: Open) -> None:
    with open_page() as page:
        page.paste({"image.png": UNSURE})
        expect(page.cards.locator(".verdict")).to_have_text("Unsure")


def test_what_is_dropped_and_is_no_file_is_told(open_page: Open) -> None:
    with open_page() as page:
        page.drop({})
        expect(page.page.get_by_role("alert")).to_contain_text("Only files can be dropped here.")


def test_all_of_it_works_by_keyboard_alone(open_page: Open, tmp_path: Path) -> None:
    file = tmp_path / "chosen.png"
    file.write_bytes(GENERATED)
    with open_page() as page:
        keyboard = page.page.keyboard
        keyboard.press("Tab")
        assert page.page.evaluate("document.activeElement.id") == "choose"
        assert page.style("#choose", "outlineStyle") == "solid"
        with page.page.expect_file_chooser() as chooser:
            keyboard.press("Enter")
        chooser.value.set_files(file)
        expect(page.cards.locator(".verdict")).to_have_text("Generated")
        before = float(page.style(".map", "opacity"))
        reached = []
        for _ in range(4):
            keyboard.press("Tab")
            reached.append(page.page.evaluate("document.activeElement.id || document.activeElement.tagName"))
            if reached[-1] == "INPUT":
                keyboard.press("ArrowRight")
            if reached[-1] == "SUMMARY":
                keyboard.press("Enter")
        assert reached == ["download", "clear", "INPUT", "SUMMARY"]
        assert float(page.style(".map", "opacity")) == pytest.approx(before + 0.05)
        expect(page.cards.locator("details dl")).to_contain_text("SHA-256 of the file")


def test_all_results_are_downloaded_as_json(open_page: Open, service: Running) -> None:
    with open_page() as page:
        page.drop({"a.png": GENERATED, "bad.png": b""})
        expect(page.page.locator("#progress")).to_have_text("2 pictures judged")
        with page.page.expect_download() as download:
            page.page.get_by_role("button", name="Download all as JSON").click()
        verdicts = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))["verdicts"]
    assert download.value.suggested_filename == "verdicts.json"
    assert [one["name"] for one in verdicts] == ["a.png", "bad.png"]
    assert verdicts[0]["verdict"] == "generated" and "map_png" not in verdicts[0]
    assert verdicts[1]["error"] == "empty file"


def test_a_format_that_the_browser_cannot_show_has_its_map_alone(open_page: Open) -> None:
    with open_page() as page:
        page.drop({"scan.tif": encode(noise().resize((60, 30)), "TIFF")})
        expect(page.cards.locator(".verdict")).to_be_visible()
        expect(page.cards.locator(".cannot-show")).to_be_visible()
        expect(page.cards.locator(".picture")).to_be_hidden()
        assert page.style(".map", "opacity") == "1"
        box = page.page.locator(".map").bounding_box()
        assert box is not None and box["width"] == pytest.approx(2 * box["height"], rel=0.02)


def test_a_detector_without_probability_shows_the_share_of_photographs_alone(open_page: Open) -> None:
    class Unsupervised(FakeDetector):
        def judge(self, prepared: Any) -> list[Answer]:
            found = [(answer.name, answer.verdict) for answer in super().judge(prepared)]
            return [Answer(name, replace(verdict, probability=None)) for name, verdict in found if verdict]

        def describe(self) -> dict[str, Any]:
            return super().describe() | {"unsure_probabilities": None, "sources": [], "method": "mean_lare"}

    with running(Unsupervised()) as other, open_page(other) as page:
        page.drop({"a.png": GENERATED})
        expect(page.cards.locator(".verdict")).to_have_text("Generated")
        expect(page.cards.locator(".chance")).to_be_hidden()
        expect(page.cards.locator(".meaning")).to_contain_text(
            "unlike the photographs that the detector was calibrated on"
        )
        expect(page.page.locator("#facts")).to_contain_text("it compares with photographs alone")
        expect(page.cards.locator(".photographs")).to_contain_text("photographs like the validation ones")


def test_a_file_above_the_limit_is_not_uploaded(open_page: Open) -> None:
    with running(FakeDetector(), max_file_bytes=1500) as other, open_page(other) as page:
        expect(page.page.locator("#facts")).to_be_visible()
        page.drop({"large.png": picture(side=40)})
        expect(page.cards.locator(".error p")).to_have_text("It is larger than 2 KB.")
        assert [url for url in page.requests if "/v1/detect?" in url] == []


def test_a_busy_service_is_asked_again(open_page: Open) -> None:
    with running(FakeDetector(), queue_size=16) as other, open_page(other) as page, ThreadPoolExecutor(1) as pool:
        other.detector.gate.clear()
        pool.submit(other.detect, *map(picture, range(16)))
        wait_until(lambda: other.service.num_pictures == 16)
        page.drop({"a.png": GENERATED})
        expect(page.cards.locator(".state")).to_contain_text("Too many pictures are waiting")
        other.detector.gate.set()
        expect(page.cards.locator(".verdict")).to_have_text("Generated")


def test_while_the_models_load_the_page_waits_and_says_so(open_page: Open) -> None:
    loaded, detector = threading.Event(), FakeDetector()

    def load() -> FakeDetector:
        loaded.wait(30)
        return detector

    with running(detector, load) as other:
        with open_page(other) as page:
            expect(page.page.get_by_role("alert")).to_contain_text("still being loaded")
            page.drop({"a.png": GENERATED})
            loaded.set()
            expect(page.cards.locator(".verdict")).to_have_text("Generated")
            expect(page.page.locator("#facts")).to_contain_text("toy-a")
            expect(page.page.get_by_role("alert")).to_be_hidden()
        loaded.set()


def test_a_service_that_has_gone_is_told(open_page: Open) -> None:
    with running(FakeDetector()) as other, open_page(other) as page:
        expect(page.page.locator("#facts")).to_be_visible()
        page.page.route("**/v1/detect?maps=true", lambda route: route.abort())
        page.drop({"a.png": GENERATED})
        expect(page.cards.locator(".error p")).to_have_text(
            "It could not be sent: the service does not answer, or the file cannot be read."
        )
        page.complaints.clear()  # the browser notes the failed request


@pytest.mark.parametrize("width", [360, 390, 1400])
def test_nothing_is_wider_than_the_window(width: int, open_page: Open) -> None:
    with open_page(viewport={"width": width, "height": 800}) as page:
        page.drop({"n" * 200 + ".png": GENERATED, "wide.png": encode(noise().resize((900, 9)), "PNG"), "bad": b"x"})
        expect(page.page.locator("#progress")).to_have_text("3 pictures judged")
        page.page.locator("summary").first.click()
        assert page.is_as_wide_as_the_window()


@pytest.mark.parametrize(("scheme", "paper"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 23, 27)")])
def test_text_is_legible_in_light_and_dark(scheme: str, paper: str, open_page: Open) -> None:
    with open_page(color_scheme=scheme) as page:
        page.drop({"a.png": GENERATED, "b.png": REAL, "c.png": UNSURE, "d.png": b""})
        expect(page.page.locator("#progress")).to_have_text("4 pictures judged")
        expect(page.page.locator("#facts")).to_be_visible()
        contrasts = page.contrasts()
        assert page.style("body", "backgroundColor") == paper
    assert {"Generated", "Real", "Unsure", "No verdict"} <= set(contrasts)
    assert {text: contrast for text, contrast in contrasts.items() if contrast < 4.5} == {}


def test_the_description_of_the_api_loads_from_this_service_alone(open_page: Open) -> None:
    with open_page(path="/docs") as page:
        expect(page.page.get_by_text("Verdicts on pictures", exact=True)).to_be_visible()
        assert page.complaints == []
        assert {url.split("/", 3)[2] for url in page.requests if url.startswith("http")} == {
            page.page.url.split("/", 3)[2]
        }
        page.requests.clear()
