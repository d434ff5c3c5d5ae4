from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from cache_schema import write_dataset
from extract.lare import Condition
from extract.models.prompts import PromptPolicy, PromptTable, prompts_sha256
from tests.samples import make_sample

TEMPLATE = PromptPolicy("template", "a photo of {class_name}", "a photo")


def test_a_fixed_prompt_is_every_images() -> None:
    policy = PromptPolicy("fixed", "a photo")
    assert policy.prompts(pa.table({"class_name": ["rose", None]})) == ["a photo", "a photo"]
    assert policy.identity == "fixed: 'a photo'"


def test_a_template_is_filled_with_the_class_or_falls_back() -> None:
    rows = pa.table({"class_name": ["rose", None, "", "{x} 100%"]})
    assert TEMPLATE.prompts(rows) == ["a photo of rose", "a photo", "a photo", "a photo of {x} 100%"]


def test_identity_names_every_text() -> None:
    others = [PromptPolicy("template", "a {class_name}", "a photo"), PromptPolicy("template", TEMPLATE.text, "")]
    assert len({policy.identity for policy in [TEMPLATE, *others, PromptPolicy("fixed", TEMPLATE.text)]}) == 4


def dataset_with_classes(folder: Path, num_named: dict[int | None, int], num_images: int = 200) -> object:
    """Of each label's images, `num_named` have a class name."""
    samples = []
    for label, named in num_named.items():
        for i in range(num_images):
            path = f"{label}/{i}.png"
            name = "rose" if i < named else None
            samples.append(make_sample(0, label=label, source_path=path, class_name=name))
    return write_dataset(folder, samples, {})


@pytest.mark.parametrize("named", [{0: 200, 1: 200}, {0: 100, 1: 101}, {0: 0, 1: 0}, {1: 100}, {0: 9, 1: 9, None: 200}])
def test_equal_shares_of_fallbacks_are_accepted(named: dict[int | None, int], tmp_path: Path) -> None:
    TEMPLATE.check_labels(dataset_with_classes(tmp_path / "data", named))


def test_a_prompt_that_tells_the_label_is_refused(tmp_path: Path) -> None:
    dataset = dataset_with_classes(tmp_path / "data", {0: 0, 1: 200})
    with pytest.raises(ValueError, match=r"100.0% of the real and 0.0% of the generated.*would reveal the label"):
        TEMPLATE.check_labels(dataset)
    with pytest.raises(ValueError, match=r"100.0% of the real and 98.5%"):
        TEMPLATE.check_labels(dataset_with_classes(tmp_path / "less", {0: 0, 1: 3}))
    PromptPolicy("fixed", "a photo").check_labels(dataset)


def test_prompts_hash_depends_on_the_order() -> None:
    assert prompts_sha256(["a", "b"]) != prompts_sha256(["b", "a"]) != prompts_sha256(["b a"])


class Encoder:
    """Remembers its calls; a text's condition is filled with its length."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, prompts: Sequence[str]) -> list[Condition]:
        self.calls.append([*prompts])
        return [Condition(torch.full((4, 8), float(len(p))), torch.full((2,), float(len(p)))) for p in prompts]


def test_each_distinct_prompt_is_encoded_once() -> None:
    encoder = Encoder()
    table = PromptTable(encoder)
    condition = table.embed(["a", "bb", "a"])
    table.embed(["bb", "a"])
    assert encoder.calls == [["a", "bb"]]
    assert condition.embeds.shape == (3, 4, 8) and condition.embeds[:, 0, 0].tolist() == [1, 2, 1]
    assert condition.pooled is not None and condition.pooled[:, 0].tolist() == [1, 2, 1] and condition.mask is None


def test_the_table_is_bounded_and_drops_the_least_recently_used() -> None:
    encoder = Encoder()
    table = PromptTable(encoder, max_bytes=2 * (4 * 8 + 2) * 4)
    for prompts in (["a"], ["bb", "a"], ["ccc"]):
        table.embed(prompts)
    assert len(table) == 2
    table.embed(["a"])
    assert encoder.calls == [["a"], ["bb"], ["ccc"]]
    assert table.embed(["a", "bb", "ccc", "dddd"]).embeds[:, 0, 0].tolist() == [1, 2, 3, 4]  # more at once than fit
    assert len(table) == 2
