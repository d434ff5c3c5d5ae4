"""Image sources of GenImage's layout: one each, told where guessed, and never shared unasked."""

from pathlib import Path

import pytest

from extract.packing.layouts import SourceFile
from extract.packing.lists import find_layout, list_source
from extract.packing.naming import name_generators

BIGGAN, SDV5 = "imagenet_ai_0419_biggan", "imagenet_ai_0424_sdv5"


def make(root: Path, *folders: str) -> None:
    """A generated image and a photograph in each folder."""
    for i, folder in enumerate(folders):
        for kind in ("ai", "nature"):
            path = root / folder / "val" / kind / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def listed(src: Path) -> list[SourceFile]:
    return list(list_source(src, find_layout(src, "auto"), None, "all").files)


def sources(src: Path) -> dict[str, set[tuple[str, str]]]:
    """Image source and subset of the files below each `imagenet_*` folder."""
    found: dict[str, set[tuple[str, str]]] = {}
    for file in listed(src):
        folder = file.path.partition("/val/")[0].rpartition("/")[2]
        found.setdefault(folder, set()).add((file.image_source, file.subset))
    return found


def test_folders_of_two_generators_in_one_root_have_one_source_each(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    make(tmp_path / "small", BIGGAN, SDV5)
    expected = {
        BIGGAN: {("biggan", "biggan"), ("real", "biggan")},
        SDV5: {("sdv5", "sdv5"), ("real", "sdv5")},
    }
    assert sources(tmp_path / "small") == expected
    assert f"{BIGGAN}: generated images have the image source 'biggan' and the subset 'biggan'" in caplog.messages
    assert sources(tmp_path) == expected  # one folder further up


def test_folders_of_two_generators_in_a_list_have_one_source_each(tmp_path: Path) -> None:
    make(tmp_path, BIGGAN, SDV5)
    lines = [
        f"{f}/val/{kind}/{i}.png {label}"
        for i, f in enumerate((BIGGAN, SDV5))
        for kind, label in (("ai", 1), ("nature", 0))
    ]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    assert sources(tmp_path / "list.txt") == {
        BIGGAN: {("biggan", "biggan"), ("real", "biggan")},
        SDV5: {("sdv5", "sdv5"), ("real", "sdv5")},
    }


def test_a_folder_alone_has_the_name_of_the_folder_that_it_lies_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    make(tmp_path / "Flux Pro", "imagenet_flux")
    (tmp_path / "Flux Pro" / "imagenet_notes").mkdir()
    assert sources(tmp_path / "Flux Pro") == {"imagenet_flux": {("flux pro", "Flux Pro"), ("real", "Flux Pro")}}
    assert (
        "imagenet_flux: generated images have the image source 'flux pro' and the subset 'Flux Pro'" in caplog.messages
    )


def test_a_name_of_genimages_joins_its_folders() -> None:
    assert name_generators(["BigGAN/imagenet_a", "BigGAN/imagenet_b"], "x") == {
        "BigGAN/imagenet_a": "BigGAN",
        "BigGAN/imagenet_b": "BigGAN",
    }
    assert set(name_generators(["imagenet_a", "imagenet_b"], "ADM").values()) == {"ADM"}
    assert set(name_generators(["d1/Flux/imagenet_a", "d2/flux/imagenet_a"], "x").values()) == {"Flux", "flux"}


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (
            ["imagenet_ai_0419_flux", "imagenet_ai_0420_flux"],
            "0419_flux and imagenet_ai_0420_flux would share .* 'flux'",
        ),
        (["stable_diffusion_v_1_5/imagenet_a", "sdv5/imagenet_b"], "would share the image source 'sdv5'"),
        (["BigGAN/imagenet_a", "set/imagenet_biggan", "set/imagenet_sdv5"], "would share the image source 'biggan'"),
        (["real/imagenet_a"], "would have the image source 'real', which photographs have"),
        (["imagenet_real", "imagenet_sdv5"], "would have the image source 'real', which photographs have"),
    ],
)
def test_folders_that_would_share_a_source_are_refused(folders: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        name_generators(folders, "root")
    make(tmp_path, *folders)
    with pytest.raises(ValueError, match=message):
        find_layout(tmp_path, "auto")
