"""What stage 1 loses where it is made cheaper: AUROC against milliseconds on one core, and against operations."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import yaml

from experiments.answers.answer import Answer, Chart, Curve, Table, capitalize
from experiments.cheap.settings import Candidate, choose_candidates, make_cache
from experiments.cheap.timing import Milliseconds, make_work, measure_in_turns, one_thread
from experiments.study.comparisons import MEAN, RULE, describe_difference, describe_value, judge, side_of
from experiments.study.over_sources import Means
from experiments.study.settings import METRICS, SPLITS, TITLES, Scored, score, subtract_means, summarize, value_cells
from experiments.study.some_images import narrow
from experiments.study.stage_1 import count_giga_macs
from experiments.study.study import VARIANTS, Study, run_name
from extract.models.stable_diffusion import Diffusion, load_scheduler

READINGS = ("mean_lare", "map_only")
LIMITS = (
    "Milliseconds are those of one core of the machine that ran this command, of the models alone: files are read and "
    "decoded beside that, and the text encoder reads one prompt for all images. What else the machine did meanwhile is "
    "in them. A smaller canvas also makes the detector's maps smaller, and another autoencoder or UNet is another "
    "detector: it is trained anew here, by the same recipe, and cannot be exchanged for the default one afterwards. "
    "Few validation images let much pass."
)
Gains = Mapping[str, Mapping[str, Mapping[str, Means]]]
"""Reading → setting → split → mean AUROC over the image sources less that of the default."""
Times = Mapping[int, Mapping[str, Milliseconds]]
"""Images at a time → setting → time an image."""


def answer(study: Study) -> Answer:
    """What do cheaper settings of stage 1 lose, and how fast are they on one core? Makes their caches first."""
    study = narrow(study)
    candidates, left_out = choose_candidates(study)
    for candidate in candidates:
        make_cache(study, candidate)
    default = candidates[0].setting.title
    scored = {reading: score_all(study, reading, candidates) for reading in READINGS}
    gains = {
        reading: {title: subtract_means(each, by[default]) for title, each in by.items() if title != default}
        for reading, by in scored.items()
    }
    times = measure(candidates)
    costs = {title: each.median for title, each in times[max(times)].items()}
    chosen = {reading: choose(by, costs, default) for reading, by in gains.items()}
    giga_macs = {each.setting.title: count_giga_macs(each.config) for each in candidates}
    return Answer(
        name="cheap",
        question="What do cheaper settings of stage 1 lose, and how fast are they on one core?",
        headline=sum_up(chosen, costs, default),
        finding=describe(scored, gains, chosen, times, left_out),
        limits=LIMITS,
        command=study.command("cheap"),
        settings={
            **study.describe(),
            "max_images": study.config.max_images,
            "timestep": study.config.timestep,
            "default": default,
            "weights": {each.setting.title: describe_weights(each) for each in candidates},
        },
        tables=(tabulate(scored, times, giga_macs), tabulate_gains(gains, default)),
        charts=tuple(draw(reading, by, costs, max(times)) for reading, by in scored.items()),
        numbers={
            "giga_macs": giga_macs,
            "milliseconds": {size: {title: asdict(t) for title, t in by.items()} for size, by in times.items()},
            "chosen_on_validation": chosen,
            "left_out": left_out,
            "readings": summarize(
                {f"{TITLES[reading]}, {title}": each for reading, by in scored.items() for title, each in by.items()}
            ),
        },
    )


def describe_weights(candidate: Candidate) -> str:
    """Which UNet and autoencoder it is, by the beginnings of their hashes."""
    parts = {"UNet": candidate.folder.unet, "autoencoder": candidate.folder.vae}
    return ", ".join(f"{name} {part.sha256[:8]}" for name, part in parts.items() if part)


def score_all(study: Study, reading: str, candidates: Sequence[Candidate]) -> dict[str, Scored]:
    """Setting → a reading of its cache. A detector sees the same part of a smaller canvas as of the default one."""
    default = candidates[0]
    scored = {default.setting.title: score(study, default.cache, reading)}
    for candidate in candidates[1:]:
        arguments: tuple[str, ...] = ()
        if reading in VARIANTS and candidate.setting.is_half:
            trained = study.fit(run_name(reading, default.cache), study.cache(default.cache), variant=reading)
            arguments = halve_crop(trained[0])
        scored[candidate.setting.title] = score(study, candidate.cache, reading, arguments)
    return scored


def halve_crop(run: Path) -> tuple[str, ...]:
    """The argument for boxes of half the side of a trained detector's; none where they are not of the canvas.

    Args:
        run: Folder of that detector.
    """
    data = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["data"]
    return (f"--data.crop_px={data['crop_px'] // 2}",) if data["view"] == "canvas" else ()


def measure(candidates: Sequence[Candidate]) -> dict[int, dict[str, Milliseconds]]:
    """Images at a time, one and a batch of the study's → setting → time an image. Each model is loaded once."""
    loaded: dict[tuple[str, str | None], Diffusion] = {}
    times = {}
    with one_thread():
        for each in candidates:
            config = each.config
            if (config.model, config.vae) not in loaded:
                scheduler, device = load_scheduler(each.folder, [config.timestep]), torch.device("cpu")
                loaded[config.model, config.vae] = Diffusion(
                    each.folder, scheduler, config.compute_dtype, device, config.channels_last
                )
        for size in sorted({1, candidates[0].config.batch_size}):
            works = {
                each.setting.title: make_work(each.config, loaded[each.config.model, each.config.vae], size)
                for each in candidates
            }
            times[size] = measure_in_turns(works, size)
    return times


