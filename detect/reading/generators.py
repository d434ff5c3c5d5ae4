"""Texts that image generators write into their files: settings, workflows and names."""

import re

from detect.reading.quoting import quote
from detect.reading.source_types import source_type_note
from detect.reading.texts import Text
from detect.verdict import Note

MAX_SEARCHED = 20_000
"""Characters of a text that are searched; the longest prompts are shorter."""
_SETTINGS = re.compile(
    r"\bSteps: ?\d+,|\bNegative prompt:|\bCFG scale:|"
    r"\"(?:sampler|sampler_name|cfg_scale|guidance_scale|negative_prompt|sui_image_params)\"",
    re.IGNORECASE,
)
"""Settings of a diffusion model, as web interfaces write them."""
_WORKFLOW = re.compile(r"(?:prompt:|workflow:)?\s{0,5}\{.*?\"(?:class_type|last_node_id)\"", re.DOTALL)
"""A graph of ComfyUI."""
_JOB = re.compile(r"\bJob ID: [0-9a-f]{8}-[0-9a-f]{4}-")
"""Midjourney's number of a picture."""
_LABEL = re.compile(r"\bLabel\"?\s{0,5}[:=]\s{0,5}\"?[123]\b")
"""Of China's standard for labels (GB 45438): made by AI for certain, possibly, or suspected."""
_NAMES = re.compile(
    r"\b(?:"
    + "|".join(
        (
            r"stable.?diffusion",
            r"automatic1111",
            r"comfyui",
            r"invoke.?ai",
            r"novel.?ai",
            r"fooocus",
            r"(?:stable)?swarmui",
            r"sd\.?next",
            r"draw things",
            r"diffusionbee",
            r"easy diffusion",
            r"dreamstudio",
            r"stability ai",
            r"midjourney",
            r"dall[-·. ]e",
            r"dalle ?[23]",
            r"openai",
            r"chatgpt",
            r"gpt-4o",
            r"gpt-image",
            r"adobe firefly",
            r"firefly image",
            r"imagen ?\d",
            r"google ai",
            r"google gemini",
            r"gemini (?:\d|app|flash|pro)",
            r"nano.?banana",
            r"bing image creator",
            r"image creator from",
            r"leonardo\.?ai",
            r"ideogram",
            r"black forest labs",
            r"flux[ .]?[12]",
            r"playground ?ai",
            r"recraft",
            r"seedream",
            r"jimeng",
            r"dreamina",
            r"kling ?ai",
            r"hunyuan",
            r"qwen-?image",
            r"meta ai",
            r"grok",
            r"krea\.?ai",
            r"tensor\.?art",
            r"civitai",
            r"nightcafe",
        )
    )
    + r")\b",
    re.IGNORECASE,
)
"""Names of image generators, in fields that name a program or give credit."""
_FIELDS_OF_NAMES = {"software", "source", "creatortool", "credit", "generator"}
_KEYS = {
    "dream": "InvokeAI",
    "sd-metadata": "InvokeAI",
    "invokeai_metadata": "InvokeAI",
    "invokeai_graph": "InvokeAI",
    "invokeai_workflow": "InvokeAI",
    "fooocus_scheme": "Fooocus",
}
"""Name of a PNG text that one program alone writes → the program."""


def generator_note(text: Text) -> Note | None:
    """The note for a text that an image generator wrote, or that says what made the file; None for another text."""
    name, value = text.name.lower(), text.value.lstrip()[:MAX_SEARCHED]
    if name == "digitalsourcetype":
        return source_type_note(value, "IPTC")
    if (name == "aigc" or '"AIGC"' in value) and _LABEL.search(value):
        return _note("mark_aigc", "has the label for AI content that China prescribes", text)
    if text.place == "PNG text" and name in _KEYS:
        return _note("mark_generator", f"has a text as {_KEYS[name]} writes it", text)
    if _WORKFLOW.match(value):
        return _note("mark_generator", "has a workflow as ComfyUI writes it", text)
    if _SETTINGS.search(value):
        return _note("mark_generator", "has settings of an image generator", text)
    if _JOB.search(value):
        return _note("mark_generator", "has a number as Midjourney writes it", text)
    if name in _FIELDS_OF_NAMES and _NAMES.search(value):
        return _note("mark_generator", "names an image generator", text)
    return None


def _note(code: str, words: str, text: Text) -> Note:
    return Note(code, f"The file {words} ({text.place} {quote(text.name, 30)}: {quote(text.value)}).")
