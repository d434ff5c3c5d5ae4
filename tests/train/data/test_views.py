import numpy as np
import pytest
from PIL import Image

from cache_schema import DatasetError, resize_canvas
from tests.train.packed import cell_means
from train.data.native_views import STEPS, SampledMapView, WholeMapView, check_view, only_size
from train.data.views import CanvasView, Placement, View

VIEW = CanvasView(canvas_px=16, map_cells=8, crop_px=12)


def test_view_has_the_latent_stride() -> None:
    paper = CanvasView(canvas_px=256, map_cells=32, crop_px=224)
    assert (paper.stride, paper.crop_cells) == (8, 28)
    assert paper.centre() == Placement(2, 2, flip=False)


def test_centre_is_on_the_grid_when_an_odd_number_of_cells_is_left_over() -> None:
    assert CanvasView(canvas_px=16, map_cells=8, crop_px=10).centre() == Placement(1, 1, flip=False)


@pytest.mark.parametrize("crop_px", [0, 11, 18])
def test_view_refuses_a_crop_that_is_not_on_the_grid(crop_px: int) -> None:
    with pytest.raises(ValueError, match=rf"crop_px is {crop_px}: expected a multiple of the latent stride, 2 px"):
        CanvasView(canvas_px=16, map_cells=8, crop_px=crop_px)


def test_view_refuses_a_map_that_does_not_divide_the_canvas() -> None:
    with pytest.raises(ValueError, match="map of 7 cells does not divide a canvas of 16 px"):
        CanvasView(canvas_px=16, map_cells=7, crop_px=12)


def test_cut_by_hand() -> None:
    canvas = np.arange(16, dtype=np.uint8).reshape(4, 4, 1).repeat(3, axis=2)
    view = CanvasView(canvas_px=4, map_cells=2, crop_px=2)
    assert view.cut_image(canvas, Placement(0, 1, flip=False))[..., 0].tolist() == [[2, 3], [6, 7]]
    assert view.cut_image(canvas, Placement(0, 1, flip=True))[..., 0].tolist() == [[3, 2], [7, 6]]
    assert view.cut_map(np.array([[[1.0, 2.0], [3.0, 4.0]]]), Placement(0, 1, flip=True)).tolist() == [[[2.0]]]


def test_map_follows_its_image_through_every_box_and_flip() -> None:
    canvas = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    painted = cell_means(canvas.transpose(2, 0, 1))
    for top in range(3):
        for left in range(3):
            for flip in (False, True):
                at = Placement(top, left, flip)
                assert (VIEW.cut_map(painted, at) == cell_means(VIEW.cut_image(canvas, at).transpose(2, 0, 1))).all()


def test_canvas_takes_pixels_of_its_size_as_they_are_and_squashes_others() -> None:
    canvas = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert VIEW.frame(canvas) is canvas
    oblong = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    assert np.array_equal(VIEW.frame(oblong), resize_canvas(Image.fromarray(oblong), 16))


@pytest.mark.parametrize("can_be_written", [True, False])
def test_mirroring_leaves_the_picture_alone(can_be_written: bool) -> None:
    canvas = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    before = canvas.copy()
    canvas.flags.writeable = can_be_written  # pixels of Pillow's cannot
    assert np.array_equal(VIEW.cut_image(canvas, Placement(1, 2, flip=True)), before[2:14, 4:16][:, ::-1])
    assert np.array_equal(canvas, before)


def test_random_placement_is_a_function_of_seed_epoch_and_key() -> None:
    def draws(seed: int, epoch: int) -> list[Placement]:
        return [VIEW.random(seed, epoch, f"real/{i}%2Epng", flip=True) for i in range(30)]

    assert draws(0, 0) == draws(0, 0)
    assert draws(0, 0) != draws(0, 1)
    assert draws(0, 0) != draws(1, 0)


def test_random_placement_takes_every_box_and_both_sides() -> None:
    drawn = {VIEW.random(0, 0, str(i), flip=True) for i in range(400)}
    assert drawn == {Placement(y, x, f) for y in range(3) for x in range(3) for f in (False, True)}


def test_random_placement_without_flip_keeps_the_boxes() -> None:
    for i in range(20):
        flipped, plain = (VIEW.random(0, 0, str(i), flip=flip) for flip in (True, False))
        assert (plain.top, plain.left, plain.flip) == (flipped.top, flipped.left, False)