def find_front(costs: Mapping[str, float], values: Mapping[str, float]) -> list[str]:
    """The names that no other is both as cheap and as good as, by rising cost (Pareto).

    Args:
        costs: Lower is better.
        values: Higher is better, of the same names.
    """
    front: list[str] = []
    for name in sorted(costs, key=lambda name: (costs[name], -values[name])):
        if not front or values[name] > values[front[-1]]:
            front.append(name)
    return front


def choose(gains: Mapping[str, Mapping[str, Means]], costs: Mapping[str, float], default: str) -> str:
    """The cheapest setting that validation does not tell to be worse than the default."""
    passed = [default, *(title for title, by_split in gains.items() if judge(by_split["validation"]) >= 0)]
    return min(passed, key=lambda title: costs[title])


def sum_up(chosen: Mapping[str, str], costs: Mapping[str, float], default: str) -> str:
    """The finding in a line."""
    texts = [
        f"“{title}” for {TITLES[r]} ({costs[default] / costs[title]:.1f} times as fast)" for r, title in chosen.items()
    ]
    return f"Cheapest setting that validation does not tell to be worse: {'; '.join(texts)}."


def describe(
    scored: Mapping[str, Mapping[str, Scored]],
    gains: Gains,
    chosen: Mapping[str, str],
    times: Times,
    left_out: Mapping[str, str],
) -> str:
    """The finding: what was not tried, what is lost, and the cheapest setting that validation lets pass."""
    reasons: dict[str, list[str]] = {}
    for title, reason in left_out.items():
        reasons.setdefault(reason, []).append(f"“{title}”")
    parts = [f"Not tried, as {reason}: {', '.join(titles)}." for reason, titles in reasons.items()]
    for reading, by_title in gains.items():
        default = next(iter(scored[reading].values())).test[MEAN]["auroc"]
        parts.append(_describe_losses(reading, by_title, default))
    parts.append("All by the mean AUROC over the image sources on the test, against the default setting.")
    size = max(times)
    for reading, title in chosen.items():
        parts.append(_describe_choice(reading, title, scored[reading], gains[reading].get(title), times[size], size))
    return "\n".join(parts)


