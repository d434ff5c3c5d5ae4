"""The verbs of `lare`: what each does, where its settings are declared, and which command does the work."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from workflow.cli.source import Setting, read_settings
from workflow.code_hash import ROOT


@dataclass(frozen=True)
class Verb:
    """A verb, with all that help and the dialect of flags need to know before the work is loaded."""

    summary: str
    """What it does, in a line."""
    command: tuple[str, ...]
    """Package whose `__main__.main` does the work, and the arguments that come first: ("extract", "run")."""
    settings: tuple[tuple[str, str], ...]
    """Prefix of the names, and place of the declarations, as `read_settings` takes them."""
    often: tuple[str, ...] = ()
    """Settings that most people set, besides those that are required."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Short name → name of the setting."""
    more: tuple[Setting, ...] = ()
    """Settings that no source declares."""
    has_config: bool = True
    """Whether it takes --config."""
    is_open: bool = False
    """Whether settings have settings of their own below the second dot, which only the work knows."""
    example: str = ""
    """Flags of a typical call."""
    words: str = ""
    """Setting whose values stand without a flag, any number of them."""

    @cached_property
    def known(self) -> dict[str, Setting]:
        """Name → setting; of two declarations the later one."""
        found: dict[str, Setting] = {}
        for prefix, place in self.settings:
            package, _, inner = place.partition("/")
            root = _installed(package) if inner else ROOT
            found |= {setting.name: setting for setting in read_settings(inner or place, prefix, root)}
        if self.words:
            found[self.words] = replace(found[self.words], is_positional=True)
        return found | {setting.name: setting for setting in self.more}

    @property
    def needs_checkout(self) -> bool:
        """Whether the work is in a package that is not installed with the others."""
        return self.command[0] in ("bench", "experiments")


