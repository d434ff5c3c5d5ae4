"""Thrift's compact protocol, as far as headers and footers of Parquet files need it: numbers, structs and their lists.

pyarrow shows the same numbers, but a footer of strangers ends the whole process there, in C++.
"""

MAX_DEPTH = 10


class Compact:
    """Reads structs: field → integer, fields of a struct, or a list of such; of other values None.

    Raises IndexError where the bytes end first, and RecursionError at more than `MAX_DEPTH` structs in one another.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def struct(self, depth: int = 0) -> dict[int, object]:
        """The fields up to the end of a struct."""
        if depth > MAX_DEPTH:
            raise RecursionError
        fields: dict[int, object] = {}
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._zigzag()
            fields[field] = self._value(head & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> object:
        if kind in (1, 2):  # true, false
            return None
        if kind in (4, 5, 6):
            return self._zigzag()
        if kind in (3, 7):
            self._skip(1 if kind == 3 else 8)
        elif kind == 8:
            self._skip(self._varint())
        elif kind in (9, 10):
            return self._list(depth)
        elif kind == 12:
            return self.struct(depth + 1)
        else:
            raise IndexError
        return None

    def _list(self, depth: int) -> list[object] | None:
        head = self._byte()
        size, kind = head >> 4 if head >> 4 < 15 else self._varint(), head & 15
        if kind == 12:
            return [self.struct(depth + 1) for _ in range(size)]
        for _ in range(size):
            if kind in (1, 2):
                self._skip(1)
            else:
                self._value(kind, depth + 1)
        return None

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _skip(self, num: int) -> None:
        self.at += num
        if self.at > len(self._data):
            raise IndexError

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def _zigzag(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
