"""How few bits of a map a detector needs, and whether the models may run in bfloat16."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr  # type: ignore[import-untyped]

from cache_schema import FULL_MANTISSA_BITS, Dataset, open_cache
from experiments.answers.answer import Answer, Chart, Curve, Table, capitalize
from experiments.answers.groups import describe_groups, describe_spread
from experiments.answers.readings import MEAN, SPLITS, TITLES, value_cells
from experiments.answers.rule import MARGIN, RULE, Comparison, Verdict, judge
from experiments.answers.telling import Numbers, Telling
from experiments.answers.verdicts import describe_difference, group_verdicts, join_names
from experiments.study.config import StudyConfig
from experiments.study.fits import Work, fit_each
from experiments.study.names import VARIANTS, cache_name
from experiments.study.settings import Scored, score, subtract_means, summarize
from experiments.study.study import Study

METRIC = "average_precision"
READINGS = ("mean_lare", "map_only")
ALL_BITS = FULL_MANTISSA_BITS["float16"]
"""Of the default: float16 with all its bits."""
FULL, BFLOAT = "float32", "float32 of bfloat16 models"
LIMITS = (
    "Rounding was tried at one timestep and one ensemble size. Bytes are the bytes of whole stores, with the images' "
    "keys and hashes, and depend on how well these maps compress. A difference that is not significant here may be "
    "with more images or seeds. bfloat16 is the arithmetic of the machine that made the cache."
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


def list_precisions(default: str, bits: Iterable[int], compute_dtype: str = "fp32") -> list[Precision]:
    """All that are compared: float32 first, float16 by falling bits, bfloat16 models last if the others are not.

    Args:
        default: Name of the cache of float32 maps.
        bits: Mantissa bits of float16 maps; the default, all of them, is always among them.
        compute_dtype: Of the models that made it.
    """
    rounded = [Precision(name_bits(b), f"{default}-float16-m{b}", b) for b in sorted({ALL_BITS, *bits}, reverse=True)]
    others = [Precision(BFLOAT, f"{default}-bf16")] if compute_dtype == "fp32" else []
    return [Precision(FULL, default), *rounded, *others]


def list_of(study: StudyConfig) -> list[Precision]:
    """All that a study compares."""
    default = cache_name(study.timestep, study.ensemble_size)
    return list_precisions(default, study.mantissa_bits, study.compute_dtype)


def name_bits(bits: int) -> str:
    """Title of float16 maps with so many mantissa bits."""
    return f"float16, {bits} bits"


def answer(study: Study) -> Answer:
    """How few bits a map may have, and whether the models may run in bfloat16. From caches alone."""
    precisions = list_of(study.config)
    folders = {each.title: study.cache(each.cache) for each in precisions}
    scored = {reading: {each.title: score(study, each.cache, reading) for each in precisions} for reading in READINGS}
    found, bits = numbers(study, folders, scored), list(study.config.mantissa_bits)
    return study.tell("precision", TELLING, found, cache=study.default_cache, mantissa_bits=bits)


def work(study: Study) -> Work:
    """What it trains."""
    precisions = list_of(study.config)
    return Work(fit_each([r for r in READINGS if r in VARIANTS], [each.cache for each in precisions]))


def numbers(study: Study, folders: Mapping[str, Path], scored: Mapping[str, Mapping[str, Scored]]) -> dict[str, Any]:
    """Sizes, rank correlations, differences to float32, and all scores.

    Args:
        study: Whose images they are.
        folders: Title of a precision → cache, float32 first, bfloat16 models last.
        scored: Reading → title → scores.
    """
    means = {title: -study.readings(folder)["mean_lare"].scores[0] for title, folder in folders.items()}
    losses = {
        reading: {title: subtract_means(each, by[FULL], METRIC) for title, each in by.items() if title != FULL}
        for reading, by in scored.items()
    }
    named = {name_setting(reading, title): each for reading, by in scored.items() for title, each in by.items()}
    return {
        "bytes_a_map": {title: measure_bytes(folder, study.config.data) for title, folder in folders.items()},
        "rank_correlations": {
            title: float(spearmanr(values, means[FULL]).statistic) for title, values in means.items()
        },
        "margin": study.config.margin,
        "losses": losses,
        "readings": summarize(named),
    }


def name_setting(reading: str, title: str) -> str:
    """Name of a reading of a precision in the numbers."""
    return f"{TITLES[reading]}, {title}"


def measure_bytes(cache: Path, data: Path) -> float:
    """Bytes of a cache's stores over the number of images in them."""
    opened = open_cache(cache)
    rows = sum(entry.num_rows for entry in Dataset.open(data).tars)
    return sum(opened.path(name).stat().st_size for name in opened.shards()) / rows


Key = tuple[str, str]
"""Of a comparison: reading, title of a precision."""


