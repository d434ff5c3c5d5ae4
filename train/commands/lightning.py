"""The commands that Lightning runs: fit, validate, test and predict, with one output folder and its provenance."""

import json
import logging
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_only

from cache_schema import base_names, write_json
from cache_schema.program import expand_home
from train.backbone import WrongImageSize
from train.checkpoint import CheckpointFiles, CutShort, find_whole, load_checkpoint
from train.commands.prediction_writer import PredictionWriter
from train.commands.run_log import METRICS_NAME, choose_progress_bar, go_on_with_metrics, say_once
from train.commands.scoring import COMMANDS
from train.commands.settings_files import LimitedClasses, limit_classes
from train.data.datamodule import LareDataModule
from train.data.random_state import RandomState
from train.hyperparameters import read_precision, read_settings, read_view
from train.model import LareClassifier
from train.record import TRAINED_ON, describe_code, describe_features
from train.task import LareTask

logger = logging.getLogger(__name__)

CONFIG_NAME = "config.yaml"
_FROM_DATA = {"image_size", "map_channels"}
"""Settings of the detector that are linked to those of the data."""
_READS_MAP = {"spatial": True, "channel": True, "concat": False}
"""Settings by which a detector of images reads maps too, with their defaults."""

_PLACES = ("data", "cache", "canvases", "out", "config", "ckpt_path", "default_root_dir", "save_dir", "pretrained")


class SaveRun(SaveConfigCallback):
    """Saves a fit's settings as config.yaml in the output folder, and provenance.json beside its checkpoints.

    They are written before its first step: a resume that is refused leaves those of the stopped fit.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write nothing yet."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Write both, once; `LareCLI.before_fit` has refused a folder that is not to be written to."""
        if not self.already_saved:
            super().setup(trainer, pl_module, "fit")
            self._write_provenance(trainer)

    def _write_provenance(self, trainer: Trainer) -> None:
        """Write data, features, settings, code and versions."""
        checkpoints = trainer.checkpoint_callback
        if not (trainer.is_global_zero and isinstance(checkpoints, ModelCheckpoint) and checkpoints.dirpath):
            return
        settings = json.loads(self.parser.dump(self.config, skip_link_targets=False, skip_none=False, format="json"))
        settings = base_names(settings, _PLACES)  # config.yaml has them in full: it is this machine's
        features = describe_features(trainer.datamodule)  # type: ignore[attr-defined]
        content = {"settings": settings, **features, **describe_code()}
        write_json(Path(checkpoints.dirpath) / "provenance.json", content)


class Parser(LimitedClasses, LightningArgumentParser):
    """Tells what is wrong in one sentence."""


def read_checkpoint(path: str) -> dict[str, Any]:
    """Read a checkpoint that a fit has written, before anything is built.

    Raises:
        FileNotFoundError: If it is not there.
        CutShort: If it is there in part, or damaged.
        ValueError: If it cannot be read, or lacks what a fit writes.
    """
    content = load_checkpoint(path)
    missing = {"state_dict", "hyper_parameters", "pytorch-lightning_version"} - content.keys()
    if missing:
        raise ValueError(f"{path} is no checkpoint of a fit: it has no {' and no '.join(sorted(missing))}")
    return content


def _expand(settings: Any, addresses: bool = False) -> Any:
    """Settings with `~` at the start of texts put in full, also within lists of callbacks and loggers.

    Raises:
        ValueError: If a setting names a place in object storage, but `data.data`, `data.cache` and
            `data.canvases`.
    """
    if isinstance(settings, Namespace):
        for name, value in vars(settings).items():
            setattr(settings, name, _expand(value, name in ("data", "cache", "canvases")))
        return settings
    if isinstance(settings, list):
        return [_expand(each, addresses) for each in settings]
    return expand_home(settings, addresses=addresses)


