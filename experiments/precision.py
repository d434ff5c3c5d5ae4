"""How few bits of a map a detector needs, and whether the models may run in bfloat16."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from scipy.stats import spearmanr  # type: ignore[import-untyped]

from cache_schema import FULL_MANTISSA_BITS, Dataset, open_cache
from experiments.answers.answer import Answer, Chart, Curve, Table
from experiments.study.comparisons import MEAN, RULE, describe_difference, judge
from experiments.study.over_sources import Means
from experiments.study.settings import SPLITS, TITLES, Scored, score, subtract_means, summarize, value_cells
from experiments.study.study import Study

METRIC = "average_precision"
READINGS = ("mean_lare", "map_only")
ALL_BITS = FULL_MANTISSA_BITS["float16"]
"""Of the default: float16 with all its bits."""
LIMITS = (
    "Rounding was tried at one timestep and ensemble size. Bytes are those of whole stores, with the images' keys and "
    "hashes, and depend on how well these maps compress. What is not told apart here may be with more images or seeds. "
    "bfloat16 is that of the machine which made the cache."
)


@dataclass(frozen=True)
class Precision:
    """A cache of the default setting in another number format.

    Attributes:
        title: For people.
        cache: Name of the cache.
        bits: Mantissa bits of stored float16 maps; None for float32.
    """

    title: str
    cache: str
    bits: int | None = None


def list_precisions(default: str, bits: Iterable[int]) -> list[Precision]:
    """All that are compared: float32 first, float16 by falling bits, bfloat16 models last.

    Args:
        default: Name of the cache of float32 maps.
        bits: Mantissa bits of float16 maps; the default, all of them, is always among them.
    """
    rounded = [
        Precision(f"float16, {b} bits", f"{default}-float16-m{b}", b) for b in sorted({ALL_BITS, *bits}, reverse=True)
    ]
    bfloat = Precision("float32 of bfloat16 models", f"{default}-bf16")
    return [Precision("float32", default), *rounded, bfloat]


def answer(study: Study) -> Answer:
    """How few bits a map may have, and whether the models may run in bfloat16. From caches alone."""
    precisions = list_precisions(study.default_cache, study.config.mantissa_bits)
    folders = {each.title: study.cache(each.cache) for each in precisions}
    means = {title: -study.readings(folder)["mean_lare"].scores[0] for title, folder in folders.items()}
    full = precisions[0].title
    scored = {reading: {each.title: score(study, each.cache, reading) for each in precisions} for reading in READINGS}
    losses = {
        reading: {title: subtract_means(each, by[full], METRIC) for title, each in by.items() if title != full}
        for reading, by in scored.items()
    }
    num_bytes = {title: measure_bytes(folder, study.config.data) for title, folder in folders.items()}
    ranks = {title: float(spearmanr(values, means[full]).statistic) for title, values in means.items()}
    smallest = find_smallest(precisions, losses)
    named = {f"{TITLES[reading]}, {title}": each for reading, by in scored.items() for title, each in by.items()}
    return Answer(
        name="precision",
        question="How few bits may a stored map have, and may the models run in bfloat16?",
        headline=sum_up(precisions, losses),
        finding=describe(precisions, losses, smallest, num_bytes),
        limits=LIMITS,
        command=study.command("precision"),
        settings={**study.describe(), "cache": study.default_cache, "mantissa_bits": list(study.config.mantissa_bits)},
        tables=(tabulate(scored, num_bytes, ranks), tabulate_losses(losses)),
        charts=(draw(scored, num_bytes),),
        numbers={
            "bytes_a_map": num_bytes,
            "rank_correlations": ranks,
            "smallest_not_worse_on_validation": smallest.title,
            "losses": {
                reading: {title: {split: d.describe() for split, d in by.items()} for title, by in by_title.items()}
                for reading, by_title in losses.items()
            },
            "readings": summarize(named),
        },
    )


Losses = Mapping[str, Mapping[str, Mapping[str, Means]]]
"""Reading → title of a precision → split → mean AP over the image sources less that of float32."""


def measure_bytes(cache: Path, data: Path) -> float:
    """Bytes of a cache's stores over the number of images in them."""
    opened = open_cache(cache)
    rows = sum(entry.num_rows for entry in Dataset.open(data).tars)
    return sum(opened.path(name).stat().st_size for name in opened.shards()) / rows


