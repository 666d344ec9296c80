"""The losses of a named fit as a table that other programs can read while it runs."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import IO, Any

from snn_estimators._files import replace_file

__all__ = ["COLUMNS", "StepLog"]

COLUMNS = ("step", "train_loss", "valid_loss", "lr", "tokens_per_second")


class StepLog:
    """Writes a CSV file, a row a step, each as soon as it is complete.

    A log that is there is continued after `step`: later rows, of steps that will be done again, are
    cut off. The row of `step` itself may still wait for its validation (``is_complete=False``).

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "log.csv")
    >>> with StepLog(path) as log:
    ...     log.add(1, 2.5, 1e-3, 900.0)
    ...     log.add(2, 2.25, 1e-3, 1000.0)
    ...     log.complete(2.375)
    >>> print(path.read_text())
    step,train_loss,valid_loss,lr,tokens_per_second
    1,2.5,,0.001,900.0
    2,2.25,2.375,0.001,1000.0
    """

    def __init__(self, path: Path, step: int = 0, *, is_complete: bool = True) -> None:
        self.path = path
        self._pending: list[object] | None = None
        rows: list[list[Any]] = read_log(path) if step else []
        self._written = [row for row in rows if int(row[0]) <= step]
        newest = int(self._written[-1][0]) if self._written else None
        self._is_open = newest == step and not is_complete
        self._begin()

    def _begin(self) -> None:
        """Write all rows that there are, and open the file to append others."""
        replace_file(self.path, _lines([COLUMNS, *self._written]).encode())
        self._file: IO[str] = self.path.open("a", encoding="utf-8", newline="")

    def add(self, step: int, train_loss: float, lr: float, tokens_per_second: float) -> None:
        """Begin the row of a step; it is written by `complete`, or before the next one."""
        self.complete()
        self._pending = [step, train_loss, "", lr, f"{tokens_per_second:.1f}"]

    def complete(self, valid_loss: float | None = None) -> None:
        """Write the row that was begun, if there is one."""
        is_open, self._is_open = self._is_open, False
        row, self._pending = self._pending, None
        try:
            if row is not None:
                row[2] = "" if valid_loss is None else valid_loss
                self._file.write(_lines([row]))
                self._file.flush()
            elif is_open and valid_loss is not None:
                row = self._written[-1]
                row[2] = valid_loss
                self._file.close()
                self._begin()
        except OSError as error:
            assert row is not None
            raise OSError(
                error.errno,
                f"The row of step {row[0]} could not be added to {self.path} ({error.strerror}): "
                "free space, and resume by fit(X, resume=True)",
            ) from error

    def close(self) -> None:
        """Write the last row, and close the file."""
        try:
            self.complete()
        finally:
            self._file.close()

    def __enter__(self) -> StepLog:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self.close()
        except OSError:
            if kind is None:  # otherwise the exception that ended the fit matters more
                raise


def read_log(path: Path) -> list[list[str]]:
    """Return the complete rows of a log; a kill may have cut off the last, an editor any."""
    if not path.is_file():
        return []
    rows = csv.reader(path.read_text(encoding="utf-8", errors="replace").split("\n")[1:-1])
    return [row for row in rows if len(row) == len(COLUMNS) and row[0].isdecimal()]


def _lines(rows: list) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