def _describe_losses(reading: str, gains: Mapping[str, Mapping[str, Means]], default: Means) -> str:
    doubt = ""
    if not side_of(default.interval, 0.5):
        doubt = (
            f" The default setting itself is not told from chance, {describe_value(default)}: there is little to lose."
        )
    parts = [f"{capitalize(TITLES[reading])}:"]
    for verdict, head in {-1: "worse", 0: "not told apart", 1: "better"}.items():
        found = [
            f"“{title}”" + (f" {describe_difference(by_split['test'])}" if verdict else "")
            for title, by_split in gains.items()
            if judge(by_split["test"]) == verdict
        ]
        if found:
            parts.append(f"{head} {', '.join(found)};")
    return f"{' '.join(parts).removesuffix(';')}.{doubt}"


def _describe_choice(
    reading: str,
    title: str,
    scored: Mapping[str, Scored],
    gain: Mapping[str, Means] | None,
    times: Mapping[str, Milliseconds],
    size: int,
) -> str:
    default = next(iter(scored))
    if gain is None:
        return f"No cheaper setting passes on validation for {TITLES[reading]}: the default “{default}” stays."
    ratio = times[default].median / times[title].median
    return (
        f"Cheapest of those that validation does not tell to be worse for {TITLES[reading]}: “{title}”, "
        f"{times[title].median:.3g} instead of {times[default].median:.3g} ms an image on one core ({ratio:.1f} times "
        f"as fast, {size} images at a time); test AUROC {describe_value(scored[title].test[MEAN]['auroc'])}, "
        f"{describe_difference(gain['test'])} against the default."
    )


def tabulate(scored: Mapping[str, Mapping[str, Scored]], times: Times, giga_macs: Mapping[str, float]) -> Table:
    """Cost and accuracy of every setting."""
    rows = []
    for title, cost in giga_macs.items():
        values = [cell for by in scored.values() for metric in METRICS for cell in value_cells(by[title], metric)]
        rows.append((title, cost, *(str(by[title]) for by in times.values()), *values))
    heads = [f"{name}, {TITLES[r]}, {split}" for r in scored for name in METRICS.values() for split in SPLITS]
    return Table(
        "Settings of stage 1: cost and accuracy",
        ("", "GMAC an image", *(f"ms an image, {size} at a time" for size in times), *heads),
        tuple(rows),
        "ms: one core, median of rounds in which all settings took turns, in brackets the fastest and the slowest. "
        "Mean over the image sources; 95 % interval by group, ± standard deviation over seeds.",
    )


def tabulate_gains(gains: Gains, default: str) -> Table:
    """Differences to the default setting."""
    return Table(
        f"AUROC less that of “{default}”",
        ("", *(f"{TITLES[reading]}, {split}" for reading in gains for split in SPLITS)),
        tuple(
            (title, *(describe_difference(by[title][split]) for by in gains.values() for split in SPLITS))
            for title in next(iter(gains.values()))
        ),
        f"Mean over the image sources, paired; 95 % interval by group. {RULE}",
    )


def draw(reading: str, scored: Mapping[str, Scored], costs: Mapping[str, float], size: int) -> Chart:
    """Test AUROC over time; the line joins what no setting beats in both on validation."""
    front = find_front(costs, {title: each.validation[MEAN]["auroc"].mean for title, each in scored.items()})

    def curve(name: str, titles: Sequence[str]) -> Curve:
        aurocs = [scored[title].test[MEAN]["auroc"].mean for title in titles]
        # Three digits are what is measured, and what fits at an axis.
        return Curve(name, tuple(float(f"{costs[t]:.3g}") for t in titles), tuple(aurocs), labels=tuple(titles))

    curves = (curve("front on validation", front), *(curve(title, [title]) for title in scored if title not in front))
    x_label = f"ms an image on one core ({size} at a time)"
    return Chart(f"{TITLES[reading]}: AUROC against time", x_label, "AUROC on test", curves, log_x=True, reference=0.5)
