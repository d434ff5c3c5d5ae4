"""C2PA manifests (Content Credentials), read by c2pa-python without the network."""

import io
import json
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from detect.reading.quoting import quote
from detect.reading.source_types import source_type_note
from detect.verdict import Note

STORE = b"jumdc2pa\x00\x11\x00\x10\x80\x00\x00\xaa\x00\x38\x9b\x71"
"""How the box of a manifest store begins, whatever the file's format."""
MAX_STORE_BYTES = 2**25
MAX_MANIFESTS, MAX_ACTIONS, MAX_FAULTS = 20, 100, 3
SETTINGS: dict[str, dict[str, object]] = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "core": {
        "allowed_network_hosts": [],
        "decode_identity_assertions": False,
        "max_decompressed_manifest_size_in_mb": MAX_STORE_BYTES >> 20,
    },
}
"""Nothing is fetched: no manifest that lies elsewhere, no state of a certificate, no identity."""
_UNTRUSTED = "signingCredential.untrusted"
"""Said of every signer, for no list of trusted ones is given."""
_TYPES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"\0\0\0\x0cJXL ", "image/jxl"),
)


def manifest_notes(data: bytes) -> list[Note]:
    """What the C2PA manifest of a file says, and whether it fits the file; nothing where there is none."""
    at = data.find(STORE)
    if at < 12:
        return []
    if int.from_bytes(data[at - 12 : at - 8], "big") > MAX_STORE_BYTES:
        return [_note("that is too large to be read")]
    try:
        library = import_module("c2pa")
    except ImportError:
        return [_note("that needs one more library to be read: pip install 'lare2-cache[marks]'")]
    try:
        with (
            library.Context.from_dict(SETTINGS) as context,
            library.Reader(_type_of(data), io.BytesIO(data), context=context) as reader,
        ):
            described = str(reader.json())
    except library.C2paError as error:
        return [_note(f"that cannot be read ({quote(str(error))})")]
    if len(described) > MAX_STORE_BYTES:
        return [_note("that is too large to be read")]
    return list(_notes(json.loads(described)))


def _note(words: str) -> Note:
    return Note("mark_c2pa", f"The file carries a C2PA manifest {words}.")


def _type_of(data: bytes) -> str:
    for beginning, name in _TYPES:
        if data.startswith(beginning):
            return name
    if data[:4] == b"RIFF":
        return "image/webp"
    return "image/avif" if data[8:12] in (b"avif", b"avis") else "image/heic"


def _notes(store: dict[str, Any]) -> Iterator[Note]:
    manifests = list(store["manifests"].items())[:MAX_MANIFESTS]
    active = store["manifests"].get(store.get("active_manifest"), {})
    signer = active.get("signature_info", {}).get("issuer")
    named = f"of {_maker(active)}" + (f", signed in the name of {quote(signer, 40)}" if signer else "")
    faults = [item["code"] for item in store.get("validation_status", ()) if item["code"] != _UNTRUSTED]
    if store.get("validation_state") in ("Valid", "Trusted"):
        yield _note(f"{named}; it fits the file, and who signed it was not checked")
    else:
        yield _note(f"{named}; its check failed ({quote(', '.join(faults[:MAX_FAULTS]) or 'no reason given')})")
    for label, manifest in manifests:
        subject = "it" if label == store.get("active_manifest") else "a picture that it was made from"
        for value in _source_types(manifest):
            yield source_type_note(value, "C2PA", subject)


def _maker(manifest: dict[str, Any]) -> str:
    info = (manifest.get("claim_generator_info") or [{}])[0]
    name = f"{info.get('name') or manifest.get('claim_generator') or 'an unnamed program'} {info.get('version') or ''}"
    return quote(name, 40)


def _source_types(manifest: dict[str, Any]) -> Iterator[str]:
    """Digital source types of a manifest's actions and of its IPTC data, each once."""
    seen = set()
    for assertion in manifest.get("assertions", ()):
        data = assertion.get("data")
        if not isinstance(data, dict):
            continue
        is_actions = str(assertion.get("label", "")).startswith("c2pa.actions")
        actions = data.get("actions", ())[:MAX_ACTIONS] if is_actions else ()
        found = [action.get("digitalSourceType") for action in actions] + [data.get("Iptc4xmpExt:DigitalSourceType")]
        for value in found:
            if isinstance(value, str) and value not in seen:
                seen.add(value)
                yield value
