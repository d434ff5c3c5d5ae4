"""What files say of how they were made, in every format that says it, and what hostile files make of it: nothing."""

import json
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detect.reading.marks import MAX_NOTES, read_marks
from detect.reading.source_types import WORDS
from tests.bad_images import CASES, encode, jpeg, png, png_chunk, png_with, quadrants
from tests.detect.reading.files import avif, heic, jxl, png_with_chunk, zeros
from tests.detect.reading.signing import sign

WEB_UI = "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Model: sd15"
GRAPH = json.dumps({"3": {"inputs": {"seed": 1, "steps": 20}, "class_type": "KSampler"}})
WORKFLOW = json.dumps({"last_node_id": 3, "last_link_id": 1, "nodes": []})
IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
FORMATS: dict[str, Callable[..., bytes]] = {
    "JPEG": jpeg,
    "PNG": png,
    "WEBP": lambda **options: encode(quadrants(), "WEBP", **options),
    "TIFF": lambda **options: encode(quadrants(), "TIFF", **options),
    "AVIF": avif,
    "HEIF": heic,
    "JXL": jxl,
}


def marks(data: bytes) -> list[tuple[str, str]]:
    return [(note.code, note.text) for note in read_marks(data)]


def exif(comment: bytes = b"", **texts: str) -> bytes:
    """EXIF data with texts, and a comment as cameras and generators write it."""
    block = Image.Exif()
    for name, text in texts.items():
        block[{"Software": 0x131, "Make": 0x10F, "Model": 0x110, "ImageDescription": 0x10E}[name]] = text
    if comment:
        block.get_ifd(0x8769)[0x9286] = comment
    return block.tobytes()


def xmp(properties: str, elements: str = "") -> bytes:
    """An XMP packet."""
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {properties}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta>'
    ).encode()


def xmp_png(packet: bytes) -> bytes:
    return png_with_chunk(png(), b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(packet))


def test_files_without_marks_say_nothing() -> None:
    for name, case in CASES.items():
        assert read_marks(case.data()) == (), name
    camera = exif(b"ASCII\0\0\0holiday", Make="Canon", Model="EOS R6", Software="Adobe Photoshop 25.0")
    packet = xmp('xmp:CreatorTool="Adobe Photoshop 25.0 (Windows)" photoshop:Credit="A. Person"')
    for name, make in FORMATS.items():
        assert read_marks(make(exif=camera)) == (), name
    assert read_marks(jpeg(xmp=packet, exif=camera)) == () and read_marks(b"") == ()
    assert (
        read_marks(png_with(parameters="width: 3", prompt="my poem", Description="Midjourney is a town", Title="Grok"))
        == ()
    )


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (
            {"parameters": WEB_UI},
            'settings of an image generator (PNG text "parameters": "a cat Negative prompt: dog Steps',
        ),
        ({"prompt": GRAPH}, 'a workflow as ComfyUI writes it (PNG text "prompt": '),
        ({"workflow": WORKFLOW}, 'a workflow as ComfyUI writes it (PNG text "workflow": '),
        ({"Dream": "a cat -s 50"}, 'a text as InvokeAI writes it (PNG text "Dream": "a cat -s 50")'),
        ({"invokeai_metadata": "{}"}, 'a text as InvokeAI writes it (PNG text "invokeai_metadata": '),
        ({"Software": "NovelAI"}, 'names an image generator (PNG text "Software": "NovelAI")'),
        ({"Comment": '{"steps": 28, "sampler": "k_euler"}'}, 'settings of an image generator (PNG text "Comment": '),
        ({"parameters": '{"sui_image_params": {"prompt": "x"}}'}, "settings of an image generator"),
        ({"fooocus_scheme": "fooocus"}, "a text as Fooocus writes it"),
        (
            {"Description": "a cat --v 6 Job ID: 12345678-9abc-def0-1234-56789abcdef0"},
            "a number as Midjourney writes it",
        ),
        ({"AIGC": '{"Label":"1","ContentProducer":"x"}'}, "the label for AI content that China prescribes"),
    ],
)
def test_texts_that_generators_write_into_png_files(texts: dict[str, str], expected: str) -> None:
    packed = png_with(**texts)
    (name, text), *_ = texts.items()
    plain = png_with_chunk(png(), b"tEXt", f"{name}\0{text}".encode())
    international = png_with_chunk(png(), b"iTXt", f"{name}\0\1\0en\0\0".encode() + zlib.compress(text.encode()))
    behind = png()[:-12] + png_chunk(b"tEXt", f"{name}\0{text}".encode()) + png_chunk(b"IEND", b"")
    for data in (packed, plain, international, behind):
        (mark,) = marks(data)
        assert mark[0] in ("mark_generator", "mark_aigc") and mark[1].startswith("The file ") and expected in mark[1]


