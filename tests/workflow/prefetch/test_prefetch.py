"""`lare prefetch` against a hub on this machine, and what a machine without internet then finds, or is told."""

import importlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub.errors import HfHubHTTPError
from safetensors.torch import save_file

from cache_schema import why_unreachable
from extract.models.hub import find_folder
from extract.models.weights import MissingFile
from tests.models import save_tiny_sd
from tests.workflow.prefetch.local_hub import Hub, serve
from tests.workflow.prefetch.tiny_backbone import NAME, REPOSITORY
from train.weights import fetch_backbone
from workflow.prefetch.models import Backbone, DiffusionModel, find_models

COMMIT = "0123456789abcdef0123456789abcdef01234567"
RUN = "import sys, tests.workflow.prefetch.tiny_backbone; from workflow.lare import main; sys.exit(main(sys.argv[1:]))"
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A diffusion model with files that nobody loads, and a backbone's weights in timm's form."""
    root = tmp_path_factory.mktemp("repositories")
    model = save_tiny_sd(root / "sd")
    (model / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"not asked for")
    (model / "v1-5-pruned.ckpt").write_bytes(b"a pickle")
    (root / "backbone").mkdir()
    (root / "backbone" / "pytorch_model.bin").write_bytes(b"the pickle beside them")
    torch.manual_seed(7)
    save_file(timm.create_model(NAME, pretrained=False).state_dict(), root / "backbone" / "model.safetensors")
    return {"tests/sd": model, REPOSITORY: root / "backbone"}


def lare(home: Path, endpoint: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with an empty or a filled hub cache."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    settings = {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "PYTHONPATH": str(ROOT), "NO_PROXY": "*", **environment}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN, *arguments],
        env=clean | settings,
        cwd=home.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def fetched(repositories: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Hub, Path, str]:
    """The hub after one prefetch, the hub cache, and what the command wrote."""
    folder = tmp_path_factory.mktemp("fetched")
    (folder / "extraction.yaml").write_text(f"model: tests/sd\nrevision: {COMMIT}\nimage_size: 64\ndevice: cpu\n")
    (folder / "training.yaml").write_text(f"model:\n  backbone: {NAME}\n  pretrained: true\ndata:\n  view: canvas\n")
    with serve(repositories, COMMIT) as hub:
        configs = ["--config", str(folder / "extraction.yaml"), "--config", str(folder / "training.yaml")]
        done = lare(folder / "my home", hub.address, "prefetch", *configs)
    assert done.returncode == 0, done.stderr
    return hub, folder / "my home", done.stdout


def test_only_files_that_are_loaded_are_fetched(fetched: tuple[Hub, Path, str]) -> None:
    hub, _, _ = fetched
    served = hub.served()
    assert f"{REPOSITORY}/model.safetensors" in served and f"{REPOSITORY}/pytorch_model.bin" not in served
    assert (
        "tests/sd/unet/diffusion_pytorch_model.safetensors" in served and "tests/sd/tokenizer/tokenizer.json" in served
    )
    assert not [path for path in served if path.endswith((".ckpt", ".fp16.safetensors"))]


def test_environment_is_printed_for_a_shell(fetched: tuple[Hub, Path, str]) -> None:
    _, home, text = fetched
    assert text == f"export HF_HOME={shlex.quote(str(home))}\nexport HF_HUB_OFFLINE=1\n"


LOAD = f"""
import sys, tests.workflow.prefetch.tiny_backbone
from extract import ModelFolder
from train.backbone import ImageBackbone
from safetensors.torch import load_file
folder = ModelFolder.open("tests/sd", "{COMMIT}")
folder.check_files()
net = ImageBackbone("{NAME}", pretrained=True, image_size=64).net
expected = load_file(sys.argv[1])
assert all(value.equal(expected[name]) for name, value in net.state_dict().items())
"""


@pytest.mark.parametrize("offline", ["0", "1"])
def test_a_machine_without_a_hub_then_has_all_models(
    fetched: tuple[Hub, Path, str], repositories: dict[str, Path], offline: str
) -> None:
    """Also where nobody has set HF_HUB_OFFLINE: what is there is not asked for."""
    _, home, _ = fetched
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": offline, "HF_ENDPOINT": "http://127.0.0.1:9"}
    weights = repositories[REPOSITORY] / "model.safetensors"
    command = [sys.executable, "-W", "ignore", "-c", LOAD, str(weights)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_second_prefetch_fetches_nothing(fetched: tuple[Hub, Path, str], repositories: dict[str, Path]) -> None:
    _, home, _ = fetched
    with serve(repositories, COMMIT) as hub:
        named = ["--model", "tests/sd", "--revision", COMMIT, "--backbone", NAME]
        done = lare(home, hub.address, "prefetch", *named)
    assert done.returncode == 0 and not hub.requests, done.stderr


@pytest.mark.slow
def test_missing_models_are_one_sentence_in_seconds(tmp_path: Path) -> None:
    unused = free_port()
    for arguments, words in (
        (["--backbone", NAME], "the weights of"),
        (["--model", "tests/sd", "--revision", COMMIT], "tests/sd at"),
    ):
        for environment, why in (({}, "connection refused"), ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set")):
            done = lare(tmp_path / "home", f"http://127.0.0.1:{unused}", "prefetch", *arguments, **environment)
            assert done.returncode == 2 and done.stdout == ""
            (line,) = done.stderr.splitlines()
            assert line.startswith(f"error: {words}") and why in line, line
            assert ("--model.pretrained PATH" in line) == (NAME in line)


@pytest.mark.slow
def test_revisions_and_repositories_that_a_hub_has_not_are_told(repositories: dict[str, Path], tmp_path: Path) -> None:
    with serve(repositories, COMMIT) as hub:
        other = lare(tmp_path / "home", hub.address, "prefetch", "--model", "tests/sd", "--revision", "f" * 40)
        gone = lare(tmp_path / "home", hub.address, "prefetch", "--model", "tests/none", "--revision", COMMIT)
    for done in (other, gone):
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
        assert "nor can it be downloaded" in done.stderr


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def test_a_hub_that_never_answers_costs_seconds() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.monotonic()
        why = why_unreachable(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_sec=0.5)
        assert why == "timed out" and time.monotonic() - start < 5


class Refusing(BaseHTTPRequestHandler):
    """A proxy that wants a password."""

    def do_HEAD(self) -> None:
        self.send_response(407)
        self.end_headers()

    def do_CONNECT(self) -> None:
        self.do_HEAD()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_refuses_is_named_without_its_password(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    where = f"127.0.0.1:{server.server_port}"
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://me:secret@{where}")
    try:
        why = why_unreachable(f"{scheme}://hub.invalid", timeout_sec=5)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    reason = "the proxy asks for a name and a password" if scheme == "http" else "407"
    assert why is not None and reason in why and f"through the proxy {where} of the environment" in why
    assert "secret" not in why


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("ReadTimeout", "HF_HUB_DOWNLOAD_TIMEOUT=60 waits longer"),
        ("ProxyError", "see the proxy in HTTPS_PROXY"),
        ("RemoteProtocolError", "the server went away"),
    ],
)
def test_a_download_that_breaks_off_is_a_sentence(kind: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    transfers = importlib.import_module(HfHubHTTPError.__bases__[0].__module__.partition(".")[0])
    error = getattr(transfers, kind)("the server went away")
    assert not isinstance(error, OSError | ValueError)

    def fail(*_: object, **__: object) -> None:
        raise error

    for module in ("extract.models.hub", "train.weights"):
        monkeypatch.setattr(f"{module}.why_unreachable", lambda address: None)
        monkeypatch.setattr(f"{module}.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(MissingFile, match=f"nor can it be downloaded .*{words}"):
        find_folder("a/b", "0" * 40, ["*"], local_files_only=False)
    with pytest.raises(ValueError, match=f"cannot be downloaded .*{words}"):
        fetch_backbone(NAME)


def test_settings_name_models(tmp_path: Path) -> None:
    extraction, training = tmp_path / "e.yaml", tmp_path / "t.yaml"
    extraction.write_text("timestep: 100\nmethod: roundtrip\n")
    training.write_text("trainer: {max_epochs: 1}\nmodel: {backbone: resnet101_clip, pretrained: true}\n")
    default = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    (model, backbone) = find_models([extraction, training, training], {})
    assert isinstance(model, DiffusionModel) and model.model == default and not model.with_unet
    assert model.revision == "451f4fe16113bff5a5d2269ed5ad43b0592e9a14" and backbone == Backbone("resnet101_clip")
    training.write_text("data: {view: canvas}\nmodel: {pretrained: false}\n")
    assert find_models([training], {"backbone": "resnet50_clip"}) == [Backbone("resnet50_clip")]
    with pytest.raises(ValueError, match="nothing names a model to fetch"):
        find_models([training], {})
    extraction.write_text(f"model: a/b\nrevision: {COMMIT}\n")
    (model,) = find_models([extraction], {"model": "c/d"})
    assert isinstance(model, DiffusionModel) and (model.model, model.revision) == ("c/d", None)
    training.write_text("model: {pretrained: nowhere.safetensors}\n")
    with pytest.raises(ValueError, match="neither true, false nor a file of weights"):
        find_models([training], {})


@pytest.mark.slow
def test_local_weights_and_folders_need_no_hub(repositories: dict[str, Path], tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    shutil.copy(repositories[REPOSITORY] / "model.safetensors", weights)
    (tmp_path / "t.yaml").write_text(f"model: {{backbone: {NAME}, pretrained: {weights}}}\n")
    model = ["--model", str(repositories["tests/sd"])]
    done = lare(tmp_path / "home", "http://127.0.0.1:9", "prefetch", "--config", str(tmp_path / "t.yaml"), *model)
    assert done.returncode == 0 and "nothing to fetch" in done.stderr, done.stderr
