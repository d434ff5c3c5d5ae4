"""The demo from photographs to report: `python -m demo run`. Both stages run by the commands that anyone uses."""

import json
import shlex
import sys
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from demo.images import MODELS, check_model, hash_inputs, model_parts
from demo.places import DETECTOR, PICTURES, VERDICTS
from demo.report.summary import three_sentences
from demo.report.table import format_auroc
from demo.toy.config import SourceConfig
from demo.toy.photos import TABLE
from workflow.code_hash import ROOT, hash_code
from workflow.console import Console
from workflow.stages import Stages
from workflow.steps import hash_files
from workflow.workers import Workers

__all__ = ["IMAGE_CODE", "MODELS", "Demo", "DemoConfig", "check_model", "model_parts", "run"]

CONFIGS = Path(__file__).with_name("configs")
IMAGE_CODE = ("demo.toy.photos", "demo.toy.sources", "demo.toy.loading")
"""What decides the images besides settings and models."""
LIBRARIES = (
    *("demo.toy.sources", "extract.run.job", "extract.engines.launch", "train.commands.lightning"),
    *("train.commands.scoring", "train.commands.readings", "train.export", "detect.detector", "demo.report.report"),
)
"""What the steps' commands import."""
ASKED = "full"
"""The detector that is exported and asked."""
KINDS = ("full", "map_only", "permuted_maps", "constant_map")
"""Detectors that are trained: "image_only" is in the toy benchmark, as it differs in architecture too."""
NUM_JOBS = 2
"""Detectors that are trained at once: with one at a time half of a core waits."""
STEPS = {
    "libraries": "load the libraries",
    "data": "photographs and generated images",
    "maps": "LaRE maps",
    "readings": "readings without a detector",
    **{f"detector-{name}": f"train the detector: {name.replace('_', ' ')}" for name in KINDS},
    **{f"predict-{name}": f"score the test: {name.replace('_', ' ')}" for name in KINDS},
    "results": "metrics",
    "export": "export the detector",
    "verdicts": "verdicts on six test pictures",
    "report": "page",
}
"""Step → how a person reads it."""
EXIT_SIGINT = 130
IN_CHECKOUT = (ROOT / "Makefile").is_file()
"""Whether there is a make to type, and not only `lare`."""


@dataclass(frozen=True)
class DemoConfig:
    """The whole demo: photo tiles, images of two toy models, LaRE maps, detectors, results and report."""

    out: Path = Path("runs/demo")
    """Folder that everything is written to. Steps that are done there already are skipped."""
    model: Path = MODELS / "toy-a"
    """Diffusers folder of the toy model that detectors are trained on and that all maps come from."""
    model_b: Path = MODELS / "toy-b"
    """Diffusers folder of the toy model whose images are in the test only."""
    photos: Path = TABLE
    """Table of photographs."""
    sources: SourceConfig = field(default_factory=SourceConfig)
    """How the images are made."""
    overrides: tuple[str, ...] = ()
    """More arguments of `python -m train fit`, for example --trainer.max_epochs=1."""

    def __post_init__(self) -> None:
        """Check what would fail only after minutes."""
        check_model("model", self.model)
        check_model("model_b", self.model_b)


