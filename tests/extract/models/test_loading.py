"""What is loaded is what was hashed and checked, and nothing of a stranger's folder besides."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cache_schema import open_cache
from extract.models.folder import ModelFolder
from extract.models.loading import check_part, load_part, load_tokenizer
from tests.extract.conftest import Run, assert_same_maps, read_maps
from tests.extract.models.test_weights import INDEX, WEIGHTS, _divide, copy

__all__ = ["copy"]
Change = Callable[[dict[str, torch.Tensor]], Any]
FIRST = {"unet": "conv_out.weight", "vae": "quant_conv.bias", "text_encoder": "final_layer_norm.weight"}


def change_tensors(model: Path, part: str, change: Change) -> None:
    """Save a part's weights with other tensors."""
    path = model / part / WEIGHTS[part]
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


def refused(model: Path, part: str) -> str:
    """Why a part is refused, alike before loading and by loading."""
    opened = ModelFolder.open(str(model)).parts[part]
    with pytest.raises(ValueError, match=rf"{part}: its weights are not those of the .* Download it again$") as early:
        check_part(opened)
    with pytest.raises(ValueError, match=r"Download it again|cannot be loaded"):
        load_part(opened, torch.float32)
    return str(early.value)


# The weights' tensors


@pytest.mark.parametrize("part", FIRST)
def test_missing_tensors_are_named_in_every_part(copy: Path, part: str) -> None:
    change_tensors(copy, part, lambda tensors: tensors.pop(FIRST[part]))
    assert f"{FIRST[part]} is missing" in refused(copy, part)


@pytest.mark.parametrize("part", FIRST)
def test_surplus_tensors_are_named_in_every_part(copy: Path, part: str) -> None:
    change_tensors(copy, part, lambda tensors: tensors.update({f"x{i}.weight": torch.zeros(1) for i in range(7)}))
    assert "x0.weight, x1.weight, x2.weight, x3.weight, x4.weight and 2 more are surplus" in refused(copy, part)


@pytest.mark.parametrize("part", FIRST)
def test_tensors_of_another_size_are_named_in_every_part(copy: Path, part: str) -> None:
    change_tensors(copy, part, lambda tensors: tensors.update({FIRST[part]: torch.zeros(3)}))
    assert f"{FIRST[part]} is of another size" in refused(copy, part)


def test_a_tensor_missing_in_one_of_several_files_is_named(copy: Path) -> None:
    for file in _divide(copy / "unet"):
        tensors = load_file(file)
        tensors.pop(FIRST["unet"], None)
        save_file(tensors, file, {"format": "pt"})
    assert "conv_out.weight is missing" in refused(copy, "unet")


def test_a_tensor_in_two_files_is_refused(copy: Path) -> None:
    files = _divide(copy / "unet")
    save_file(load_file(files[0]) | load_file(files[1]), files[1], {"format": "pt"})
    with pytest.raises(ValueError, match=r"00002-of-00002\.safetensors holds .*, which another file of the part holds"):
        check_part(ModelFolder.open(str(copy)).parts["unet"])


def test_older_names_and_counters_are_no_damage(copy: Path) -> None:
    before = ModelFolder.open(str(copy))
    expected = {part: load_part(before.parts[part], torch.float32).state_dict() for part in ("vae", "text_encoder")}

    def rename(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if "attentions" in name]:
            older = name.replace("to_q", "query").replace("to_k", "key").replace("to_v", "value")
            tensors[older.replace("to_out.0", "proj_attn")] = tensors.pop(name)

    def count(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            tensors[f"text_model.{name}"] = tensors.pop(name)
        tensors["text_model.embeddings.position_ids"] = torch.arange(16)[None]

    change_tensors(copy, "vae", rename)
    change_tensors(copy, "text_encoder", count)
    opened = ModelFolder.open(str(copy))
    for part, tensors in expected.items():
        check_part(opened.parts[part])
        loaded = load_part(opened.parts[part], torch.float32).state_dict()
        assert loaded.keys() == tensors.keys()
        assert all(torch.equal(loaded[name], value) for name, value in tensors.items())


@pytest.mark.parametrize("part", FIRST)
def test_a_run_refuses_before_it_makes_a_cache(
    run: Run, packed: object, copy: Path, tmp_path: Path, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change_tensors(copy, part, lambda tensors: tensors.pop(FIRST[part]))
    with pytest.raises(SystemExit) as ended:
        run(model=copy)
    assert ended.value.code == 2 and f"{FIRST[part]} is missing" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


# Which files


@pytest.mark.parametrize(
    ("part", "surplus"),
    [
        ("text_encoder", "diffusion_pytorch_model.safetensors"),
        ("unet", "model.safetensors"),
        ("vae", INDEX),
        ("text_encoder", "model.safetensors.index.json"),
    ],
)
def test_two_files_that_could_be_the_weights_are_refused(copy: Path, part: str, surplus: str) -> None:
    (copy / part / surplus).write_bytes((copy / part / WEIGHTS[part]).read_bytes())
    with pytest.raises(ValueError, match=rf"{part} holds weights twice, .*{surplus}.*: keep those that are meant"):
        ModelFolder.open(str(copy))


def test_copies_that_nothing_reads_may_lie_there(copy: Path) -> None:
    before = ModelFolder.open(str(copy)).hashes()
    for name in ("diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.safetensors"):
        (copy / "unet" / name).write_bytes(b"other")
    assert ModelFolder.open(str(copy)).hashes() == before


def test_the_weights_that_were_hashed_are_loaded(copy: Path) -> None:
    opened = ModelFolder.open(str(copy)).parts["text_encoder"]
    other = load_file(copy / "text_encoder" / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in other.items()}, copy / "text_encoder" / "model.fp16.safetensors")
    (copy / "text_encoder" / "adapter_config.json").write_text('{"base_model_name_or_path": "x"}')
    loaded = load_part(opened, torch.float32).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in other.items())


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir()])
@pytest.mark.parametrize(
    "name",
    [
        *("unet/config.json", "scheduler/scheduler_config.json"),
        *(f"{part}/{file}" for part, file in WEIGHTS.items()),
        "tokenizer/merges.txt",
    ],
)
@pytest.mark.timeout(60)
def test_what_is_no_regular_file_is_never_opened(copy: Path, name: str, make: Callable[[Path], None]) -> None:
    path = copy / name
    is_needed = path.exists()
    path.unlink(missing_ok=True)
    make(path)
    if is_needed:
        with pytest.raises(ValueError, match=r"does not exist|holds no"):
            ModelFolder.open(str(copy))
        return
    opened = ModelFolder.open(str(copy))
    opened.check_files()
    assert (
        len(opened.hashes()["tokenizer_sha256"]) == 64 and len(load_tokenizer(copy / "tokenizer", "CLIPTextModel")) > 2
    )


