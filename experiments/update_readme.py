"""Copy the tables of ``results/`` into the README, between the comments that name them.

``<!-- table: results/NAME/results.md -->`` ... ``<!-- end -->``. With ``--check``, change nothing
and fail if a table is not the file's: what CI runs.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def updated(text: str) -> str:
    """Return `text` with every table as its file has it."""

    def table(block: re.Match[str]) -> str:
        return f"{block[1]}{(ROOT / block[2]).read_text('utf-8').strip()}\n{block[3]}"

    return BLOCK.sub(table, text)


def main() -> None:
    """Rewrite the README, or check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, fail on a difference")
    options = parser.parse_args()
    readme = ROOT / "README.md"
    text = readme.read_text("utf-8")
    if not options.check:
        readme.write_text(updated(text), "utf-8")
    elif updated(text) != text:
        sys.exit("README.md: a table is not its file's; run python experiments/update_readme.py")


if __name__ == "__main__":
    main()