def _installed(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise LookupError(f"{package} is not installed")
    return Path(spec.submodule_search_locations[0])


_TRAINER = "lightning/pytorch.trainer.trainer:Trainer"
_FIT_SETTINGS = (
    ("data.", "train.data.datamodule:LareDataModule"),
    ("model.", "train.model:LareClassifier"),
    ("model.", "train.task:LareTask"),
    ("trainer.", _TRAINER),
    ("predictions.", "train.commands.prediction_writer:PredictionWriter"),
)
_FIT_ALIASES = {
    "data": "data.data",
    "cache": "data.cache",
    "canvases": "data.canvases",
    "ckpt": "ckpt_path",
    "seed": "seed_everything",
}
_FIT_MORE = (
    Setting("out", "str", "runs/train", "Folder that everything is written to."),
    Setting("seed_everything", "int | bool", "0", "Seed of weights, order, boxes and flips."),
    Setting("ckpt_path", "str | None", None, "Checkpoint: fit goes on from it, predict scores with it."),
    Setting("weights_only", "bool | None", None, "Read nothing but tensors and plain values from the checkpoint."),
    Setting("print_config", "str", None, "Print all settings as YAML, and end.", is_switch=True),
    *(Setting(group, "Any", None, "YAML file of these settings.") for group in ("trainer", "model", "predictions")),
)
_PREDICT_MORE = (
    *_FIT_MORE,
    Setting("return_predictions", "bool", "false", "Keep the predictions in memory too."),
)
_SCORING = "train.commands.scoring"
_PREDICTIONS = ("", f"{_SCORING}:_add_named_files")
_CACHE_COMMANDS = "cache_schema.__main__"
_RUN_OFTEN = ("model", "shard", "timestep", "ensemble_size", "image_size", "compute_dtype", "batch_size", "device")
_SEED = {"seed": "noise_seed"}


def _cache_command(summary: str, name: str, example: str) -> Verb:
    return Verb(
        summary,
        ("cache_schema", name),
        (("", f"{_CACHE_COMMANDS}:add_{name}"),),
        has_config=False,
        example=example,
    )


VERBS: dict[str, Verb] = {
    "pack": Verb(
        "Pack photographs and generated images into tars with an index.",
        ("extract", "pack"),
        (("", "extract.packing.pack:PackConfig"),),
        ("layout", "match", "subset", "seed", "append"),
        example="--src PHOTOS --out DATA",
    ),
    "prefetch": Verb(
        "Fetch every model that settings name, for nodes without internet.",
        ("workflow.prefetch",),
        (("", "workflow.prefetch.__main__:add_arguments"),),
        example="--config sd15 --config lare2",
    ),
    "extract": Verb(
        "Write the LaRE map of every image of some tars into a cache.",
        ("extract", "run"),
        (("", "extract.config:ExtractConfig"),),
        (*_RUN_OFTEN, "overwrite"),
        _SEED,
        example="--config sd15 --data DATA --cache CACHE --shard 0-31",
    ),
    "canvases": Verb(
        "Write the canvas of every image into a cache, without any model.",
        ("extract", "canvases"),
        (("", "extract.canvas_config:CanvasConfig"),),
        ("image_size", "shard", "num_workers", "overwrite"),
        example="--data DATA --cache CANVASES",
    ),
    "launch": Verb(
        "Extract by many tasks: SLURM jobs, or one process a device.",
        ("extract", "launch"),
        (("", "extract.engines.config:LaunchConfig"),),
        ("engine", "dry_run", "partition", "account", "time_limit", "concurrency", *_RUN_OFTEN),
        _SEED,
        example="--config sd15 --data DATA --cache CACHE --engine local",
    ),
    "status": _cache_command("Tell what is done, missing, stale and rejected.", "status", "--data DATA --cache CACHE"),
    "watch": Verb(
        "Show the tasks that fill a cache, again every few seconds.",
        ("extract", "watch"),
        (("", "extract.engines.watch:WatchConfig"),),
        ("data",),
        example="--cache CACHE --data DATA",
    ),
    "verify": _cache_command("Check checksums; join every row with its tar.", "verify", "--data DATA --cache CACHE"),
    "info": _cache_command("Tell what is in a dataset, a cache or a store.", "info", "DATA"),
    "derive": _cache_command(
        "Make a smaller cache, of fewer bits a value, from a float32 one.", "derive", "--cache CACHE --out SMALLER"
    ),
    "import-maps": Verb(
        "Take maps that the LaRE² authors' scripts made into a cache.",
        ("extract", "import-maps"),
        (("", "extract.authors.import_maps:ImportConfig"),),
        example="--data DATA --maps MAPS --annotation ann.txt --cache CACHE",
    ),
    "noise-study": Verb(
        "Measure how much of LaRE is chance, by ensemble size.",
        ("extract", "noise-study"),
        (("", "extract.config:NoiseStudyConfig"),),
        ("model", "images_per_source", "num_draws", "ensemble_sizes", "timestep", "device"),
        _SEED,
        example="--data DATA --model MODEL --out study.csv",
    ),
    "fit": Verb(
        "Train a detector from tars and cache.",
        ("train", "fit"),
        _FIT_SETTINGS,
        (
            *("out", "seed_everything", "ckpt_path", "trainer.max_epochs", "trainer.precision", "trainer.accelerator"),
            *("trainer.devices", "data.canvases", "data.batch_size", "data.num_workers", "data.view"),
            *("data.image_sources", "model.backbone", "model.learning_rate"),
        ),
        _FIT_ALIASES,
        _FIT_MORE,
        is_open=True,
        example="--config lare2 --data DATA --cache CACHE --out RUN",
    ),
    "predict": Verb(
        "Score images with a trained detector.",
        ("train", "predict"),
        _FIT_SETTINGS,
        (
            *("ckpt_path", "data.data", "data.cache", "out", "data.predict_split", "data.batch_size"),
            *("data.num_workers", "trainer.accelerator", "predictions.path", "predictions.overwrite"),
        ),
        _FIT_ALIASES | {"overwrite": "predictions.overwrite"},
        _PREDICT_MORE,
        is_open=True,
        example="--ckpt RUN/checkpoints/best.ckpt --data DATA --cache CACHE",
    ),
    "evaluate": Verb(
        "Turn predictions into tables of AUROC, accuracy and more.",
        ("train", "evaluate"),
        (("", f"{_SCORING}:evaluate_command"),),
        ("validation", "differences"),
        example="--data DATA --cache CACHE --readings full=RUN/predictions.parquet --out results.json",
    ),
    "readings": Verb(
        "Score images without a detector: by mean LaRE, by smoothness.",
        ("train", "readings"),
        (("", f"{_SCORING}:write_readings"),),
        aliases={"out": "out_folder"},
        example="--data DATA --cache CACHE --split test --out FOLDER",
    ),
    "export": Verb(
        "Write a checkpoint's detector as a folder to share.",
        ("train", "export"),
        (("", f"{_SCORING}:export_checkpoint"),),
        example="--ckpt RUN/checkpoints/best.ckpt --out DETECTOR",
    ),
    "matrix": Verb(
        "Train on each image source and test on all.",
        ("train", "matrix"),
        (("", f"{_SCORING}:run_matrix"), ("", f"{_SCORING}:matrix_command")),
        ("seeds", "sources", "dry_run", "only"),
        has_config=False,
        example="--recipe lare2 --data DATA --cache CACHE --out FOLDER",
    ),
    "plots": Verb(
        "Draw curves, a matrix, and the most certain cases.",
        ("train", "plots"),
        (("", f"{_SCORING}:draw_pictures"), _PREDICTIONS),
        ("data", "readings", "ckpt", "cache", "matrix"),
        has_config=False,
        example="--data DATA --readings full=RUN/predictions.parquet --out FOLDER",
    ),
    "detect": Verb(
        "Give verdicts on pictures: files, folders, tars, packed datasets.",
        ("detect", "run"),
        (("", "detect.files.config:DetectConfig"),),
        ("files", "model", "out", "maps", "false_alarm_rate", "device"),
        example="photo.jpg holiday/ --detector DETECTOR --out verdicts.csv",
        words="files",
    ),
    "calibrate": Verb(
        "Make a detector from photographs alone, without training.",
        ("detect", "calibrate"),
        (("", "detect.calibrate.config:CalibrateConfig"),),
        ("photos", "score", "group_by", "include_model", "image_size", "timestep", "batch_size", "device"),
        _SEED,
        example="holiday/ --config sd15 --out DETECTOR",
        words="photos",
    ),
    "serve": Verb(
        "Give verdicts on pictures over HTTP: a web page and an API.",
        ("detect", "serve"),
        (("", "detect.server.config:ServeConfig"),),
        ("model", "host", "port", "false_alarm_rate", "device", "log_pictures"),
        example="--detector DETECTOR",
    ),
    "demo": Verb(
        "Run both stages on real photographs with two toy models.",
        ("demo", "run"),
        (("", "demo.run:DemoConfig"),),
        ("out",),
        {"seed": "sources.seed"},
    ),
    "bench": Verb(
        "Measure speeds and sizes side by side.",
        ("bench",),
        (("", "bench.config:BenchConfig"),),
        ("measures", "device", "runs", "out"),
        more=(Setting("all", "bool", None, "Short for --measures all.", is_switch=True),),
    ),
}
"""Name → verb, in the order of a person's work."""

_STUDY = "experiments.study.config:StudyTask"
_STUDY_OFTEN = ("preset", "num_seeds", "num_epochs", "num_jobs", "dry_run", "only")


def _study_verb(name: str, summary: str) -> Verb:
    return Verb(summary, ("experiments", name), (("", _STUDY),), _STUDY_OFTEN, {"cache": "caches"})


def load_questions() -> dict[str, Verb]:
    """The commands below `lare question`.

    Raises:
        ModuleNotFoundError: If there is no checkout: they are not installed.
    """
    module = import_module("experiments.questions")  # by name, as all other work
    summaries: Mapping[str, str] = module.SUMMARIES
    studies = {name: _study_verb(name, summaries[name]) for name in (*module.QUESTIONS, "caches", "ablate")}
    toy, report = "experiments.toy.benchmark:ToyBenchmarkConfig", "experiments.report:ReportConfig"
    families = "experiments.families.settings:FamiliesConfig"
    return {
        **studies,
        "toy-benchmark": Verb(
            summaries["toy-benchmark"],
            ("experiments", "toy-benchmark"),
            (("", toy),),
            ("generator_photos", "out", "num_seeds", "num_epochs", "num_jobs", "dry_run", "answers_only"),
            {"seed": "sources.seed"},
        ),
        "families": Verb(
            summaries["families"],
            ("experiments", "families"),
            (("", families),),
            ("out", "max_photos", "num_seeds", "num_jobs", "dry_run"),
            {"seed": "sources.seed"},
        ),
        "report": Verb(
            summaries["report"],
            ("experiments", "report"),
            (("", report),),
            ("config", "answers", "toy", "families", "out"),
            {"cache": "caches"},
            has_config=False,
        ),
    }
