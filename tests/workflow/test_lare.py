"""The `lare` command: help, the dialect of flags, and who does the work."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from detect.calibrate.config import CalibrateConfig
from detect.files.config import DetectConfig
from detect.server.config import ServeConfig
from extract.__main__ import build_parser
from workflow import lare
from workflow.cli.flags import WrongFlags, find_config, packaged_configs, parse_flags, translate
from workflow.cli.verbs import VERBS, Verb, load_questions
from workflow.code_hash import ROOT

ALL_VERBS = {**VERBS, **{f"question {name}": verb for name, verb in load_questions().items()}}


@pytest.mark.parametrize("name", ALL_VERBS)
def test_help_tells_every_setting_that_most_people_need(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert lare.main([*name.split(), "--help"]) == 0
    text, verb = capsys.readouterr().out, ALL_VERBS[name]
    short = {full: name for name, full in verb.aliases.items()}
    needed = [s.name for s in verb.known.values() if s.is_required and not s.is_positional] + list(verb.often)
    shown = [f"{s.upper()}…" if s == verb.words else f"--{short.get(s, s)}" for s in needed]
    assert all(name in text for name in shown)
    assert all(len(line) <= 112 for line in text.splitlines())


def test_help_lists_all_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    for args in ([], ["--help"], ["-h"]):
        assert lare.main(args) == 0
        text = capsys.readouterr().out
        assert all(f"  {name} " in text for name in [*VERBS, "question"])
    assert lare.main(["question"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in load_questions())


def test_help_loads_nothing_that_takes_time() -> None:
    heavy = ("torch", "lightning", "jsonargparse", "zarr", "pyarrow", "numpy", "yaml")
    program = f"""
import sys
from workflow import lare
for verb in ([], ["extract"], ["fit"], ["status"], ["detect"], ["calibrate"], ["question", "egre"]):
    assert lare.main([*verb, "--help"]) == 0
loaded = [name for name in {heavy} if name in sys.modules]
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("name", VERBS)
def test_the_work_is_where_the_verb_says(name: str) -> None:
    package = ROOT.joinpath(*VERBS[name].command[0].split("."), "__main__.py")
    assert package.is_file()


def test_known_settings_are_those_of_the_parsers() -> None:
    """What `lare` refuses by itself is what the work would refuse."""
    main = import_module("extract.__main__")
    for name in ("pack", "extract", "launch", "watch", "noise-study", "import-maps"):
        fields = set(main.COMMANDS[VERBS[name].command[1]].config.__dataclass_fields__)
        assert set(VERBS[name].known) == fields
    assert set(VERBS["detect"].known) == set(DetectConfig.__dataclass_fields__)
    assert set(VERBS["calibrate"].known) == set(CalibrateConfig.__dataclass_fields__)
    assert set(VERBS["serve"].known) == set(ServeConfig.__dataclass_fields__)
    parser = import_module("cache_schema.__main__").build_parser()
    commands = parser._subparsers._group_actions[0].choices
    for name in ("status", "verify", "info", "derive"):
        assert set(VERBS[name].known) == {action.dest for action in commands[name]._actions} - {"help"}


def of(verb: str, *arguments: str) -> list[str]:
    return translate(ALL_VERBS[verb], arguments)


def test_flags_have_one_dialect() -> None:
    assert of("extract", "--data", "d", "--cache=c", "--batch-size", "4") == ["--data=d", "--cache=c", "--batch_size=4"]
    assert of("derive", "--cache=c", "--mantissa-bits", "7", "--num-workers=2") == [
        *("--cache=c", "--mantissa_bits=7", "--num_workers=2")
    ]
    assert of("extract", "--seed", "3") == ["--noise_seed=3"]
    assert of("pack", "--seed", "3") == ["--seed=3"]
    assert of("fit", "--data", "d", "--cache", "a", "b", "--ckpt", "x", "--seed=1") == [
        *("--data.data=d", '--data.cache=["a","b"]', "--ckpt_path=x", "--seed_everything=1")
    ]
    assert of("fit", "--cache=[a,b]", "--cache", "my cache") == ["--data.cache=[a,b]", "--data.cache=my cache"]
    assert of("question timestep", "--cache", "c") == ["--caches=c"]


def test_switches_and_booleans_stand_alone_or_with_a_value() -> None:
    assert of("verify", "--deep") == of("verify", "--deep", "true") == of("verify", "--deep=True") == ["--deep"]
    assert of("verify", "--deep", "false", "--data", "d") == ["--data=d"]
    assert of("extract", "--overwrite", "--keep_going", "false") == ["--overwrite=true", "--keep_going=false"]
    assert of("extract", "--overwrite", "stale") == ["--overwrite=stale"]
    with pytest.raises(WrongFlags, match="--deep is maybe"):
        of("verify", "--deep", "maybe")


