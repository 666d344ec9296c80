"""Windows of fixed length over text, and folds that overlapping windows never straddle."""

from __future__ import annotations

PADDING = -1
"""What batches are padded with; never an entry of a vocabulary."""
