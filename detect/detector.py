"""A detector with the diffusion model of its maps: pictures in, verdicts out, both stages on each."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cache_schema import ImageRejected, Status, check_least, stacked_shape
from detect.decide import Rule
from detect.domain import Domain
from detect.folder import DetectorFolder
from detect.judging import Judge
from detect.mapping import Item, count_threads, load_probes, prepare_batches
from detect.picture import Given, Picture
from detect.prepare import Prepared, prepare
from detect.scorers import ClassifierScorer, MeanScorer, Scorer
from detect.verdict import Answer, Note, Verdict
from extract import KnownHashes, LoadedProbe, Probe
from train import DetectorFile


class Detector:
    """Gives verdicts on pictures. `from_pretrained` makes one.

    Attributes:
        description: What the detector folder says.
        rule: From scores to verdicts.
        batch_size: Pictures that the networks see at once.
        num_threads: Threads that load and decode.
        probes: What makes its maps.
        scorer: What scores pictures and maps.
    """

    def __init__(
        self,
        description: DetectorFile,
        probes: Sequence[LoadedProbe],
        scorer: Scorer,
        rule: Rule,
        *,
        batch_size: int = 16,
        num_threads: int | None = None,
        explain: bool = False,
        notes: tuple[Note, ...] = (),
    ) -> None:
        """Put the parts together; arguments as of `from_pretrained`.

        Args:
            description: What the detector folder says.
            probes: What makes its maps.
            scorer: What scores them.
            rule: From scores to verdicts.
            batch_size: Pictures that the networks see at once.
            num_threads: Threads that load and decode.
            explain: Whether verdicts have the attention.
            notes: What every verdict says.
        """
        check_least("batch_size", batch_size, 1)
        check_least("num_threads", num_threads, 1)
        self.description, self.rule, self.batch_size = description, rule, batch_size
        self.num_threads = num_threads or count_threads()
        self.probes, self.scorer = [*probes], scorer
        self._judge = Judge(probes, scorer, rule, Domain(description.facts), notes, explain=explain)
        self._lock = threading.Lock()

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        model: str | Path | None = None,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        *,
        variant: str | None = None,
        revision: str | None = None,
        compute_dtype: str | None = None,
        false_alarm_rate: float = 0.01,
        strict: bool = False,
        verify: bool = False,
        batch_size: int = 16,
        num_threads: int | None = None,
        explain: bool = False,
    ) -> "Detector":
        """Load a detector folder and its diffusion model, with all checks before any weights.

        Args:
            folder: Folder of `lare export` or `lare calibrate`, or a hub id.
            model: Diffusers folder or hub id of the diffusion model; None: the one that the folder holds or names.
            device: Where the networks run; auto uses a GPU if there is one.
            variant: Of the diffusion model's weight files, "fp16".
            revision: Of a detector on the hub, a branch, tag or commit hash.
            compute_dtype: Number format of the diffusion model; None: as trained. Another one moves the maps a little,
                and every verdict says so.
            false_alarm_rate: Share of photographs that may be called generated.
            strict: Refuse a rate that the validation photographs do not support, instead of using the smallest one.
            verify: Read the diffusion model's weights in full, also if they were hashed here before.
            batch_size: Pictures that the networks see at once.
            num_threads: Threads that load and decode; None: as of `count_threads`.
            explain: Whether verdicts have the attention of the spatial refinement.

        Raises:
            ValueError: If folder or model cannot be found, a file is damaged, or a setting makes no sense.
            FingerprintMismatch: If the diffusion model is another one; the message has the fields that differ.
            FormatVersionError: If another version of the format wrote the folder.
        """
        found = DetectorFolder.open(folder, revision)
        description = found.description
        rule = Rule(description, false_alarm_rate)
        if strict:
            rule.check_strict()
        changes: dict[str, Any] = {"device": device, "batch_size": batch_size, "variant": variant}
        if compute_dtype is not None:
            changes["compute_dtype"] = compute_dtype
        known = KnownHashes(check=verify)
        probes = [
            Probe.prepare(probe.fields, found.find_model(n, model), known, **changes)
            for n, probe in enumerate(description.probes)
        ]
        _, *grid = _check_one_canvas(probes)
        if description.method == "classifier":
            canvas_px, device_used = probes[0].config.image_size, probes[0].model.device
            scorer: Scorer = ClassifierScorer.load(found.folder, description, canvas_px, grid[-1], device_used)
        else:
            scorer = MeanScorer.of(found.folder, description, (grid[0], grid[1]))
        return cls(
            description,
            load_probes(probes),
            scorer,
            rule,
            batch_size=batch_size,
            num_threads=num_threads,
            explain=explain,
            notes=(*_calibration_notes(description), *_dtype_notes(description, probes)),
        )

    def __call__(self, images: Given | Sequence[Given]) -> list[Verdict]:
        """Verdicts on pictures, in their order.

        Args:
            images: One or several: paths, bytes of files, Pillow images, or arrays (height, width, 3) of uint8.

        Raises:
            ImageRejected: If one cannot be used; `stream` goes on with the others.
            TypeError: If one is something else.
        """
        several = isinstance(images, Sequence) and not isinstance(images, str | bytes | bytearray | memoryview)
        given: Sequence[Any] = images if several else [images]  # type: ignore[assignment]
        return [_verdict_of(answer) for answer in self.stream([Picture.of(image) for image in given])]

    def lare(self, image: Given, sample_key: str | None = None) -> NDArray[np.float32]:
        """The error map of one picture as a cache would hold it, (channels, h, w), float32.

        Args:
            image: As of `__call__`.
            sample_key: Key of a packed dataset's sample, whose noise is then used.

        Raises:
            ImageRejected: If it cannot be used.
        """
        (answer,) = self.stream([Picture.of(image, sample_key=sample_key)])
        return _verdict_of(answer).lare

    def prepare(self, picture: Picture) -> Prepared | Answer:
        """Load, decode and resize a picture; an answer with an error where it cannot be used. Safe in any thread."""
        return prepare(picture, [loaded.probe for loaded in self.probes], self.scorer.keep)

    def judge(self, prepared: Sequence[Item]) -> list[Answer]:
        """Answers on prepared pictures, in their order, by the networks in one batch. One thread at a time computes."""
        with self._lock:
            return [answer for answers in self._judge.run(iter([[*prepared]])) for answer in answers]

    def stream(self, pictures: Iterable[Picture]) -> Iterator[Answer]:
        """Answers on any number of pictures, in their order and in constant memory.

        Pictures are loaded and decoded by threads, a few batches ahead of the networks.
        """
        with closing(prepare_batches(pictures, self.prepare, self.batch_size, self.num_threads)) as batches:
            for answers in self._judge.run(batches):
                yield from answers

    def describe(self) -> dict[str, Any]:
        """Facts about the detector as plain values, for people and for the web service."""
        content, probe = self.description.to_dict(), self.probes[0].probe
        photographs, band = content.pop("validation_photographs"), self.description.band
        calibration = self.description.calibration
        scaled = None
        if band is not None and calibration is not None:
            scaled = calibration.scale_values(band)
        return {
            **{name: content[name] for name in ("method", "caches", "view", "training_facts", "dataset_id")},
            **{name: content[name] for name in ("sources", "test", "versions")},
            "detector": self.description.identity,
            "num_validation_photographs": photographs["num_photographs"],
            "num_validation_groups": photographs["num_groups"],
            "false_alarm_rate": self.rule.rate,
            "false_alarm_rate_asked": self.rule.asked,
            "unsure_probabilities": scaled,
            "compute_dtype": probe.config.compute_dtype,
            "device": str(probe.model.device),
        }


def _check_one_canvas(probes: Sequence[Probe]) -> tuple[int, int, int]:
    """Channels, height and width of the stacked maps; a ValueError where they cannot be stacked."""
    sizes = {probe.config.image_size for probe in probes}
    if len(sizes) > 1:
        raise ValueError(f"the detector reads maps of several image sizes ({sorted(sizes)}), which cannot be stacked")
    return stacked_shape([probe.map_shape for probe in probes])


def _calibration_notes(description: DetectorFile) -> tuple[Note, ...]:
    if description.method != "classifier" or description.calibration is not None:
        return ()
    text = "Nothing was calibrated for this detector, as its training had no validation: it never says real."
    return (Note("not_calibrated", text),)


def _dtype_notes(description: DetectorFile, probes: Sequence[Probe]) -> tuple[Note, ...]:
    trained = [probe.fields.get("compute_dtype") for probe in description.probes]
    used = [probe.config.compute_dtype for probe in probes]
    if trained == used:
        return ()
    now, before = (" and ".join(dict.fromkeys(map(str, formats))) for formats in (used, trained))
    text = f"The diffusion model computes in {now}; the detector was trained on maps in {before}."
    return (Note("compute_dtype", text),)


def _verdict_of(answer: Answer) -> Verdict:
    if answer.verdict is None:
        name = f"{answer.name}: " if answer.name else ""
        raise ImageRejected(Status[answer.status.upper()], f"{name}{answer.error}")
    return answer.verdict
