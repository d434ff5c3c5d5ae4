"""The commands that Lightning runs: fit, validate, test and predict, with one output folder and its provenance."""

import itertools
import json
import pickle
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace, set_parsing_settings
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_only

from cache_schema import write_json
from cache_schema.program import OneSentence, expand_home
from train.commands.prediction_writer import PredictionWriter
from train.commands.scoring import COMMANDS
from train.data.datamodule import LareDataModule
from train.data.random_state import RandomState
from train.record import describe_code, describe_features
from train.task import LareTask

CONFIG_NAME = "config.yaml"


class SaveRun(SaveConfigCallback):
    """Saves a fit's settings as config.yaml in the output folder, and provenance.json beside its checkpoints."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write config.yaml when fitting; `LareCLI.before_fit` has refused a folder that is not to be written to."""
        if stage == "fit":
            super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write provenance.json: data, features, settings, code and versions."""
        checkpoints = trainer.checkpoint_callback
        if not (trainer.is_global_zero and isinstance(checkpoints, ModelCheckpoint) and checkpoints.dirpath):
            return
        settings = json.loads(self.parser.dump(self.config, skip_link_targets=False, skip_none=False, format="json"))
        features = describe_features(trainer.datamodule)  # type: ignore[attr-defined]
        content = {"settings": settings, **features, **describe_code()}
        write_json(Path(checkpoints.dirpath) / "provenance.json", content)


class Parser(OneSentence, LightningArgumentParser):
    """Tells what is wrong in one sentence."""


def check_checkpoint(path: str) -> None:
    """Refuse a file that no fit has written, before anything is built.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it cannot be read, or lacks what a fit writes.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        missing = {"state_dict", "hyper_parameters", "pytorch-lightning_version"} - content.keys()
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read as a checkpoint of a fit") from error
    if missing:
        raise ValueError(f"{path} is no checkpoint of a fit: it has no {' and no '.join(sorted(missing))}")


def _expand(settings: Any) -> Any:
    """Settings with `~` at the start of texts put in full, also within lists of callbacks and loggers."""
    if isinstance(settings, Namespace):
        for name, value in vars(settings).items():
            setattr(settings, name, _expand(value))
        return settings
    return [_expand(each) for each in settings] if isinstance(settings, list) else expand_home(settings)


class LareCLI(LightningCLI):
    """Settings from YAML and flags; everything a run writes lies below `--out`."""

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, put paths in full, and look whether the checkpoint is one.

        Raises:
            FileNotFoundError, ValueError: As `check_checkpoint`.
        """
        super().parse_arguments(parser, args)
        _expand(self.config)
        ckpt = self.config[self.config.subcommand].get("ckpt_path")
        if ckpt and ckpt not in ("best", "last", "hpc"):
            check_checkpoint(str(ckpt))

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

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer; only a fit has loggers, because CSVLogger deletes what an earlier command logged."""
        return super().instantiate_trainer(**kwargs if self.subcommand == "fit" else kwargs | {"logger": False})

    @rank_zero_only
    def before_fit(self) -> None:
        """Refuse a folder that holds a run, or put the metrics of the run that is resumed out of CSVLogger's way.

        Raises:
            FileExistsError: If there is a run already, and this one does not resume it, or a file of a run is a link.
        """
        out = Path(self.trainer.default_root_dir)
        if (out / CONFIG_NAME).exists() and self.config.fit.ckpt_path is None:
            last = out / "checkpoints" / "last.ckpt"
            raise FileExistsError(f"{out} holds a run already: choose another --out, or resume it: --ckpt_path={last}")
        logged = out / "metrics.csv"
        for path in (out / CONFIG_NAME, logged, out / "hparams.yaml"):
            if path.is_symlink():  # Lightning writes what it leads to
                raise FileExistsError(f"{path} is a symbolic link, which a fit does not follow: remove it first")
        if logged.exists():
            number = next(n for n in itertools.count(1) if not (out / f"metrics-{n}.csv").exists())
            logged.rename(out / f"metrics-{number}.csv")


def run_lightning(args: Sequence[str] | None = None) -> None:
    """Run a Lightning command.

    Args:
        args: Its name and flags; None: the arguments of this process.
    """
    # It warns of a program that has arguments of its own, as `lare` has.
    warnings.filterwarnings("ignore", "LightningCLI's args parameter is intended")
    set_parsing_settings(docstring_parse_attribute_docstrings=True)  # the help of settings that are dataclasses
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