def test_whole_canvas_leaves_one_box() -> None:
    view = CanvasView(canvas_px=16, map_cells=8, crop_px=16)
    assert view.random(0, 0, "a", flip=False) == view.centre() == Placement(0, 0, flip=False)


def shades(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture whose colours change slowly, so that a map can be interpolated: (height, width, 3), uint8."""
    few = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(few).resize((width, height), Image.Resampling.BICUBIC))


def painted_map(picture: np.ndarray, canvas_px: int = 256, cells: int = 32) -> np.ndarray:
    """A map that shows its picture: mean of each channel of the canvas over each cell, (3, cells, cells), float32."""
    return block_means(resize_canvas(Image.fromarray(picture), canvas_px), cells)


def block_means(image: np.ndarray, cells: int) -> np.ndarray:
    """Mean of each channel over a grid of cells: (S, S, 3) → (3, cells, cells), float32."""
    blocks = image.transpose(2, 0, 1).reshape(3, cells, len(image) // cells, cells, -1)
    return blocks.mean(axis=(2, 4), dtype=np.float64).astype(np.float32)


SIZES = [(128, 128), (256, 256), (131, 977), (512, 384), (375, 500), (1024, 1024), (4000, 2250)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_canvas_map_follows_its_image_at_every_image_size(width: int, height: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    painted, view = painted_map(picture), CanvasView(canvas_px=256, map_cells=32, crop_px=224)
    frame = view.frame(picture)
    assert frame.shape == (256, 256, 3)
    places = [view.centre(), *(view.random(0, epoch, "a", flip=True) for epoch in range(12))]
    assert len(set(places)) > 8 and {at.flip for at in places} == {True, False}
    for at in places:
        assert (view.cut_map(painted, at) == block_means(view.cut_image(frame, at), view.crop_cells)).all()


def mismatch(view: View, picture: np.ndarray, places: list[Placement]) -> float:
    """Mean difference of the cut map from the map of the cut image, over that of the uncut map's values: 0 is exact."""
    painted, frame = painted_map(picture), view.frame(picture)
    differences = [view.cut_map(painted, at) - block_means(view.cut_image(frame, at), view.crop_cells) for at in places]
    return float(np.abs(differences).mean() / np.abs(painted - painted.mean(axis=(1, 2), keepdims=True)).mean())


def native_places(view: View) -> list[Placement]:
    places = [view.centre(), *(view.random(0, epoch, "a", flip=True) for epoch in range(12))]
    assert {at.flip for at in places} == {True, False}
    return places


@pytest.mark.parametrize(("width", "height"), [(512, 384), (375, 500), (256, 256), (1024, 1024), (224, 230)])
def test_sampled_map_follows_its_image_within_interpolation(width: int, height: int) -> None:
    view = SampledMapView(canvas_px=256, map_cells=32, crop_px=224, image_px=(height, width))
    assert view.crop_cells == 28
    # Measured: at most 0.03. A map that is mirrored or half a box off differs by about as much as two pictures do.
    assert mismatch(view, shades(height, width), native_places(view)) < 0.05
    others = [Placement(STEPS - 1 - at.top, STEPS - 1 - at.left, not at.flip) for at in native_places(view)]
    painted, frame = painted_map(shades(height, width)), view.frame(shades(height, width))
    wrong = [
        view.cut_map(painted, off) - block_means(view.cut_image(frame, at), 28)
        for at, off in zip(native_places(view), others, strict=True)
    ]
    assert np.abs(wrong).mean() > 10 * 0.05 * np.abs(painted - painted.mean(axis=(1, 2), keepdims=True)).mean()


def test_sampled_map_is_the_cut_one_on_the_grid_of_the_canvas() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    view = SampledMapView(canvas_px=256, map_cells=32, crop_px=224, image_px=(256, 256))
    canvas = CanvasView(canvas_px=256, map_cells=32, crop_px=224)
    for cell, flip in ((0, False), (1, True), (3, False), (4, True)):
        at = Placement(-(-cell * 8 * STEPS // 33), -(-2 * 8 * STEPS // 33), flip)
        on_grid = Placement(cell, 2, flip)
        assert (view.cut_image(picture, at) == canvas.cut_image(picture, on_grid)).all()
        np.testing.assert_array_equal(
            view.cut_map(painted_map(picture), at), canvas.cut_map(painted_map(picture), on_grid)
        )


def test_sampled_map_averages_the_cells_of_small_pictures() -> None:
    sizes = {(512, 384): 1, (256, 256): 1, (224, 230): 2, (128, 128): 2, (100, 300): 3}
    views = {s: SampledMapView(canvas_px=256, map_cells=32, crop_px=96, image_px=s) for s in sizes}
    assert {size: view.samples_a_cell for size, view in views.items()} == sizes


def test_sampled_map_takes_half_precision_maps_and_leaves_them() -> None:
    view = SampledMapView(canvas_px=256, map_cells=32, crop_px=224, image_px=(384, 512))
    stored = painted_map(shades(384, 512)).astype(np.float16)
    before = stored.copy()
    assert view.cut_map(stored, view.centre()).dtype == np.float32
    assert (stored == before).all()


def test_sampled_map_needs_images_of_the_one_size() -> None:
    view = SampledMapView(canvas_px=256, map_cells=32, crop_px=224, image_px=(300, 400))
    with pytest.raises(DatasetError, match=r"decodes to 300 × 400 px where the index says 400 × 300: its EXIF"):
        view.frame(np.zeros((400, 300, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"crop_px is 224, the images have 400 × 200 px: the padding has no map"):
        SampledMapView(canvas_px=256, map_cells=32, crop_px=224, image_px=(200, 400))
    with pytest.raises(ValueError, match="crop_px is 220: expected a multiple of the latent stride, 8 px"):
        SampledMapView(canvas_px=256, map_cells=32, crop_px=220, image_px=(300, 400))
    assert only_size([(300, 400)]) == (300, 400)
    with pytest.raises(ValueError, match=r"These have 3 sizes, such as 400 × 300 px and 512 × 512 px. The smoothness"):
        only_size([(300, 400), (512, 512), (600, 600)])


def test_whole_map_does_not_match_its_image_under_a_crop() -> None:
    # The authors' way, and its fault: the same map lies under every crop.
    picture = shades(384, 512)
    view = WholeMapView(map_cells=32, crop_px=224)
    places = native_places(view)
    assert mismatch(view, picture, places) > 0.3
    whole = WholeMapView(map_cells=32, crop_px=256)
    assert mismatch(whole, shades(256, 256), native_places(whole)) == 0  # only where nothing is cut off
    painted = painted_map(picture)
    assert all((view.cut_map(painted, at)[..., :: -1 if at.flip else 1] == painted).all() for at in places)


@pytest.mark.parametrize("missing", [(0, 1), (5, 0), (3, 8)])
def test_small_picture_is_put_into_the_middle_of_black(missing: tuple[int, int]) -> None:
    height, width = 20 - missing[0], 20 - missing[1]
    picture = np.full((height, width, 3), 200, dtype=np.uint8)
    view = WholeMapView(map_cells=4, crop_px=20)
    for at in native_places(view):
        image = view.cut_image(picture, at)
        expected = np.zeros((20, 20, 3), dtype=np.uint8)
        y, x = missing[0] // 2, missing[1] // 2
        expected[y : y + height, x : x + width] = 200
        assert (image == (expected[:, ::-1] if at.flip else expected)).all()


def test_native_boxes_reach_every_place_and_evaluation_takes_the_middle() -> None:
    rows = np.arange(13, dtype=np.uint8)[:, None, None].repeat(13, axis=1).repeat(3, axis=2)
    view = WholeMapView(map_cells=4, crop_px=10)
    tops = [int(view.cut_image(rows, view.random(0, 0, str(i), flip=True))[0, 0, 0]) for i in range(200)]
    assert set(tops) == {0, 1, 2, 3} and min(map(tops.count, range(4))) > 30
    assert [int(view.cut_image(rows[:n], view.centre())[0, 0, 0]) for n in (10, 11, 12, 13)] == [0, 0, 1, 1]
    assert view.random(0, 1, "a", flip=True) == view.random(0, 1, "a", flip=True) != view.random(0, 2, "a", flip=True)
    with pytest.raises(ValueError, match="crop_px is 0: expected 1 or more"):
        WholeMapView(map_cells=4, crop_px=0)


def test_check_view_names_what_exists() -> None:
    for view, alignment in (("canvas", None), ("native", "whole"), ("native", "crop")):
        check_view(view, alignment)
    for view, alignment, message in (
        ("whole", None, "view is 'whole': expected 'canvas' or 'native'"),
        ("canvas", "crop", "alignment is 'crop': view canvas is always aligned"),
        ("native", None, "alignment is None: view native needs 'whole' .* or 'crop'"),
        ("native", "exact", "alignment is 'exact': view native needs"),
    ):
        with pytest.raises(ValueError, match=message):
            check_view(view, alignment)
