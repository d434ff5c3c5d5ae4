"""What a file says of its origin in IPTC's words for it (NewsCodes "Digital Source Type")."""

from detect.reading.quoting import quote
from detect.verdict import Note

WORDS = {
    "trainedAlgorithmicMedia": "was made by AI",
    "compositeWithTrainedAlgorithmicMedia": "was edited or composed with AI",
    "trainedAlgorithmicData": "was made from data of an AI",
    "compositeSynthetic": "is a composite with synthetic parts",
    "algorithmicMedia": "was made by an algorithm that was not trained",
    "algorithmicallyEnhanced": "was enhanced by an algorithm",
    "dataDrivenMedia": "was drawn from data",
    "digitalCapture": "was taken with a digital camera",
    "computationalCapture": "was merged from several shots of a digital camera",
    "compositeCapture": "is a composite of photographs",
    "composite": "is a composite",
    "negativeFilm": "was digitised from a film negative",
    "positiveFilm": "was digitised from a slide",
    "print": "was digitised from a print",
    "minorHumanEdits": "was edited a little by a person",
    "humanEdits": "was edited by a person",
    "digitalArt": "was made by a person with digital tools",
    "digitalCreation": "was made by a person with digital tools",
    "softwareImage": "was made with software",
    "screenCapture": "is a screenshot",
    "virtualRecording": "was recorded from a virtual scene",
}
"""Name of a digital source type → the rest of a sentence about a picture."""


def source_type_note(value: str, place: str, subject: str = "it") -> Note:
    """The note for a digital source type.

    Args:
        value: The type's address or its name.
        place: Where the file says so: "XMP", "C2PA".
        subject: What it is said of: the picture, or a picture that it was made from.
    """
    name = value.strip().rstrip("/").rpartition("/")[2]
    if name in WORDS:
        where = f"{place} DigitalSourceType {name}"
        return Note("mark_source_type", f"The file says that {subject} {WORDS[name]} ({where}).")
    return Note("mark_source_type", f"The file says of its origin: {quote(name)} ({place} DigitalSourceType).")
