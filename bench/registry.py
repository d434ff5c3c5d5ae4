"""The list of measures. Another one is a module with a function from `Context` to figures, and a line here."""

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.config import BenchConfig
from bench.measures.canvases import measure_canvas_codecs, measure_canvas_extraction, measure_canvas_loader
from bench.measures.detect import measure_detect, measure_detect_memory
from bench.measures.extraction import measure_sd15, measure_toy, measure_toy_cores
from bench.measures.feed import measure_feed
from bench.measures.loader import measure_loader
from bench.measures.map_bytes import measure_map_bytes
from bench.measures.memory import measure_memory
from bench.measures.operations import measure_operations
from bench.measures.precision import measure_precision
from bench.measures.reconstruction import measure_reconstruction
from bench.measures.storage import measure_storage
from bench.measures.workers import measure_worker_start
from bench.runner import Context, Figure

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measure:
    """Figures that come out of the same runs."""

    names: tuple[str, ...]
    """Each of them selects it."""
    run: Callable[[Context], list[Figure]]
    is_quick: bool = True
    needs_place: bool = False
    """Writes to object storage that the user names, so that only its name selects it."""


MEASURES = (
    Measure(("feed_rate",), measure_feed),
    Measure(("job_over_authors_toy", "job_over_models_toy", "fraction_of_peak_toy"), measure_toy),
    Measure(
        ("job_over_authors_toy_cores", "job_over_models_toy_cores", "fraction_of_peak_toy_cores"), measure_toy_cores
    ),
    Measure(("map_bytes_over_pt_f16", "map_bytes_over_pt_7bit"), measure_map_bytes),
    Measure(("loader_over_authors_w0", "loader_over_authors_w2"), measure_loader),
    Measure(("loader_over_authors_500px_w0", "loader.ours_canvases_w0"), measure_canvas_loader),
    Measure(("worker_start",), measure_worker_start),
    Measure(("canvas_bytes_over_raw", "canvas_codecs"), measure_canvas_codecs),
    Measure(("job_canvases_over_job_toy",), measure_canvas_extraction),
    Measure(("operations",), measure_operations),
    Measure(("precision",), measure_precision),
    Measure(("memory_20_over_2",), measure_memory),
    Measure(("detect_over_stages", "detect_over_models", "serve_over_detect"), measure_detect),
    Measure(("detect_memory",), measure_detect_memory),
    Measure(("job_over_authors_sd15", "job_over_models_sd15", "fraction_of_peak_sd15"), measure_sd15, is_quick=False),
    Measure(("reconstruction",), measure_reconstruction, is_quick=False),
    Measure(("extraction_bucket_over_disk", "epoch_bucket_cold_over_disk"), measure_storage, needs_place=True),
)


def select_measures(text: str) -> list[Measure]:
    """Measures by `quick`, `all`, or names with commas between.

    Raises:
        ValueError: If there is no such name.
    """
    if text in ("quick", "all"):
        offered = [measure for measure in MEASURES if not measure.needs_place]
        return [measure for measure in offered if measure.is_quick or text == "all"]
    wanted = {name.strip() for name in text.split(",")}
    known = [name for measure in MEASURES for name in measure.names]
    if unknown := wanted.difference(known):
        raise ValueError(f"measures names {', '.join(sorted(unknown))}: expected quick, all, or of {', '.join(known)}")
    return [measure for measure in MEASURES if wanted.intersection(measure.names)]


def run_measure(measure: Measure, config: BenchConfig) -> list[Figure]:
    """A measure's figures; its temporary data are removed."""
    logger.info("%s: %d runs a side", ", ".join(measure.names), config.runs)
    with _temporary_folder(config.out.parent) as folder:
        return measure.run(Context(config, folder))


@contextmanager
def _temporary_folder(parent: Path) -> Iterator[Path]:
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".bench-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
