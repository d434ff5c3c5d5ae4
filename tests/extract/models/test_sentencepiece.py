"""T5's vocabulary, read without SentencePiece's own library."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers.utils import sentencepiece_model_pb2_new as protobuf

from extract.models.loading import load_tokenizer
from extract.models.sentencepiece import read_pieces
from tests.extract.conftest import Run, assert_same_maps, pack, read_maps
from tests.families import T5_PIECES


def write(path: Path, table: bytes = b"") -> Path:
    """A file of T5's pieces, by protobuf."""
    model = protobuf.ModelProto()
    for text, score in T5_PIECES:
        model.pieces.add(piece=text, score=score, type=1)
    model.trainer_spec.unk_id = 2
    model.normalizer_spec.name = "nmt_nfkc"
    model.normalizer_spec.precompiled_charsmap = table
    path.write_bytes(model.SerializeToString())
    return path


def test_pieces_and_table_are_read(tmp_path: Path) -> None:
    pieces, table = read_pieces(write(tmp_path / "spiece.model", b"table"))
    assert [text for text, _ in pieces] == [text for text, _ in T5_PIECES] and table == b"table"
    assert [score for _, score in pieces] == pytest.approx([score for _, score in T5_PIECES])


def test_maps_are_the_same_with_either_file(families: Callable[[str], Path], run: Run, tmp_path: Path) -> None:
    pack(tmp_path / "data", [0])
    older = Path(shutil.copytree(families("pixart_sigma"), tmp_path / "older"))
    (older / "tokenizer" / "tokenizer.json").unlink()
    write(older / "tokenizer" / "spiece.model")
    assert run(model=families("pixart_sigma")) == 0 and run(model=older, cache=tmp_path / "b") == 0
    assert_same_maps(read_maps(tmp_path / "cache"), read_maps(tmp_path / "b"), tolerance=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no pieces"),
        (b"\x0a\xff\xff\xff\xff\x0f", "is damaged"),
        (b"\x0a\x02\x0a\x05", "is damaged"),
        (b"\x0a\x03\x0a\x01\xff", "is damaged"),
        (b"\xff" * 20, "is damaged"),
        (b"\x0b", "is damaged"),
    ],
)
def test_damaged_files_are_told(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "spiece.model").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_pieces(tmp_path / "spiece.model")
    with pytest.raises(ValueError, match=f"holds no T5Tokenizer .*{message}"):
        load_tokenizer(tmp_path, "T5EncoderModel")


def test_large_files_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "spiece.model").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(ValueError, match="has 1,073,741,824 bytes: expected at most 16,777,216"):
        read_pieces(tmp_path / "spiece.model")