def describe_inputs(detector: Mapping[str, Any], trained_on: Any) -> dict[str, Any]:
    """Settings of a command that scores, as far as a checkpoint says them: what its detector sees, and how precisely.

    Args:
        detector: Its settings, from `read_settings`.
        trained_on: What it says about its training; from a file, so that anything may be in it.

    Raises:
        ValueError: If a value in it is of another kind.
    """
    image = detector.get("image", True)
    refines = any(detector.get(name, default) for name, default in _READS_MAP.items())
    found = {"maps": refines or not image, "images": image}
    if "image_size" in detector:
        found["crop_px"] = detector["image_size"]
    found |= read_view(trained_on)
    precision = read_precision(trained_on)
    return {f"data.{name}": value for name, value in found.items()} | (
        {"trainer.precision": precision} if precision else {}
    )


def tell_batch_size(num_devices: int, batch_size: int, learning_rate: float) -> None:
    """Say how many images a step of several devices takes: the recipes' rate was chosen for one."""
    if num_devices > 1:
        logger.warning(
            "%d devices take %d images a step, %d each, at the learning rate %g, which recipes choose for one device. "
            "The same steps as there: --data.batch_size=%d. Larger ones: choose --model.learning_rate on validation.",
            num_devices,
            num_devices * batch_size,
            batch_size,
            learning_rate,
            max(1, batch_size // num_devices),
        )


class LareCLI(LightningCLI):
    """Settings from YAML and flags; everything a run writes lies below `--out`."""

    _num_steps = 0
    """Steps of the checkpoint that a fit goes on from."""

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, put paths in full, and take what the checkpoint says of its detector.

        The detector's settings are those of the checkpoint. Unless a fit goes on from it, what it was trained to see
        takes the place of the defaults too; what settings files and flags say stands.

        Raises:
            FileNotFoundError, ValueError: As `read_checkpoint`, and if a value in it is of another kind.
        """
        self._parse(parser, args)
        command = self.config.subcommand
        ckpt = self.config[command].get("ckpt_path")
        if not ckpt or ckpt in ("best", "last", "hpc"):
            return
        content = self._read_whole(str(ckpt))
        ckpt = self.config[command].ckpt_path
        self._num_steps = content["global_step"] if type(content.get("global_step")) is int else 0
        try:
            detector = read_settings(content["hyper_parameters"], LareTask, LareClassifier, others=False)
            seen = {} if command == "fit" else describe_inputs(detector, content.get(TRAINED_ON))
        except ValueError as error:
            raise ValueError(f"{ckpt} is no checkpoint of a fit: {error}") from error
        if seen:
            self._parser(command).set_defaults(seen)
            self._parse(parser, args)
        for name in detector.keys() - _FROM_DATA:
            self.config[command].model[name] = detector[name]
        if command != "fit":  # its weights are those of the checkpoint
            self.config[command].model.pretrained = False

    def _read_whole(self, ckpt: str) -> dict[str, Any]:
        """Read a checkpoint; a fit whose own one is cut short goes on from the newest other one of its run."""
        config, path = self.config[self.config.subcommand], Path(ckpt)
        try:
            return read_checkpoint(ckpt)
        except CutShort as error:
            is_own = self.config.subcommand == "fit" and path.resolve().is_relative_to(Path(config.out).resolve())
            other = find_whole(path) if is_own else None
            if other is None:
                raise
            rank_zero_only(logger.warning)("%s. It is passed over: the fit goes on from %s", error, other)
        config.ckpt_path = str(other)
        return read_checkpoint(str(other))

    def _parse(self, parser: LightningArgumentParser, args: Any) -> None:
        try:
            super().parse_arguments(parser, args)
        except ImportError as error:  # jsonargparse lets it through where a setting is a dataclass
            parser.error(str(error))
        _expand(self.config)

    def _parse_ckpt_path(self) -> None:
        """Do nothing in place of Lightning, which lets a checkpoint name classes: `parse_arguments` has read it."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's commands, or only the one that is asked for: to build the parser of each takes a second."""
        commands: dict[str, set[str]] = LightningCLI.subcommands()
        return {name: commands[name] for name in sys.argv[1:2] if name in commands} or commands

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the output folder and the predictions file, and link what one setting says for several."""
        parser.add_argument("--out", type=str, default="runs/train", help="Folder that everything is written to.")
        parser.add_lightning_class_args(PredictionWriter, "predictions")
        parser.link_arguments("out", "trainer.default_root_dir")
        parser.link_arguments("out", "trainer.logger.init_args.save_dir")
        parser.link_arguments("seed_everything", "data.seed")  # refuses true and false: a run has an integer seed
        parser.link_arguments("data.crop_px", "model.image_size")
        parser.link_arguments("data", "model.map_channels", lambda data: data.map_channels, apply_on="instantiate")

    def instantiate_classes(self) -> None:
        """Build data, detector and trainer.

        Raises:
            ValueError: If a setting makes no sense. What maps and network want of the crop is one sentence.
        """
        try:
            super().instantiate_classes()
        except WrongImageSize as error:
            settings = self.config[self.subcommand].data.as_dict()
            data = LareDataModule(**{name: value for name, value in settings.items() if name != "changes"})
            try:
                data.setup(str(self.subcommand))
            except ValueError as other:
                raise ValueError(f"{error} (data.crop_px); {other}") from error
            raise ValueError(f"{error} (data.crop_px)") from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer, which reads checkpoints as data.

        Only a fit has loggers, because CSVLogger deletes what an earlier command logged.
        """
        settings = self._get(self.config_init, "trainer")
        kwargs |= choose_progress_bar(settings, at_terminal=sys.stdout.isatty())
        plugins = settings.get("plugins") or []
        plugins = [*plugins] if isinstance(plugins, list) else [plugins]
        loggers = {} if self.subcommand == "fit" else {"logger": False}
        return super().instantiate_trainer(**kwargs, **loggers, plugins=[*plugins, CheckpointFiles()])

    @rank_zero_only
    def before_fit(self) -> None:
        """Refuse a folder that holds a run, or go on with the metrics of the run that is resumed.

        Raises:
            FileExistsError: If there is a run already, and this one does not resume it, or a file of a run is a link.
        """
        out = Path(self.trainer.default_root_dir)
        if (out / CONFIG_NAME).exists() and self.config.fit.ckpt_path is None:
            last = out / "checkpoints" / "last.ckpt"
            raise FileExistsError(f"{out} holds a run already: choose another --out, or resume it: --ckpt_path={last}")
        for path in (out / CONFIG_NAME, out / METRICS_NAME, out / "hparams.yaml"):
            if path.is_symlink():  # Lightning writes what it leads to
                raise FileExistsError(f"{path} is a symbolic link, which a fit does not follow: remove it first")
        go_on_with_metrics(self.trainer, self._num_steps)
        tell_batch_size(self.trainer.world_size, self.datamodule.batch_size, self.model.learning_rate)


def run_lightning(args: Sequence[str] | None = None) -> None:
    """Run a Lightning command.

    Args:
        args: Its name and flags; None: the arguments of this process.
    """
    # It warns of a program that has arguments of its own, as `lare` has.
    warnings.filterwarnings("ignore", "LightningCLI's args parameter is intended")
    limit_classes()
    say_once()
    LareCLI(
        LareTask,
        LareDataModule,
        save_config_callback=SaveRun,
        trainer_defaults={"callbacks": [RandomState()]},
        save_config_kwargs={"config_filename": CONFIG_NAME, "overwrite": True},
        seed_everything_default=0,
        auto_configure_optimizers=False,
        parser_class=Parser,
        args=None if args is None else [*args],
        load_from_checkpoint_support=False,  # the task's settings are plain values, which checkpoints hold as they are
        parser_kwargs={"description": f"Also: python -m train {'|'.join(COMMANDS)} --help"},
    )
