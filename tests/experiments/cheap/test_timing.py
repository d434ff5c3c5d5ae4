import torch

from experiments.cheap.timing import NUM_ROUNDS, measure_in_turns, one_thread


def test_works_take_turns_and_the_median_an_image_is_kept() -> None:
    now, done = 0.0, []

    def take(name: str, seconds: list[float]) -> None:
        nonlocal now
        done.append(name)
        now += seconds.pop(0)

    slow, fast = [100.0, 5.0, 1.0, 3.0, 4.0, 2.0], [100.0, 1.0, 1.0, 1.0, 9.0, 1.0]  # the first is not measured
    works = {"slow": lambda: take("slow", slow), "fast": lambda: take("fast", fast)}
    times = measure_in_turns(works, num_images=2, clock=lambda: now)
    assert len(done) == 2 * (NUM_ROUNDS + 1) and done[:6] == ["slow", "fast", "slow", "fast", "fast", "slow"]
    assert (times["slow"].median, times["slow"].fastest, times["slow"].slowest) == (1500, 500, 2500)
    assert (times["fast"].median, times["fast"].slowest) == (500, 4500)
    assert str(times["slow"]) == "1.5e+03 (500 to 2.5e+03)"


def test_one_thread_only_while_it_is_asked_for() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
