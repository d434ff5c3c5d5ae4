"""A picture in, a verdict out: both stages on single pictures, with doubts that are measured.

The public names are loaded when they are first used (PEP 562): `import detect` loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detect.detector import Detector
    from detect.picture import Picture
    from detect.verdict import Answer, ImageFacts, Note, Verdict

__all__ = ["Answer", "Detector", "ImageFacts", "Note", "Picture", "Verdict"]

_MODULE_OF = {
    "Answer": "verdict",
    "Detector": "detector",
    "ImageFacts": "verdict",
    "Note": "verdict",
    "Picture": "picture",
    "Verdict": "verdict",
}
"""Public name → the module below this package that it comes from; the imports above say it to type checkers."""


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