def compare(found: Numbers) -> dict[Key, Comparison]:
    """All comparisons that the answer makes: AP of each precision less AP of float32, on validation."""
    margin, known = float(found.get("margin", MARGIN)), found["readings"]["validation"]
    return {
        (reading, title): Comparison(
            by_split["validation"],
            aurocs=tuple(known[name_setting(reading, each)][MEAN]["auroc"] for each in (title, FULL)),  # type: ignore[arg-type]
            margin=margin,
        )
        for reading, by_title in found["losses"].items()
        for title, by_split in by_title.items()
    }


def find_smallest(judged: Mapping[Key, Verdict], reading: str) -> str:
    """The precision with the fewest stored bits that, as all with more, is as good as float32 on validation."""
    smallest = FULL
    for (name, title), verdict in judged.items():
        if name == reading and title != BFLOAT:
            if not verdict.is_as_good:
                break
            smallest = title
    return smallest


def headline(found: Numbers) -> str:
    """The smallest precision that each reading is shown to need, and whether bfloat16 models will do."""
    judged = judge(compare(found))
    texts = []
    for reading in found["losses"]:
        smallest, all_of = find_smallest(judged, reading), [judged[key] for key in judged if key[0] == reading]
        if set(all_of) == {Verdict.FEW_SEEDS}:
            texts.append(f"{TITLES[reading]}: {Verdict.FEW_SEEDS}")
        elif smallest == FULL:
            texts.append(f"{TITLES[reading]}: no stored precision is shown to be as good as float32")
        else:
            bfloat = judged.get((reading, BFLOAT))
            models = "" if bfloat is None else f", {BFLOAT} {'too' if bfloat.is_as_good else 'is not shown to be'}"
            texts.append(f"{TITLES[reading]}: {smallest} is as good as float32{models}")
    return f"{capitalize('; '.join(texts))}."


def finding(found: Numbers) -> str:
    """Each reading's verdicts on validation, what the fewest bits save, and the test figures."""
    losses, sizes, judged = found["losses"], found["bytes_a_map"], judge(compare(found))
    lines = [
        "AP of each precision against float32, on validation. Equally good is within "
        f"±{float(found.get('margin', MARGIN)):g}:"
    ]
    for reading in losses:
        verdicts = {title: verdict for (name, title), verdict in judged.items() if name == reading}
        for verdict, titles in group_verdicts(verdicts).items():
            lines.append(f"- {capitalize(TITLES[reading])}: {verdict}: {join_names(titles)}.")
    default = name_bits(ALL_BITS)
    shown = {}
    for reading in losses:
        smallest = find_smallest(judged, reading)
        if smallest != FULL:
            shown[reading] = smallest
            lines.append(
                f"- The fewest bits that are as good for {TITLES[reading]}: {smallest}, {sizes[smallest]:,.0f} bytes a "
                f"map. The default, {default}, has {sizes[default]:,.0f}, float32 {sizes[FULL]:,.0f}."
            )
    for reading, by_title in losses.items():
        for title in dict.fromkeys((shown.get(reading, default), BFLOAT)):
            if title in by_title:
                test = describe_difference(by_title[title]["test"])
                lines.append(f"- {capitalize(TITLES[reading])}, {title}: AP on the test less AP of float32 {test}.")
    return "\n".join(lines)


def tables(found: Numbers) -> Iterator[Table]:
    """Size, rank correlation and AP of every precision, and its difference to float32."""
    losses = found["losses"]
    yield Table(
        "Precisions: size and mean AP over the image sources",
        (
            *("precision", "bytes a map", "rank correlation of the mean with float32"),
            *(f"AP of {TITLES[reading]}, {split}" for reading in losses for split in SPLITS),
        ),
        tuple(
            (
                *(title, round(size), found["rank_correlations"][title]),
                *(cell for r in losses for cell in value_cells(found["readings"], name_setting(r, title), METRIC)),
            )
            for title, size in found["bytes_a_map"].items()
        ),
        "Rank correlation: Spearman, over all test images. AP: " + describe_spread(found["readings"]),
    )
    yield Table(
        "AP less AP of float32",
        ("precision", *(f"{TITLES[reading]}, {split}" for reading in losses for split in SPLITS)),
        tuple(
            (title, *(describe_difference(by_title[title][split]) for by_title in losses.values() for split in SPLITS))
            for title in next(iter(losses.values()))
        ),
        f"Mean over the image sources, paired. {_describe_pairs(losses)} {RULE}",
    )


def _describe_pairs(losses: Numbers) -> str:
    return describe_groups({s: [each[s] for by in losses.values() for each in by.values()] for s in SPLITS})


def charts(found: Numbers) -> Iterator[Chart]:
    """AP over bytes, a point a precision."""
    sizes, test = found["bytes_a_map"], found["readings"]["test"]
    curves = []
    for reading in found["losses"]:
        values = tuple(test[name_setting(reading, title)][MEAN][METRIC]["mean"] for title in sizes)
        curves.append(Curve(TITLES[reading], tuple(sizes.values()), values, labels=tuple(sizes)))
    yield Chart("AP against size", "bytes a map", "AP, mean over the image sources", tuple(curves), lines=False)


TELLING = Telling(
    "How few bits may a stored map have, and may the models run in bfloat16?", LIMITS, headline, finding, tables, charts
)
