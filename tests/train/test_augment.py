import numpy as np
import pytest

from tests.train.packed import cell_means
from train.augment import CanvasView, Placement, parse_view

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
    assert view.cut_image(canvas, Placement(0, 1, flip=False))[0].tolist() == [[2, 3], [6, 7]]
    assert view.cut_image(canvas, Placement(0, 1, flip=True))[0].tolist() == [[3, 2], [7, 6]]
    assert view.cut_map(np.array([[[1.0, 2.0], [3.0, 4.0]]]), Placement(0, 1, flip=True)).tolist() == [[[2.0]]]


def test_map_follows_its_image_through_every_box_and_flip() -> None:
    canvas = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    painted = cell_means(canvas.transpose(2, 0, 1))
    for top in range(3):
        for left in range(3):
            for flip in (False, True):
                at = Placement(top, left, flip)
                assert (VIEW.cut_map(painted, at) == cell_means(VIEW.cut_image(canvas, at))).all()


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


def test_parse_view_names_what_exists() -> None:
    assert parse_view("canvas") == "canvas"
    with pytest.raises(ValueError, match=r"'native'.*not built yet.*'canvas' exists"):
        parse_view("native")
    with pytest.raises(ValueError, match="'whole': expected 'canvas'"):
        parse_view("whole")
