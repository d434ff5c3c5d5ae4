"""`lare detect`: pictures in, answers out."""

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detect.files.config import STDIN, DetectConfig
from detect.files.journal import check_order
from detect.files.maps import MapFolder
from detect.files.names import escape_name
from detect.files.results import FileResults, Results, check_out, open_results
from detect.files.rows import make_row
from detect.files.sources import Sources
from detect.files.terminal import Terminal, loading
from detect.picture import Picture

if TYPE_CHECKING:
    from detect.detector import Detector

EXIT_DONE, EXIT_SOME_UNREADABLE = 0, 3


def run(config: DetectConfig) -> int:
    """Give verdicts on files, folders and tars.

    Returns:
        Exit status: 0; 3 if some pictures could not be read, which their answers say.

    Raises:
        OSError: If a path is not there, or the answers cannot be written.
        ValueError: If there are no pictures, or what a stopped run has left does not fit.
    """
    sources = Sources(config.files, config.files_from)
    check_out(config.out, replace=config.overwrite)
    maps = _open_maps(config.maps, sources) if config.maps is not None else None
    with loading(config.detector):
        detector = load_detector(config)
    settings = _settings(config, detector.description.identity)
    terminal = Terminal(sources.num_pictures, is_one_picture=sources.is_one_picture, shows_lines=config.out is None)
    with open_results(config.out, settings, replace=config.overwrite) as results, terminal:
        try:
            _answer_all(detector, sources, results, maps, terminal)
        except (KeyboardInterrupt, SystemExit):
            terminal.tell_stop(config.out if isinstance(results, FileResults) else None)
            raise
        if terminal.num == 0:
            raise ValueError(f"no pictures were found. Not asked about: {sources.skipped or 'nothing'}")
        results.finish()
    terminal.tell_end(sources.skipped, None if config.out == STDIN else config.out)
    return EXIT_SOME_UNREADABLE if terminal.num_unreadable else EXIT_DONE


def load_detector(config: DetectConfig) -> "Detector":
    """The detector that the settings name."""
    return config.load(explain=config.explain)


def _open_maps(folder: str, sources: Sources) -> MapFolder:
    """The folder of maps; their figures must not be found as pictures that are asked about."""
    place = Path(folder).resolve()
    for word in sources.folders:
        if place.is_relative_to(Path(word).resolve()):
            raise ValueError(
                f"--maps is {folder}, which lies in {word}, whose pictures are asked about: choose another"
            )
    return MapFolder(Path(folder))


def _settings(config: DetectConfig, identity: str) -> dict[str, Any]:
    """What rows and maps depend on, besides the pictures."""
    names = ("false_alarm_rate", "strict", "compute_dtype", "maps", "explain")
    return {"detector": identity, **{name: getattr(config, name) for name in names}}


def _answer_all(
    detector: "Detector", sources: Sources, results: Results, maps: MapFolder | None, terminal: Terminal
) -> None:
    asked: deque[Picture] = deque()  # as long as the detector reads ahead

    def ask() -> Iterator[Picture]:
        for picture in _unanswered(sources, results, terminal):
            asked.append(picture)
            yield picture

    pairs = ((asked.popleft(), answer) for answer in detector.stream(ask()))
    for answer, map_path in maps.write_all(pairs) if maps is not None else ((answer, None) for _, answer in pairs):
        row = make_row(answer, detector.description.identity)
        results.write(row)  # after its map: what has a row is done
        terminal.show(answer, row, map_path)


def _unanswered(sources: Sources, results: Results, terminal: Terminal) -> Iterator[Picture]:
    """The pictures behind those that a stopped run has answered, whose names must be the same in the same order."""
    kept = results.kept()
    for picture in sources:
        row = next(kept, None)
        if row is None:
            yield picture
        else:
            check_order(row, escape_name(picture.name), terminal.num_kept + 1)
            terminal.keep(row)
    left = next(kept, None)
    if left is not None:
        check_order(left, None, terminal.num_kept + 1)