class Demo:
    """One run.

    Args:
        config: Its settings.
        console: Shows the steps.
        workers: Run their commands.
    """

    def __init__(self, config: DemoConfig, console: Console, workers: Workers) -> None:
        """Choose the places of everything."""
        self.config, self.console, self.workers = config, console, workers
        self.data, self.cache, self.report = (config.out / name for name in ("data", "cache", "report.html"))
        self.stages = Stages(
            config.out,
            self.data,
            self.cache,
            configs=CONFIGS,
            overrides=config.overrides,
            kinds=KINDS,
            num_jobs=NUM_JOBS,
            run=workers.run,
            show=console,
        )

    def run(self) -> dict[str, Any]:
        """Do all steps, and return the content of results.json."""
        with self.console.step("libraries"):
            self.workers.start()
        signature = self.make_data()
        signature = self.stages.make_maps(self.config.model, signature)
        self.stages.make_readings(signature)
        self.stages.make_detectors(signature)
        self.stages.evaluate()
        self.make_verdicts(signature)
        with self.console.step("report"):
            self.workers.run("demo", "report", f"--out={self.config.out}")
        return json.loads(self.stages.results.read_text(encoding="utf-8"))  # type: ignore[no-any-return]

    def make_verdicts(self, after: str) -> None:
        """The detector as a folder, and what it says of six test pictures. Done anew whenever the metrics are."""
        out, config = self.config.out, self.config
        folder = out / DETECTOR
        checkpoint = self.stages.detectors / ASKED / "checkpoints" / "best.ckpt"
        arguments = (
            *(f"--ckpt={checkpoint}", f"--out={folder}", f"--data={self.data}", f"--cache={self.cache}"),
            *(f"--include_model={config.model}", f"--results={self.stages.results}", f"--reading={ASKED}"),
        )
        settings = [hash_files(self.stages.results, checkpoint), hash_code("train.export")]
        export = partial(self.workers.run, "train", "export", *arguments)
        after = self.stages.steps.run("export", [folder], settings, export, after=after)
        ask = partial(self.workers.run, "demo", "verdicts", f"--out={out}")
        outputs = [out / PICTURES, out / VERDICTS]
        self.stages.steps.run("verdicts", outputs, hash_code("demo.verdicts"), ask, after=after)

    def make_data(self) -> str:
        """Photo tiles and the images made from them, packed."""
        config = self.config
        sources = asdict(config.sources)
        settings = [sources, hash_inputs(config.photos, config.model, config.model_b), hash_code(*IMAGE_CODE)]
        places = {"out": self.data, "model": config.model, "model_b": config.model_b, "photos": config.photos}
        arguments = [f"--{name}={path}" for name, path in places.items()]
        # Lists as YAML reads them; a tuple's text is none.
        arguments += [f"--sources.{name}={json.dumps(value)}" for name, value in sources.items()]
        work = partial(self.workers.run, "demo", "images", *arguments)
        return self.stages.steps.run("data", [self.data], settings, work)


def run(config: DemoConfig) -> None:
    """Run both stages on real photographs with two toy diffusion models, and show the results."""
    try:
        with (
            Console(config.out / "log.txt", STEPS) as console,
            Workers(LIBRARIES, console.say, console.tell) as workers,
        ):
            results = Demo(config, console, workers).run()
    except KeyboardInterrupt:
        results = None
    if results is None:  # outside of the exception, which otherwise would be part of the next one
        sys.stderr.write(f"stopped by Ctrl-C; what is done stays, and this goes on from there: {again(config.out)}\n")
        raise SystemExit(EXIT_SIGINT)
    sys.stdout.write(describe(results, config.out))


def again(out: Path) -> str:
    """The command that a person types to run the demo into a folder."""
    default = out == DemoConfig.out
    if not IN_CHECKOUT:
        return "lare demo" + ("" if default else f" --out {shlex.quote(str(out))}")
    return "make demo" + ("" if default else f" OUT={shlex.quote(str(out))}")


def describe(results: dict[str, Any], out: Path) -> str:
    """What a person reads at the end: a table, three sentences, where everything is, and what to type next."""
    data, cache, page = (shlex.quote(str(out / name)) for name in ("data", "cache", "report.html"))
    status = f"make status DATA={data} CACHE={cache}" if IN_CHECKOUT else f"lare status --data {data} --cache {cache}"
    pack = "make shards SRC=FOLDER OUT=data" if IN_CHECKOUT else "lare pack --src FOLDER --out data"
    pictures, detector = (shlex.quote(str(out / name)) for name in (PICTURES, DETECTOR))
    ask, serve = f"lare detect {pictures} --detector {detector}", f"lare serve --detector {detector}"
    if IN_CHECKOUT:
        ask, serve = f"make detect IMG={pictures} DETECTOR={detector}", f"make serve DETECTOR={detector}"
    lines = [
        f"  ask about pictures         {ask}",
        f"  the same as a web page     {serve}",
        f"  see what is in the cache   {status}",
        f"  pack your own images       {pack}",
    ]
    text = "\n".join(three_sentences(results))
    return f"\n{format_auroc(results)}\n{text}\n\nOpen {page} in a browser. Next:\n" + "\n".join(lines) + "\n"
