"""C2PA manifests: what they say, whether they fit, and that nothing is fetched."""

import http.server
import io
import sys
import threading
from collections.abc import Iterator

import c2pa
import pytest

from detect.reading.c2pa_manifest import MAX_STORE_BYTES, SETTINGS, STORE
from detect.reading.marks import read_marks
from tests.bad_images import encode, jpeg, png, quadrants
from tests.detect.reading.files import avif, heic, jxl
from tests.detect.reading.signing import AI, sign

FILES = {
    "image/jpeg": jpeg,
    "image/png": png,
    "image/webp": lambda: encode(quadrants(), "WEBP"),
    "image/gif": lambda: encode(quadrants("P"), "GIF"),
    "image/tiff": lambda: encode(quadrants(), "TIFF"),
    "image/avif": avif,
    "image/heic": heic,
    "image/jxl": lambda: jxl(use_container=True),
}
MADE_BY_AI = "The file says that it was made by AI (C2PA DigitalSourceType trainedAlgorithmicMedia)."


def marks(data: bytes) -> list[tuple[str, str]]:
    return [(note.code, note.text) for note in read_marks(data)]


@pytest.mark.parametrize("mime", FILES)
def test_a_manifest_is_read_in_every_format(mime: str) -> None:
    (code, text), origin = marks(sign(FILES[mime](), mime))
    assert code == "mark_c2pa" and text == (
        'The file carries a C2PA manifest of "Toy generator 1.0", signed in the name of "Toy signer"; '
        "it fits the file, and who signed it was not checked."
    )
    assert origin == ("mark_source_type", MADE_BY_AI)


def test_a_file_that_was_changed_after_signing_fails_its_check() -> None:
    data = bytearray(sign(jpeg(), "image/jpeg"))
    data[-40] ^= 1
    (_, text), origin = marks(bytes(data))
    assert text.endswith('; its check failed ("assertion.dataHash.mismatch").')
    assert origin == ("mark_source_type", MADE_BY_AI)  # the file still says it


def test_a_photograph_is_said_to_be_one() -> None:
    capture = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
    texts = [text for _, text in marks(sign(jpeg(), "image/jpeg", source_type=capture))]
    assert texts[1] == "The file says that it was taken with a digital camera (C2PA DigitalSourceType digitalCapture)."


def test_what_the_picture_was_made_from_is_told_apart_from_the_picture() -> None:
    parent = sign(jpeg(), "image/jpeg")
    edited = sign(jpeg(), "image/jpeg", parent=parent, source_type=AI.replace("trainedAlgorithmicMedia", "humanEdits"))
    texts = [text for _, text in marks(edited)]
    assert any("says that it was edited by a person" in text for text in texts)
    assert any("says that a picture that it was made from was made by AI" in text for text in texts)
    assert MADE_BY_AI not in texts


def test_foreign_names_are_quoted_in_short_and_without_control_characters() -> None:
    text = read_marks(sign(jpeg(), "image/jpeg", maker="evil\u202egpj\n" + "x" * 500))[0].text
    assert "\u202e" not in text and "\n" not in text and 'of "evilgpj xxx' in text and len(text) < 250


def test_a_manifest_that_is_damaged_or_too_large_is_said_to_be_there() -> None:
    data = bytearray(sign(jpeg(), "image/jpeg"))
    at = data.index(STORE)
    (mark,) = marks(bytes(data[: at + 600]))
    assert mark[0] == "mark_c2pa" and "manifest that cannot be read" in mark[1]
    data[at - 12 : at - 8] = (MAX_STORE_BYTES + 1).to_bytes(4, "big")
    assert marks(bytes(data)) == [("mark_c2pa", "The file carries a C2PA manifest that is too large to be read.")]


def test_without_the_library_the_file_is_said_to_carry_a_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    data = sign(jpeg(), "image/jpeg")
    monkeypatch.setitem(sys.modules, "c2pa", None)
    (mark,) = marks(data)
    assert mark[0] == "mark_c2pa" and "pip install 'lare2-cache[marks]'" in mark[1]
    assert marks(jpeg()) == []


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A web server of this machine: its address, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()


def test_a_manifest_elsewhere_is_named_and_never_fetched(server: tuple[str, list[str]]) -> None:
    address, asked = server
    data = sign(jpeg(), "image/jpeg", url=f"{address}/m.c2pa")
    (mark,) = marks(data)
    assert mark[1] == f'The file points to a C2PA manifest elsewhere, which is not fetched: "{address}/m.c2pa".'
    with (
        c2pa.Context.from_dict(SETTINGS) as context,
        pytest.raises(c2pa.C2paError, match="must fetch remote"),
        c2pa.Reader("image/jpeg", io.BytesIO(data), context=context),
    ):
        pass
    assert asked == []
    with pytest.raises(c2pa.C2paError), c2pa.Reader("image/jpeg", io.BytesIO(data)):
        pass
    assert asked == ["/m.c2pa"]  # the library's own settings would have


def test_the_library_knows_the_settings_that_keep_it_offline() -> None:
    for group, settings in SETTINGS.items():
        for name in settings:
            with pytest.raises(c2pa.C2paError):
                c2pa.Context.from_dict({group: {name: {"of": "another kind"}}})
