"""Which text conditions the UNet for which image, and the table of encoded texts."""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from cache_schema import Dataset
from extract.config import ModelConfig
from extract.lare import Condition

MAX_TABLE_BYTES = 256 * 2**20
MAX_FALLBACK_DIFFERENCE = 0.01


@dataclass(frozen=True)
class PromptPolicy:
    """The rule from an image's index row to its text."""

    name: str
    """`fixed`, `template`, or `none` for a UNet without text condition."""
    text: str = ""
    """The text, or the template with {class_name} in it."""
    fallback: str = ""
    """Text where the class name is missing."""

    @classmethod
    def from_config(cls, config: ModelConfig) -> "PromptPolicy":
        """The policy of a run; a fixed text needs no fallback."""
        return cls(
            config.prompt_policy, config.prompt, config.prompt_fallback if config.prompt_policy == "template" else ""
        )

    @property
    def is_per_sample(self) -> bool:
        """Whether images may differ in their text."""
        return self.name == "template"

    @property
    def identity(self) -> str:
        """The policy with its texts, as the fingerprint has it."""
        return {
            "none": "none",
            "fixed": f"fixed: {self.text!r}",
            "template": f"template: {self.text!r}, else {self.fallback!r}",
        }[self.name]

    @property
    def text_without_class(self) -> str:
        """The text of an image whose class nobody knows."""
        return self.fallback if self.is_per_sample else self.text

    def prompts(self, rows: pa.Table) -> list[str]:
        """The text of each index row, in row order."""
        if not self.is_per_sample:
            return [self.text] * len(rows)
        names = rows["class_name"].to_pylist()
        return [self.text.replace("{class_name}", name) if name else self.text_without_class for name in names]

    def check_labels(self, dataset: Dataset) -> None:
        """Refuse a policy whose fallback text reveals the label.

        Raises:
            ValueError: If the share of images without a class name differs between labels by more than 1 %.
        """
        if not self.is_per_sample:
            return
        numbers, fallbacks = Counter[int](), Counter[int]()
        for _, table in dataset.scan(["label", "class_name"]):
            has_name = pc.fill_null(pc.greater(pc.binary_length(table["class_name"].cast(pa.string())), 0), False)
            numbers.update(_count(table["label"]))
            fallbacks.update(_count(table["label"].filter(pc.invert(has_name))))
        if len(numbers) < 2:
            return  # only one label: the text cannot reveal it
        real, generated = (fallbacks[label] / numbers[label] for label in (0, 1))
        if abs(real - generated) > MAX_FALLBACK_DIFFERENCE:
            raise ValueError(
                f"{real:.1%} of the real and {generated:.1%} of the generated images have no class name and would get "
                f"the fallback text: the prompt would reveal the label. Use prompt_policy fixed, add the class names, "
                f"or pass --allow_label_dependent_prompts true."
            )


def _count(labels: pa.ChunkedArray) -> dict[int, int]:
    """Rows of each label; controls have none."""
    counted = pc.value_counts(labels.drop_null())
    return {each["values"]: each["counts"] for each in counted.to_pylist()}


def prompts_sha256(prompts: Sequence[str]) -> str:
    """Hash of a tar's texts in row order, 64 hexadecimal digits."""
    return hashlib.sha256("\0".join(prompts).encode()).hexdigest()


class PromptTable:
    """Encoded texts: each distinct one is encoded once, and the least recently used give way above a size.

    Args:
        encode: Texts to their conditions, which have no batch axis.
        max_bytes: Size that the kept texts may have together.
    """

    def __init__(
        self, encode: Callable[[Sequence[str]], Sequence[Condition]], max_bytes: int = MAX_TABLE_BYTES
    ) -> None:
        self._encode = encode
        self._max_bytes = max_bytes
        self._table: OrderedDict[str, Condition] = OrderedDict()
        self._num_bytes = 0

    def __len__(self) -> int:
        return len(self._table)

    def embed(self, prompts: Sequence[str]) -> Condition:
        """Conditions of a batch."""
        distinct = list(dict.fromkeys(prompts))
        unknown = [prompt for prompt in distinct if prompt not in self._table]
        found = {prompt: self._table[prompt] for prompt in distinct if prompt in self._table}
        found |= dict(zip(unknown, self._encode(unknown), strict=True)) if unknown else {}
        for prompt in distinct:
            self._keep(prompt, found[prompt])
        return Condition.stack([found[prompt] for prompt in prompts])

    def _keep(self, prompt: str, condition: Condition) -> None:
        if prompt in self._table:
            self._table.move_to_end(prompt)
            return
        self._table[prompt] = condition
        self._num_bytes += condition.nbytes
        while self._num_bytes > self._max_bytes and len(self._table) > 1:
            self._num_bytes -= self._table.popitem(last=False)[1].nbytes
