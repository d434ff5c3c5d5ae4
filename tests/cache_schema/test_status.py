import numpy as np
import pytest

from cache_schema import Status, is_ok


@pytest.mark.parametrize("status", list(Status))
def test_a_row_is_ok_at_once_or_after_a_retry_and_else_rejected(status: Status) -> None:
    assert is_ok(status) is is_ok(int(status)) is (status in (Status.OK, Status.OK_AFTER_FP32))


def test_an_array_of_statuses_gives_an_array() -> None:
    statuses = np.array([[0, 1, 2], [3, 4, 255]], np.uint8)
    ok = is_ok(statuses)
    assert ok.dtype == bool and ok.tolist() == [[True, True, False], [False, False, False]]
    assert is_ok(np.empty(0, np.uint8)).shape == (0,)
    assert all(bool(is_ok(status)) == expected for status, expected in zip(statuses[0], ok[0], strict=True))