def test_lists_are_words_or_yaml() -> None:
    assert of("extract", "--timesteps", "100", "200") == of("extract", "--timesteps=[100,200]")
    assert of("extract", "--timesteps", "100") == ["--timesteps=[100]"]
    assert of("fit", "--data.image_sources", "7", "sd") == ['--data.image_sources=["7","sd"]']
    assert of("evaluate", "--readings", "a=1", "b=2", "--out", "o") == ["--readings", "a=1", "b=2", "--out=o"]
    assert of("info", "cache") == ["cache"] == of("info", "--store", "cache")


def test_a_verb_of_many_words_takes_them_anywhere() -> None:
    assert of("detect", "a b.jpg", "c", "--detector", "d") == ["a b.jpg", "c", "--detector=d"]
    assert of("detect", "--detector", "d", "a.jpg", "-") == ["a.jpg", "-", "--detector=d"]
    assert of("detect", "--strict", "a.jpg", "--explain", "false", "b") == [
        "a.jpg",
        "b",
        "--strict=true",
        "--explain=false",
    ]
    assert of("detect", "--files", "a", "b", "--detector=d", "--", "c") == ["a", "b", "c", "--detector=d"]
    assert of("detect", "-x.jpg", "--detector", "d") == ["--detector=d", "--", "-x.jpg"]
    with pytest.raises(WrongFlags, match="--detector needs a value"):
        of("detect", "a.jpg", "--detector")