@pytest.mark.parametrize("name", FORMATS)
def test_exif_of_every_format_is_read(name: str) -> None:
    comment = b"UNICODE\0" + WEB_UI.encode("utf-16-be")
    named, settings = marks(FORMATS[name](exif=exif(comment, Software="Midjourney 6")))
    assert named == ("mark_generator", 'The file names an image generator (EXIF "Software": "Midjourney 6").')
    assert settings[1].startswith('The file has settings of an image generator (EXIF "UserComment": "a cat Negative')


@pytest.mark.parametrize(
    "comment", [b"UNICODE\0" + WEB_UI.encode("utf-16-le"), b"ASCII\0\0\0" + WEB_UI.encode(), WEB_UI.encode()]
)
def test_comments_in_every_writing(comment: bytes) -> None:
    assert "Steps: 20" in marks(jpeg(exif=exif(comment)))[0][1]


def test_a_workflow_in_the_exif_of_webp_files() -> None:
    data = FORMATS["WEBP"](exif=exif(Make=f"workflow:{WORKFLOW}", Model=f"prompt:{GRAPH}"))
    assert [text.partition("(")[2][:12] for _, text in marks(data)] == ['EXIF "Make":', 'EXIF "Model"']


def test_xmp_of_every_format_is_read() -> None:
    packet = xmp(
        'xmp:CreatorTool="Adobe Firefly"', f"<e:DigitalSourceType>{IPTC}trainedAlgorithmicMedia</e:DigitalSourceType>"
    )
    files = {name: make(xmp=packet) for name, make in FORMATS.items() if name not in ("TIFF", "PNG")}
    for name, data in {**files, "PNG": xmp_png(packet)}.items():
        assert marks(data) == [
            ("mark_generator", 'The file names an image generator (XMP "CreatorTool": "Adobe Firefly").'),
            (
                "mark_source_type",
                "The file says that it was made by AI (IPTC DigitalSourceType trainedAlgorithmicMedia).",
            ),
        ], name


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize(
    "form",
    [
        'e:DigitalSourceType="{}"',
        "e:DigitalSourceType = '{}'",
        "<e:DigitalSourceType>{}</e:D>",
        '<e:DigitalSourceType rdf:resource="{}"/>',
    ],
)
def test_every_source_type_in_every_form(name: str, form: str) -> None:
    value = form.format(IPTC + name)
    packet = xmp("", value) if value.startswith("<") else xmp(value)
    assert marks(jpeg(xmp=packet)) == [
        ("mark_source_type", f"The file says that it {WORDS[name]} (IPTC DigitalSourceType {name}).")
    ]


def test_an_unknown_source_type_is_quoted() -> None:
    packet = xmp('e:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/dreamt&quot;&#x202e;"')
    assert marks(jpeg(xmp=packet))[0][1] == """The file says of its origin: "dreamt'" (IPTC DigitalSourceType)."""


def test_credit_and_label_in_xmp() -> None:
    packet = xmp('photoshop:Credit="Made with Google AI"', "<TC260:AIGC>{&quot;Label&quot;:&quot;1&quot;}</TC260:AIGC>")
    assert [code for code, _ in marks(jpeg(xmp=packet))] == ["mark_generator", "mark_aigc"]
    listed = xmp("", "<p:Credit><rdf:Alt><rdf:li xml:lang='x'>Midjourney</rdf:li></rdf:Alt></p:Credit>")
    assert marks(jpeg(xmp=listed))[0][1].endswith('(XMP "Credit": "Midjourney").')


def test_foreign_text_is_short_on_one_line_and_shows_all_that_it_does() -> None:
    hostile = 'Midjourney "\u202e\u2066\u200b\ufeff\x00\x1b[31m\r\n<b>é\U0001f600' + "x" * 1000
    (mark,) = marks(png_with_chunk(png(), b"iTXt", b"Software\0\0\0\0\0" + hostile.encode()))
    assert """ (PNG text "Software": "Midjourney '[31m <b>é\U0001f600xxx""" in mark[1]
    assert mark[1].endswith('…").') and len(mark[1]) < 200 and mark[1].isprintable()