# A stranger's folder

MARKS = "import pathlib\n\npathlib.Path({mark!r}).touch()\n\n\nclass Own:\n    pass\n"


class Marking:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def make_hostile(model: Path, mark: Path) -> None:
    """All that makes a library fetch, import or unpickle, in every part; with a program that leaves a mark."""
    own = {"auto_map": {"AutoModel": "own.Own", "AutoTokenizer": ["own.Own", None]}, "trust_remote_code": True}
    asks = {
        "_attn_implementation": "someone/kernel",
        "attn_implementation": "someone/kernel",
        "_attn_implementation_internal": "someone/kernel",
        "quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True},
        "transformers_weights": "pytorch_model.bin",
        "use_kernels": True,
        "_name_or_path": "someone/model",
    }
    for part in ("unet", "vae", "text_encoder"):
        (model / part / "own.py").write_text(MARKS.format(mark=str(mark)))
        for name in ("pytorch_model.bin", "diffusion_pytorch_model.bin", "training_args.bin"):
            torch.save(Marking(mark), model / part / name)
        change_json(model / part / "config.json", **own, **asks)
        (model / part / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **own}))
    tokenizer = model / "tokenizer"
    (tokenizer / "own.py").write_text(MARKS.format(mark=str(mark)))
    torch.save(Marking(mark), tokenizer / "tokenizer.model")
    (tokenizer / "chat_template.jinja").write_text("{{ 1 / 0 }}")
    files = {"vocab_file": "/dev/zero", "tokenizer_file": "/dev/zero", "fast_tokenizer_files": ["tokenizer.9.json"]}
    change_json(tokenizer / "tokenizer_config.json", **own, **files, tokenizer_class="Own", backend="own")
    change_json(model / "model_index.json", _class_name=["own", "Own"], unet=["own", "Own"])
    change_json(model / "scheduler" / "scheduler_config.json", _class_name="Own", **own)


@pytest.mark.timeout(120)
def test_a_stranger_s_model_folder_runs_nothing_and_moves_no_map(
    run: Run, packed: object, copy: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "program-ran"
    make_hostile(copy, mark)
    exec((copy / "unet" / "own.py").read_text())
    assert mark.exists()  # the programs work
    mark.unlink()
    torch.load(copy / "unet" / "pytorch_model.bin", weights_only=False)
    assert mark.exists()
    mark.unlink()
    assert run(model=copy) == 0 and run(cache=tmp_path / "plain") == 0
    assert not mark.exists()
    assert_same_maps(read_maps(tmp_path / "cache"), read_maps(tmp_path / "plain"), tolerance=0)
    hashed = [open_cache(tmp_path / name).fields for name in ("cache", "plain")]
    assert {name for name in hashed[0] if hashed[0][name] != hashed[1][name]} == {  # all that it says is its identity
        *("unet_config_sha256", "vae_config_sha256", "text_encoder_config_sha256", "tokenizer_sha256")
    }


def test_the_toy_models_of_the_demo_have_the_weights_of_their_files() -> None:
    root = Path(__file__).parents[3] / "demo" / "models"
    for name in ("toy-a", "toy-b", "toy-c", "toy-d"):
        opened = ModelFolder.open(str(root / name))
        for part in opened.parts.values():
            check_part(part)
            stored = {key: value for file in part.weights for key, value in load_file(file).items()}
            loaded = load_part(part, torch.float32).state_dict()
            for key, value in stored.items():
                own = key if key in loaded else key.removeprefix("text_model.")
                np.testing.assert_array_equal(loaded[own], value.float())
