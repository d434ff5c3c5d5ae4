"""`lare calibrate`: photographs in, a detector's folder out."""

import logging
import time
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from cache_schema import Fingerprint, is_path, new_folder
from detect.calibrate.config import CalibrateConfig
from detect.calibrate.describing import measure_facts, score_photographs
from detect.calibrate.measuring import Measured, measure_photographs
from detect.calibrate.photographs import PhotographSource
from detect.files.names import show_name, show_text
from detect.files.terminal import TELL_EVERY_SEC
from detect.mapping import count_threads
from detect.verdict import Answer
from extract import KnownHashes, Probe
from train import INCLUDED_MODEL, DetectorFile, DiffusionModelName, ProbeFile, copy_model, versions, write_card

EXIT_DONE, EXIT_SOME_UNREADABLE = 0, 3

logger = logging.getLogger(__name__)


def run(config: CalibrateConfig) -> int:
    """Measure photographs and write the detector, whole or not at all.

    Returns:
        Exit status: 0; 3 if some photographs could not be used, which the log names.

    Raises:
        OSError: If a path is not there, or the folder cannot be written.
        ValueError: If model or photographs cannot be used, or there are too few.
        CacheError: If a packed dataset is damaged.
    """
    source = PhotographSource(config.photos, config.group_by)
    probe = Probe.from_config(config.extraction, KnownHashes(check=config.verify))
    measured, num_rejected = _measure_all(config, source, probe)
    group_by = config.group_by if source.dataset_id is None else "dataset"
    photographs, detail = score_photographs(measured, config.score, group_by)
    description = DetectorFile(
        method="mean_lare",
        probes=(ProbeFile(Fingerprint(probe.fields).hexdigest, dict(probe.fields), _name_model(config)),),
        photographs=photographs,
        facts=measure_facts(measured),
        detail=None if detail is None else detail.to_dict(),
        dataset_id=source.dataset_id,
        versions=versions(),
    )
    folder = Path(config.out)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with new_folder(folder) as temporary:
        if config.include_model:
            copy_model(Path(config.model), temporary / INCLUDED_MODEL)
        description.write(temporary)
        card = write_card(description, has_model=config.include_model)
        (temporary / "README.md").write_text(card, encoding="utf-8")
    if detail is not None:
        logger.info(
            "regression on local detail: %d photographs of %d groups, R² %.2f",
            *(detail.num_photographs, detail.num_groups, detail.explained),
        )
    logger.info(
        "detector in %s: pictures are compared with %d photographs of %d groups, smallest false-alarm rate %.2f %%",
        *(folder, len(photographs.scores), photographs.num_groups, 100 * photographs.smallest_rate),
    )
    return EXIT_SOME_UNREADABLE if num_rejected else EXIT_DONE


def _measure_all(config: CalibrateConfig, source: PhotographSource, probe: Probe) -> tuple[list[Measured], int]:
    """Different photographs, in their order, and how many could not be used."""
    num_threads = count_threads() if config.num_workers is None else config.num_workers
    found: dict[str, Measured] = {}
    num_rejected, copies = 0, list[str]()
    logger.info("maps by %s on %s", show_name(config.model), probe.model.device)
    measuring = measure_photographs(probe.load(), source, config.batch_size, max(1, num_threads))
    for one in _with_progress(measuring, source.num_photographs):
        if isinstance(one, Answer):
            num_rejected += 1
            logger.warning("%s: %s", show_name(one.name), show_text(one.error))
        elif one.image.sha256 in found:
            copies.append(one.name)
        else:
            found[one.image.sha256] = one
    for skipped in filter(None, map(str, source.skipped)):
        logger.info("not used: %s", skipped)
    if copies:
        logger.info("copies of others, not counted: %d, such as %s", len(copies), show_name(copies[0]))
    logger.info("%d photographs measured, %d could not be used", len(found), num_rejected)
    return [*found.values()], num_rejected


def _with_progress(measuring: Iterator[Measured | Answer], num: int | None) -> Iterator[Measured | Answer]:
    """Show a bar on a terminal; elsewhere a line of the log twice a minute."""
    told = time.monotonic()
    with tqdm(measuring, total=num, unit="photo", disable=None) as bar:
        for n, one in enumerate(bar, 1):
            if bar.disable and time.monotonic() - told > TELL_EVERY_SEC:
                logger.info("%d photographs", n)
                told = time.monotonic()
            yield one


def _name_model(config: CalibrateConfig) -> DiffusionModelName:
    """Where others find the diffusion model: on the hub, or they have to name their own folder."""
    extraction = config.extraction
    on_hub = not is_path(config.model)
    has_vae = config.vae is not None and not is_path(config.vae)
    return DiffusionModelName(
        config.model if on_hub else None,
        extraction.pinned_revision if on_hub else None,
        config.vae if has_vae else None,
        config.vae_revision if has_vae else None,
    )
