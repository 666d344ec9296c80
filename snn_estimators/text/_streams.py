"""Documents that are read whenever they are asked for, so that no more than one is in memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self, overload

__all__ = ["DocumentStream", "FileStream", "RowStream"]

PART_LENGTH = 1 << 20
"""Characters of a file that make a document, and the rest of the line."""

_ROWS_AT_ONCE = 1000


class DocumentStream(Sequence[str]):
    """A sequence of documents that keeps none of them; a slice or a sum is a list.

    What takes documents goes through it several times.
    """

    @abstractmethod
    def _read(self, index: int) -> str:
        """Return the document at an index from 0 on."""

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        places = range(len(self))[index]
        return self._read(places) if isinstance(places, int) else [self._read(i) for i in places]


class FileStream(DocumentStream):
    """Text files, each in parts of at least `PART_LENGTH` characters that end with a line.

    Parameters
    ----------
    parts : sequence of (Path, int)
        The file of each part and where it begins there, as ``tell`` has it.
    encoding : str
    """

    def __init__(self, parts: Sequence[tuple[Path, int]], encoding: str) -> None:
        self._parts, self._encoding = list(parts), encoding

    @classmethod
    def of(cls, path: Path, encoding: str) -> Self:
        """Go through a file once, to find its parts; one without text has a part, too."""
        parts: list[tuple[Path, int]] = []
        with path.open(encoding=encoding) as file:
            start = file.tell()
            while _read_part(file) or not parts:
                parts.append((path, start))
                start = file.tell()
        return cls(parts, encoding)

    @classmethod
    def joined(cls, streams: Sequence[Self]) -> Self:
        """Return the parts of several streams, of one encoding, in their order."""
        return cls([part for stream in streams for part in stream._parts], streams[0]._encoding)

    def __len__(self) -> int:
        return len(self._parts)

    def _read(self, index: int) -> str:
        path, start = self._parts[index]
        with path.open(encoding=self._encoding) as file:
            file.seek(start)
            return _read_part(file)


def _read_part(file: Any) -> str:
    """Read on, to the end of a line; where there is none for as long, to there."""
    part: str = file.read(PART_LENGTH)
    return part if part.endswith("\n") else part + file.readline(PART_LENGTH)


class RowStream(DocumentStream):
    """The rows of a column of a data set of `datasets`, which reads them from its own files.

    Parameters
    ----------
    table : datasets.Dataset
    column : str
    """

    def __init__(self, table: Any, column: str) -> None:
        self._table, self._column = table.select_columns([column]), column

    def __len__(self) -> int:
        return len(self._table)

    def _read(self, index: int) -> str:
        return self._checked(index, self._table[index][self._column])

    def __iter__(self) -> Iterator[str]:
        index = 0
        for batch in self._table.iter(_ROWS_AT_ONCE):
            for document in batch[self._column]:
                yield self._checked(index, document)
                index += 1

    def _checked(self, index: int, document: str | None) -> str:
        if document is None:
            raise ValueError(
                f"Row {index} of the data set has no text: drop it, table.filter(...), or load the "
                "data set without stream=True and replace it."
            )
        return document
