"""Tables on the terminal."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

__all__ = ["show"]


def show(table: Any) -> None:
    """Print a DataFrame; columns of numbers lean right."""
    drawn = Table(box=SIMPLE_HEAD)
    for name in table.columns:
        words = table[name].astype(str).str.contains("[a-zA-Z]{3}").any()
        drawn.add_column(Text(str(name)), justify="left" if words else "right", overflow="fold")
    for row in table.itertuples(index=False):
        drawn.add_row(*(Text(str(cell)) for cell in row))  # cells are no markup
    console = Console()
    # Where the screen is too narrow a long line is better than a squeezed or missing column.
    wide = console.options.update(max_width=1000)
    console.width = max(console.width, Measurement.get(console, wide, drawn).maximum)
    console.print(drawn)
