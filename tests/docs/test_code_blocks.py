"""Every code block of the documentation: it runs, or says why not, and every command in it exists with its flags.

Paths of the pages stand for small things that `prepare` makes in an empty folder: `photos`, `data/mine`, its cache
`cache/mine/sd15-t200-e4`, its canvases, and the repository's own `demo`. What a page's own commands make is not
prepared.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from cache_schema import Fingerprint, create_cache, store_name, write_dataset
from extract import CanvasConfig, CanvasRun
from tests.docs.blocks import LANGUAGES, ROOT, Block, Command, collect, commands_of, inline_commands, shell_lines
from tests.samples import make_sample, make_shard
from workflow.cli.verbs import VERBS

BLOCKS = collect()
NUM_NOT_RUN = 60
"""How many blocks carry a mark: a new one is a decision, not an accident."""
CACHE = "cache/mine/sd15-t200-e4"
CANVASES = "cache/mine/canvas-256"
TUTORIAL = "docs/genimage.md"
"""Its blocks are run by test_genimage."""


def prepare(folder: Path, made_by_page: str = "") -> None:
    """Make what the pages name, except what the given code makes itself."""
    (folder / "demo").symlink_to(ROOT / "demo")
    for source in ("real", "sdv5"):
        (folder / "photos" / source).mkdir(parents=True)
        for i in range(12):
            pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            image = Image.fromarray(pixels).resize((500, 460), Image.Resampling.BICUBIC)
            image.save(folder / "photos" / source / f"{i}.jpg", quality=96)
    if "OUT=data/mine\n" in made_by_page:
        return
    splits = ["train"] * 8 + ["validation"] * 6 + ["test"] * 6
    samples = [make_sample(i, split=split) for i, split in enumerate(splits)]
    dataset = write_dataset(folder / "data" / "mine", samples, {})
    fields = {"method": "lare", "timestep": 200, "image_size": 64, "stored_dtype": "float32", "mantissa_bits": 23}
    cache = create_cache(folder / CACHE, dataset.dataset_id, Fingerprint(fields))
    for n, entry in enumerate(dataset.tars):
        cache.write(store_name(entry.name), make_shard(dataset.rows(n), entry))
    CanvasRun.prepare(CanvasConfig(data=str(dataset.folder), cache=str(folder / CANVASES), num_workers=1)).run()


def of_language(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def test_blocks_name_their_language_and_marks_their_reason() -> None:
    assert [str(block) for block in BLOCKS if block.language not in LANGUAGES] == []
    marked = [block for block in BLOCKS if block.reason is not None]
    assert [str(block) for block in marked if len(str(block.reason)) < 10] == []
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in {block.page for block in BLOCKS})
    assert len(marked) == text.count("<!-- not run"), "a mark stands above no block"
    assert len(marked) == NUM_NOT_RUN


@pytest.mark.parametrize("block", of_language("yaml", "json"), ids=str)
def test_data_blocks_parse(block: Block) -> None:
    assert (yaml.safe_load if block.language == "yaml" else json.loads)(block.code) is not None


@pytest.mark.filterwarnings("ignore:unclosed file .*tar'>:ResourceWarning")  # webdataset does not close them
@pytest.mark.parametrize("block", [b for b in of_language("python") if b.reason is None], ids=str)
def test_python_blocks_run(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(compile(block.code, block.page, "exec"), {"__name__": "__block__"})


@pytest.mark.parametrize("block", [b for b in of_language("python") if b.reason is not None], ids=str)
def test_marked_python_blocks_compile(block: Block) -> None:
    compile(block.code, block.page, "exec")


def documented() -> tuple[dict[tuple[str, ...], list[tuple[str, Command]]], list[str]]:
    """All commands of blocks and running text by program, and what is wrong with lines that cannot be read."""
    found: dict[tuple[str, ...], list[tuple[str, Command]]] = {}
    wrong = []
    lines = [(str(block), block.code) for block in of_language("sh")] + inline_commands()
    for place, code in lines:
        try:
            for words in shell_lines(code):
                for command in commands_of(words):
                    found.setdefault(command.program, []).append((place, command))
        except ValueError as error:
            wrong.append(f"{place}: {error}")
    return found, wrong


DOCUMENTED, WRONG = documented()


def test_commands_are_verbs_of_make_or_modules() -> None:
    assert WRONG == []
    assert set(DOCUMENTED) >= {("lare", verb) for verb in ("pack", "extract", "launch", "fit", "predict", "evaluate")}


HELP_OF_ALL = """
import contextlib, io, json, runpy, sys
texts = []
for module, *verb in json.loads(sys.argv[1]):
    text = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    for help in ["--help", "--help=all"] if module == "workflow" else ["--help"]:
        sys.argv = [module, *verb, help]
        with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    text.flush()
    texts.append(text.buffer.getvalue().decode())
print(json.dumps(texts))
"""


def module_of(program: tuple[str, ...]) -> tuple[str, ...]:
    """What `python -m` takes for a program: `lare` may not be installed where the tests run."""
    return ("workflow", *program[1:]) if program[0] == "lare" else program


@pytest.mark.slow
@pytest.mark.parametrize("package", sorted({program[0].partition(".")[0] for program in DOCUMENTED}))
def test_flags_are_those_of_the_command(package: str) -> None:
    programs = sorted(program for program in DOCUMENTED if program[0].partition(".")[0] == package)
    call = [sys.executable, "-W", "ignore", "-c", HELP_OF_ALL, json.dumps([module_of(program) for program in programs])]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    unknown = []
    for program, text in zip(programs, json.loads(done.stdout), strict=True):
        known = {"--help", "--print_config", *re.findall(r"(?<![\w-])--?[A-Za-z][\w.\-]*", text)}
        assert len(known) > 1, f"{' '.join(program)} --help tells no flags"
        if len(program) == 2 and program[1] in VERBS:  # what stands without a flag may have one, as make gives it
            known.add(f"--{VERBS[program[1]].words}")
        unknown += [
            (place, flag) for place, command in DOCUMENTED[program] for flag in command.flags if flag not in known
        ]
    assert unknown == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", sorted({b.page for b in of_language("sh") if b.reason is None} - {TUTORIAL}))
def test_shell_blocks_run(page: str, tmp_path: Path) -> None:
    code = "\n".join(block.code for block in of_language("sh") if block.page == page and block.reason is None)
    prepare(tmp_path, code)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for words in shell_lines(code):
        for command in commands_of(words):
            done = subprocess.run(
                [sys.executable, "-m", *module_of(command.program), *command.words],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert done.returncode == 0, f"{' '.join(words)}\n{done.stderr[-2000:]}"
