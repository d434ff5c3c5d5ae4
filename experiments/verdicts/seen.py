"""What a detector says of the test images of a dataset, and of other files of some: every number that verdicts need."""

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cache_schema import Dataset, Sample, decode_image, new_opened
from detect import Answer, Detector, Note, Picture
from detect.decide import Rule
from detect.domain import CODES
from detect.folder import DetectorFolder
from detect.scorers import ClassifierScorer
from detect.verdict import VerdictName
from experiments.study.image_sets import read_samples
from experiments.verdicts.files import make_files
from extract import KnownHashes, Probe
from train import choose_by_hash

logger = logging.getLogger(__name__)

PACKED = "as packed"
"""The packed file with the noise of its sample key: its map is the one that a cache holds."""
BY_HASH = "as packed, noise by hash"
"""The packed file with the noise of its hash, as of a file that nobody knows."""
RESEEDED = "as packed, other seed"
"""The packed file with the noise of its sample key and of the next noise seed."""
BATCH_SIZE = 64
LOG_EVERY = 1000
SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in ("file", "key", "image_source", "group")),
        pa.field("label", pa.int8()),
        *(pa.field(name, pa.float64()) for name in ("score", "probability", "p_real")),
        pa.field("unlike", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class Seen:
    """What the detector said of one file.

    Attributes:
        file: `PACKED`, `BY_HASH`, `RESEEDED` or one of `files.FILES`.
        key: Of the image.
        image_source: Of the image.
        group: Of the image.
        label: 0 photograph, 1 generated, None for a control.
        score: Higher for generated; None where the file cannot be used.
        probability: As of `detect.Verdict`.
        p_real: As of `detect.Verdict`.
        unlike: Codes of the notes on how it is unlike the training images.
    """

    file: str
    key: str
    image_source: str
    group: str
    label: int | None
    score: float | None
    probability: float | None
    p_real: float | None
    unlike: tuple[str, ...] = ()

    def decide(self, rule: Rule, *, checks_domain: bool = True) -> VerdictName | None:
        """The verdict by a rule; None where the file cannot be used.

        Args:
            rule: Of the detector at some false-alarm rate.
            checks_domain: Whether it matters that the picture is unlike the training images.
        """
        if self.score is None:
            return None
        notes = tuple(Note(code, code) for code in self.unlike) if checks_domain else ()
        return rule.decide(self.score, notes).verdict


def see(data: Path, folder: Path, model: str, num_images: int) -> Iterator[Seen]:
    """Ask a detector about all test images, and about other files and other noise of some.

    Args:
        data: Dataset folder.
        folder: Detector folder.
        model: Diffusers folder or hub id of its maps' model.
        num_images: So many photographs and as many generated images, chosen by the hash of their keys.

    Raises:
        ValueError: If the test has no photographs or no generated images.
    """
    dataset = Dataset.open(data)
    rows = [row for row in dataset.table(["key", "split", "label"]).to_pylist() if row["split"] == "test"]
    keys = {label: [row["key"] for row in rows if row["label"] == label] for label in (0, 1)}
    if not all(keys.values()):
        raise ValueError(f"{data} has no photographs or no generated images in its test split: nothing can be measured")
    chosen = {each[i] for each in keys.values() for i in choose_by_hash(each, num_images)}
    detector = Detector.from_pretrained(folder, model, batch_size=BATCH_SIZE)
    yield from ask(detector, _files(read_samples(dataset, {row["key"] for row in rows}), chosen))
    del detector  # the next one has a diffusion model of its own
    other = load_reseeded(folder, model)
    yield from ask(other, ((RESEEDED, s, s.image, s.key) for s in read_samples(dataset, chosen)))


Question = tuple[str, Sample, bytes, str | None]
"""What a file is, the image, the file's bytes, and the key of its noise; None: its hash."""


def _files(samples: Iterable[Sample], chosen: Set[str]) -> Iterator[Question]:
    for sample in samples:
        yield PACKED, sample, sample.image, sample.key
        if sample.key in chosen:
            yield BY_HASH, sample, sample.image, None
            for name, data in make_files(decode_image(sample.image)):
                yield name, sample, data, None


def ask(detector: Detector, questions: Iterable[Question]) -> Iterator[Seen]:
    """The detector's answers, in the order of the questions and in constant memory."""
    waiting: deque[Question] = deque()

    def pictures() -> Iterator[Picture]:
        for question in questions:
            waiting.append(question)
            _, sample, data, key = question
            yield Picture.of(data, sample.key, key)

    for number, answer in enumerate(detector.stream(pictures()), 1):
        file, sample, *_ = waiting.popleft()
        yield _as_seen(file, sample, answer)
        if number % LOG_EVERY == 0:
            logger.info("%d files", number)


def _as_seen(file: str, sample: Sample, answer: Answer) -> Seen:
    about, verdict = sample.fields, answer.verdict
    image = (file, sample.key, about.image_source, about.group, about.label)
    if verdict is None:
        logger.warning("%s of %s cannot be used: %s", file, sample.key, answer.error)
        return Seen(*image, None, None, None)
    unlike = tuple(note.code for note in verdict.notes if note.code in CODES)
    return Seen(*image, verdict.score, verdict.probability, verdict.p_real, unlike)


def load_reseeded(folder: Path, model: str) -> Detector:
    """The detector with maps of the next noise seed, which it was not trained on."""
    found = DetectorFolder.open(folder)
    probes = []
    for n, trained in enumerate(found.description.probes):
        fields = {**trained.fields, "noise_seed": int(trained.fields["noise_seed"]) + 1}
        source = found.find_model(n, model)
        probes.append(Probe.prepare(fields, source, KnownHashes(), device="auto", batch_size=BATCH_SIZE))
    size, cells, device = probes[0].config.image_size, probes[0].map_shape[-1], probes[0].model.device
    scorer = ClassifierScorer.load(found.folder, found.description, size, cells, device)
    rule = Rule(found.description, 0.5)  # its verdicts are not read: `Seen.decide` has the rates that are asked
    return Detector(found.description, [probe.load() for probe in probes], scorer, rule, batch_size=BATCH_SIZE)


def save(seen: Iterable[Seen], path: Path) -> None:
    """Write a Parquet file, a row a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_opened(path) as file:
        pq.write_table(pa.Table.from_pylist([asdict(each) for each in seen], SCHEMA), file)


def load(path: Path) -> list[Seen]:
    """Read what `save` wrote."""
    names = [field.name for field in fields(Seen)]
    rows = pq.read_table(path, schema=SCHEMA).to_pylist()
    return [Seen(**{name: row[name] for name in names} | {"unlike": tuple(row["unlike"])}) for row in rows]


def of_file(seen: Sequence[Seen], file: str) -> dict[str, Seen]:
    """Key → what was said of one kind of file."""
    return {each.key: each for each in seen if each.file == file}