def is_as_good(losses: Losses, title: str, split: str = "validation") -> bool:
    """Whether a precision is told to be worse than float32 by none of the readings."""
    return all(judge(by_title[title][split]) >= 0 for by_title in losses.values())


def find_smallest(precisions: Iterable[Precision], losses: Losses) -> Precision:
    """The precision with the fewest stored bits that, as all with more, is not told to be worse on validation."""
    full, *others = precisions
    smallest = full
    for each in others:
        if each.bits is None:
            continue
        if not is_as_good(losses, each.title):
            break
        smallest = each
    return smallest


def sum_up(precisions: Iterable[Precision], losses: Losses) -> str:
    """What is worse than float32, in a line."""
    worse = [each.title for each in [*precisions][1:] if not is_as_good(losses, each.title)]
    if worse:
        return f"Told to be worse than float32 on validation: {', '.join(worse)}."
    return "No precision that was tried is told to be worse than float32 on validation."


def describe(
    precisions: Iterable[Precision], losses: Losses, smallest: Precision, num_bytes: Mapping[str, float]
) -> str:
    """The finding: what is worse than float32, whether the default agrees, and what fewer bits would save."""
    full, *others = precisions
    by_bits = {each.bits: each for each in others}
    default, bfloat = by_bits[ALL_BITS], by_bits[None]
    head = sum_up(precisions, losses)
    sizes = f"{num_bytes[smallest.title]:,.0f} bytes a map against {num_bytes[full.title]:,.0f} of float32"
    if smallest == full:
        choice = f"Maps have to be stored as float32; the default, {default.title}, does not agree."
    elif smallest == default:
        choice = f"The smallest that is as good is the default, {default.title}: {sizes}."
    else:
        choice = (
            f"The smallest that is as good, as are all with more bits, is {smallest.title}: {sizes}. The default, "
            f"{default.title}, is as good too, and has {num_bytes[default.title]:,.0f}."
        )
    tests = "; ".join(
        f"{TITLES[reading]} {describe_difference(by_title[smallest.title]['test'])}"
        for reading, by_title in losses.items()
        if smallest != full
    )
    test = f" On the test images its AP less that of float32: {tests}." if tests else ""
    models = "; ".join(
        f"{TITLES[reading]} {describe_difference(by_title[bfloat.title]['test'])}"
        for reading, by_title in losses.items()
    )
    return f"{head} {choice}{test} AP with bfloat16 models less that with float32 ones, test: {models}."


def tabulate(
    scored: Mapping[str, Mapping[str, Scored]], num_bytes: Mapping[str, float], ranks: Mapping[str, float]
) -> Table:
    """Size, rank correlation and AP of every precision."""
    heads = [f"AP of {TITLES[reading]}, {split}" for reading in scored for split in SPLITS]
    rows = []
    for title, size in num_bytes.items():
        values = [cell for by_title in scored.values() for cell in value_cells(by_title[title], METRIC)]
        rows.append((title, round(size), ranks[title], *values))
    return Table(
        "Precisions: size and mean AP over the image sources",
        ("", "bytes a map", "rank correlation of the mean with float32", *heads),
        tuple(rows),
        "Rank correlation: Spearman, over all test images. AP: 95 % interval by group, ± sd over seeds.",
    )


def tabulate_losses(losses: Losses) -> Table:
    """Differences to float32."""
    return Table(
        "AP less that of float32",
        ("", *(f"{TITLES[reading]}, {split}" for reading in losses for split in SPLITS)),
        tuple(
            (title, *(describe_difference(by_title[title][split]) for by_title in losses.values() for split in SPLITS))
            for title in next(iter(losses.values()))
        ),
        f"Mean over the image sources, paired; 95 % interval by group. {RULE}",
    )


def draw(scored: Mapping[str, Mapping[str, Scored]], num_bytes: Mapping[str, float]) -> Chart:
    """AP over bytes, a point a precision."""
    curves = []
    for reading, by_title in scored.items():
        values = [each.test[MEAN][METRIC].mean for each in by_title.values()]
        curves.append(Curve(TITLES[reading], tuple(num_bytes.values()), tuple(values), labels=tuple(by_title)))
    return Chart("AP against size", "bytes a map", "AP, mean over the image sources", tuple(curves), lines=False)
