"""The exported detector of the tests of `detect`, with what it was made of."""

from tests.detect.conftest import detector, made, one_thread, own_cache_folder

__all__ = ["detector", "made", "one_thread", "own_cache_folder"]