def test_config_stands_anywhere_and_flags_win(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "my two.yaml"
    one.write_text("timestep: 1\n")
    two.write_text("timestep: 2\n")
    fit = tmp_path / "fit.yaml"
    fit.write_text("trainer: {max_epochs: 1}\n")
    found = of("extract", "--timestep=3", "--config", str(one), "--data", "d", "-c", str(two))
    assert found == ["--config", str(one), "--config", str(two), "--timestep=3", "--data=d"]
    assert of("fit", "--config", str(fit), str(fit)) == ["--config", str(fit), "--config", str(fit)]


@pytest.mark.parametrize(
    ("verb", "config"),
    [("extract", "sd15"), ("launch", "sd15"), ("fit", "lare2"), ("predict", "lare2_paper"), ("fit", "wandb")],
)
def test_packaged_settings_fit_their_verbs(verb: str, config: str) -> None:
    assert of(verb, "--config", config)[0] == "--config"


def test_packaged_settings_have_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert {"sd15", "lare2", "lare2_paper", "wandb", "toy-quick"} <= packaged_configs().keys()
    assert find_config("sd15") == ROOT / "extract" / "configs" / "sd15.yaml"
    assert of("matrix", "--recipe", "lare2") == ["--recipe", str(ROOT / "train" / "configs" / "lare2.yaml")]
    (tmp_path / "sd15").write_text("timestep: 1\n")  # a path that is there comes first
    assert find_config("sd15") == Path("sd15")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_config("~/sd15") == tmp_path / "sd15"


@pytest.mark.parametrize(
    ("verb", "arguments", "message"),
    [
        ("extract", ["--timestp", "3"], r"--timestp is no setting .*: do you mean --timestep\?"),
        ("fit", ["--trainer.max_epoch=1"], r"do you mean --trainer.max_epochs\?"),
        ("fit", ["--batch_size=1"], r"do you mean --data.batch_size\?"),
        ("status", ["--dat", "x"], r"do you mean --data\?"),
        ("status", ["--xyzzy", "x"], "--xyzzy is no setting of this verb$"),
        ("extract", ["--data"], "--data needs a value"),
        ("extract", ["--data", "a", "b"], "--data takes one value, got 2: a b"),
        ("extract", ["data"], "'data' stands without a flag"),
        ("extract", ["--config"], "--config needs a value"),
        ("extract", ["--config", "sd14"], r"sd14: no such file; do you mean sd15\?"),
        ("extract", ["--config", "nothing.at.all"], "by name there are .*lare2"),
        ("extract", ["--config", "{tmp}/list.yaml"], "holds no settings"),
        ("extract", ["--config", "{tmp}/broken.yaml"], "is not YAML: .* line 1"),
        ("extract", ["--config", "{tmp}/latin.yaml"], "cannot be read"),
        ("extract", ["--config", "{tmp}"], "cannot be read"),
        ("extract", ["--config", "{tmp}/typo.yaml"], r"sets timestp, .*: do you mean timestep\?"),
        ("fit", ["--config", "{tmp}/typo.yaml"], "sets timestp, which is no setting of this verb$"),
        ("status", ["--config", "sd15"], "no settings that a file could hold"),
    ],
)
def test_wrong_flags_are_told_in_a_sentence(verb: str, arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "typo.yaml").write_text("timestp: 1\n")
    (tmp_path / "broken.yaml").write_text("timestep: [1\n")
    (tmp_path / "latin.yaml").write_bytes(b"prompt: caf\xe9\n")
    with pytest.raises(WrongFlags, match=message):
        of(verb, *(argument.replace("{tmp}", str(tmp_path)) for argument in arguments))


def test_wrong_verbs_and_flags_exit_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for args, near in ((["extrct"], "extract"), (["question", "timstep"], "timestep"), (["pack", "--scr", "x"], "src")):
        assert lare.main(args) == 2
        error = capsys.readouterr().err
        assert near in error and len(error.splitlines()) == 1


def test_options_of_sbatch_are_flags_that_need_no_quotes() -> None:
    flags = ["--sbatch.constraint=a100", "--sbatch.gpus_per_node=a100:2", "--sbatch.exclusive=true"]
    assert (
        of("launch", *["--sbatch.constraint", "a100", "--sbatch.gpus-per-node=a100:2", "--sbatch.exclusive", "true"])
        == flags
    )
    assert of("launch", "--setup", "module load cuda") == ['--setup=["module load cuda"]']
    places = [f"--{name}={name}" for name in ("data", "cache", "model")]
    parsed = build_parser().parse_args(["launch", *places, *flags]).launch
    assert parsed.sbatch == {"constraint": "a100", "gpus_per_node": "a100:2", "exclusive": True}
    for wrong in ("--sbatch.=x", "--engine.x=y"):
        with pytest.raises(WrongFlags, match="is no setting of this verb"):
            of("launch", wrong)


def test_open_settings_are_checked_as_far_as_they_are_known() -> None:
    known = ["--trainer.logger.init_args.name=x", "--trainer.callbacks+=y", "--data.changes.jpeg_probability=0.5"]
    assert of("fit", *known) == known
    with pytest.raises(WrongFlags):
        of("fit", "--trainer.loger.init_args.name=x")


def test_predict_takes_what_the_run_says(tmp_path: Path) -> None:
    ckpt = tmp_path / "my run" / "checkpoints" / "best.ckpt"
    ckpt.parent.mkdir(parents=True)
    ckpt.touch()
    run, given = ckpt.parents[1], f"--ckpt_path={ckpt}"
    assert lare.complete_predict([given]) == [given, "--return_predictions=false"]  # a checkpoint of nowhere
    (run / "config.yaml").write_text(yaml.safe_dump({"out": "elsewhere"}))
    assert lare.complete_predict([given]) == [f"--out={run}", given, "--return_predictions=false"]
    own = ["--config", "x", given, "--out=y", "--return_predictions=true"]
    assert lare.complete_predict(own) == own
    with pytest.raises(WrongFlags, match="no such file"):
        lare.complete_predict(["--ckpt_path=nowhere.ckpt"])


def test_words_before_flags_and_flags_are_told_apart() -> None:
    words, flags = parse_flags(["a", "-c", "x", "--b-c=d=e", "-1", "f"])
    assert words == ["a"]
    assert [(flag.name, flag.values) for flag in flags] == [("config", ("x",)), ("b_c", ("d=e", "-1", "f"))]


def test_verbs_of_a_checkout_say_so_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(lare, "ROOT", tmp_path)
    for args in (["bench"], ["bench", "--help"], ["question"], ["question", "egre", "--data", "x"]):
        assert lare.main(args) == 2
        assert "checkout" in capsys.readouterr().err


def test_a_verb_runs_the_command_behind_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lare.main(["info", str(tmp_path / "nothing")]) == 1
    assert "nothing" in capsys.readouterr().err
    assert isinstance(VERBS["info"], Verb)


@pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")
def test_known_settings_of_a_fit_are_those_of_its_parser(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        lare.main(["fit", "--data", "d", "--cache", "c", "--print_config"])
    assert not ended.value.code
    settings, known = yaml.safe_load(capsys.readouterr().out), set(VERBS["fit"].known)
    for name, value in settings.items():
        assert name in known or {setting.partition(".")[0] for setting in known} & {name}
        if name in ("trainer", "model", "predictions", "data"):
            inner = {setting.split(".")[1] for setting in known if setting.startswith(f"{name}.")}
            linked = {"trainer": {"default_root_dir"}, "model": {"image_size", "map_channels"}, "data": {"seed"}}
            assert inner - linked.get(name, set()) == set(value) - linked.get(name, set())