def test_marks_are_each_told_once_and_not_without_end() -> None:
    twice = png_with_chunk(png_with_chunk(png(), b"tEXt", b"Software\0NovelAI"), b"tEXt", b"Software\0NovelAI")
    assert len(read_marks(twice)) == 1
    many = png()
    for i in range(50):
        many = png_with_chunk(many, b"tEXt", f"Software\0NovelAI {i}".encode())
    assert len(read_marks(many)) == MAX_NOTES


def entity_bomb() -> bytes:
    entities = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
    return f'<!DOCTYPE x [<!ENTITY a0 "ha">{entities}]>'.encode() + xmp('xmp:CreatorTool="Firefly &a11;"', "&a11;")


def test_bombs_take_no_memory(tmp_path: Path) -> None:
    bomb, far = zeros(300), b"MM\0*\0\0\0\x08\0\2" + b"\x01\x31\0\2\xff\xff\xff\xff\0\0\0\0" * 2
    bombs = [
        png_with_chunk(png(), b"zTXt", b"parameters\0\0" + bomb),
        png_with_chunk(png(), b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb),
        png()[:-12] + 200 * png_chunk(b"zTXt", b"parameters\0\0" + bomb[:20_000]),
        b"Exif\0\0" + far + bytes(1_000_000),
        entity_bomb(),
        xmp_png(entity_bomb()),
    ]
    for i, data in enumerate(bombs):
        (tmp_path / str(i)).write_bytes(data)
    code = (
        "import pathlib, resource, sys\n"
        "from detect.reading.marks import read_marks\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "files = [file.read_bytes() for file in pathlib.Path(sys.argv[1]).iterdir()]\n"
        "before = peak()\n"
        "for data in files:\n"
        "    read_marks(data)\n"
        "sys.stdout.write(str(peak() - before))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) / 1024 < 30


@pytest.mark.timeout(120)
def test_texts_made_to_keep_a_search_busy_are_searched_to_a_bound() -> None:
    texts = ["steps " * 20_000, "{" + '"' * 70_000, " " * 70_000, "Label" * 20_000, "workflow:{" + "a" * 70_000]
    data = png()[:-12] + b"".join(png_chunk(b"tEXt", b"Software\0" + text.encode()) for text in texts * 20)
    assert read_marks(data) == ()
    for filling in ("e:DigitalSourceType", "e:Credit ", "e:Credit" + " " * 30, "a" * 39 + ":Credit <", "<e:AIGC >  "):
        packet = b"<rdf:RDF>" + (filling * (2**20 // len(filling))).encode()
        assert len(read_marks(4 * packet)) <= MAX_NOTES


def test_a_reader_that_fails_takes_no_other_marks_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: bytes) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr("detect.reading.marks.manifest_notes", fail)
    assert len(read_marks(png_with(Software="NovelAI"))) == 1
    monkeypatch.setattr("detect.reading.texts.exif_texts", fail)
    assert len(read_marks(png_with(Software="NovelAI"))) == 1  # found before the fault


@pytest.mark.timeout(300)
def test_damaged_files_never_raise() -> None:
    rng = np.random.default_rng(0)
    block = exif(b"UNICODE\0" + WEB_UI.encode("utf-16-be"), Software="Midjourney", ImageDescription="x")
    packet = xmp('xmp:CreatorTool="Adobe Firefly"', f"<e:DigitalSourceType>{IPTC}composite</e:DigitalSourceType>")
    whole = [
        sign(jpeg(), "image/jpeg"),
        sign(png(), "image/png"),
        sign(avif(), "image/avif"),
        sign(heic(), "image/heic"),
        png_with(parameters=WEB_UI, prompt=GRAPH),
        xmp_png(packet),
        *(make(exif=block) for make in FORMATS.values()),
        *(make(xmp=packet) for name, make in FORMATS.items() if name not in ("TIFF", "PNG")),
    ]
    found = 0
    for i in range(800):
        data = bytearray(whole[i % len(whole)])
        span = len(data) if rng.random() < 0.5 else min(len(data), 2000)
        for at in rng.integers(span, size=rng.integers(0, 6)):
            data[at] ^= rng.integers(1, 256)
        cut = bytes(data[: rng.integers(len(data))] if rng.random() < 0.4 else data)
        notes = read_marks(cut)
        assert all(note.text.isprintable() and len(note.text) < 300 for note in notes)
        found += bool(notes)
    assert 200 < found < 800
