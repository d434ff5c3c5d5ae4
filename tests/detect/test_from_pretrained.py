"""What a detector folder must be to be loaded, and what is said where it is not."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cache_schema import FingerprintMismatch, FormatVersionError
from detect import Detector
from extract.models import known_hashes
from tests.detect.conftest import Made
from tests.extract.conftest import make_images
from tests.models import save_tiny_sd
from train import Calibration
from train.export import export_checkpoint


@pytest.fixture
def folder(made: Made, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.folder, tmp_path / "detector"))


def change(folder: Path, edit: Callable[[dict], object]) -> None:
    content = json.loads((folder / "detector.json").read_text())
    edit(content)
    (folder / "detector.json").write_text(json.dumps(content))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_another_diffusion_model_is_refused_with_the_hashes(made: Made, tmp_path: Path) -> None:
    other = save_tiny_sd(tmp_path / "other", seed=1)
    with pytest.raises(FingerprintMismatch, match=r"unet_sha256: [0-9a-f]{64} ≠ [0-9a-f]{64}.*vae_sha256") as refused:
        Detector.from_pretrained(made.folder, other)
    assert "Name the diffusion model of its training with --model" in str(refused.value)


def test_without_a_model_the_hash_of_its_weights_is_told(made: Made) -> None:
    with pytest.raises(ValueError, match=r"does not say where the diffusion model .*weights: [0-9a-f]{64}\)"):
        Detector.from_pretrained(made.folder)


def test_a_folder_that_holds_its_model_needs_no_other(made: Made, tmp_path: Path) -> None:
    target = tmp_path / "whole"
    export_checkpoint(str(made.checkpoint), str(target), str(made.data), str(made.cache), str(made.model))
    whole, apart = Detector.from_pretrained(target), Detector.from_pretrained(made.folder, made.model)
    picture = make_images(1)[0]
    assert whole(picture)[0].score == apart(picture)[0].score


def test_a_model_that_has_only_half_precision_names_is_read_by_its_variant(made: Made, tmp_path: Path) -> None:
    model = Path(shutil.copytree(made.model, tmp_path / "model"))
    for path in [*model.rglob("*.safetensors")]:
        path.rename(path.with_suffix(".fp16.safetensors"))
    with pytest.raises(ValueError, match="only with --variant fp16"):
        Detector.from_pretrained(made.folder, model)
    half, usual = (
        Detector.from_pretrained(made.folder, path, variant=variant)
        for path, variant in ((model, "fp16"), (made.model, None))
    )
    picture = make_images(1)[0]
    assert half(picture)[0].score == usual(picture)[0].score


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_and_a_flipped_bit_are_refused_by_name(made: Made, folder: Path, name: str) -> None:
    flip(folder / name)
    with pytest.raises(ValueError, match=rf"{name} is damaged: its bytes do not have the hash in detector\.json"):
        Detector.from_pretrained(folder, made.model)
    (folder / name).unlink()
    with pytest.raises(ValueError, match=rf"{name} is missing: detector\.json names it"):
        Detector.from_pretrained(folder, made.model)


def test_a_damaged_description_is_refused(made: Made, folder: Path) -> None:
    change(folder, lambda content: content["calibration"].update(threshold=0.01))
    with pytest.raises(ValueError, match=r"detector\.json is damaged: its content does not have the hash"):
        Detector.from_pretrained(folder, made.model)
    (folder / "detector.json").write_text("{")
    with pytest.raises(ValueError, match=r"detector\.json is damaged: it cannot be read as JSON"):
        Detector.from_pretrained(folder, made.model)
    (folder / "detector.json").unlink()
    with pytest.raises(ValueError, match=r"holds no detector\.json: it is no detector"):
        Detector.from_pretrained(folder, made.model)


def test_a_folder_that_older_code_exported_without_a_calibration_says_so(made: Made, folder: Path) -> None:
    content = json.loads((folder / "detector.json").read_text())
    del content["sha256"]
    content["calibration"] = Calibration().to_dict()
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    content["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / "detector.json").write_text(json.dumps(content))
    (verdict,) = Detector.from_pretrained(folder, made.model, "cpu")(make_images(1)[0])
    assert verdict.probability is None and verdict.verdict != "real"
    assert "not_calibrated" in [note.code for note in verdict.notes]


def test_another_version_is_refused(made: Made, folder: Path) -> None:
    change(folder, lambda content: content.update(format_version=2))
    with pytest.raises(FormatVersionError, match=r"has format version 2, this code reads 1\. Export"):
        Detector.from_pretrained(folder, made.model)


def test_what_is_no_folder_is_looked_for_on_the_hub(made: Made, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is neither a detector folder, nor in the local hub cache"):
        Detector.from_pretrained("nobody/nothing", made.model)


def test_another_compute_dtype_is_noted(made: Made) -> None:
    detector = Detector.from_pretrained(made.folder, made.model, "cpu", compute_dtype="bf16")
    (verdict,) = detector(make_images(1)[0])
    texts = {note.code: note.text for note in verdict.notes}
    assert texts["compute_dtype"] == "The diffusion model computes in bf16; the detector was trained on maps in fp32."
    with pytest.raises(ValueError, match="compute_dtype is 'fp8': expected one of"):
        Detector.from_pretrained(made.folder, made.model, "cpu", compute_dtype="fp8")


def test_a_rate_that_is_not_supported_is_named_or_refused(made: Made) -> None:
    detector = Detector.from_pretrained(made.folder, made.model, "cpu")
    (verdict,) = detector(make_images(1)[0])
    assert verdict.false_alarm_rate == pytest.approx(1 / 7)
    text = next(note.text for note in verdict.notes if note.code == "false_alarm_rate")
    assert text == (
        "A false-alarm rate of 1 % needs 99 groups of validation photographs; this detector has 6, which support 14 %."
    )
    with pytest.raises(ValueError, match=r"which support 14 %\. Ask for a larger --false_alarm_rate"):
        Detector.from_pretrained(made.folder, made.model, "cpu", strict=True)
    with pytest.raises(ValueError, match="false_alarm_rate is 0: expected more than 0"):
        Detector.from_pretrained(made.folder, made.model, "cpu", false_alarm_rate=0)


def test_weights_are_hashed_once_and_again_on_verify(
    made: Made, monkeypatch: pytest.MonkeyPatch, own_cache_folder: Path
) -> None:
    hashed: list[str] = []
    real = known_hashes.hash_files

    def counted(files: object) -> str:
        hashed.append("x")
        return real(files)  # type: ignore[arg-type]

    monkeypatch.setattr(known_hashes, "hash_files", counted)
    Detector.from_pretrained(made.folder, made.model, "cpu")
    assert len(hashed) == 3  # UNet, autoencoder, text encoder
    Detector.from_pretrained(made.folder, made.model, "cpu")
    assert len(hashed) == 3
    Detector.from_pretrained(made.folder, made.model, "cpu", verify=True)
    assert len(hashed) == 6
