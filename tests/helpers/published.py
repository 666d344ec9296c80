"""The published models, with options of a test's own."""

from __future__ import annotations

from typing import Any

from snn_estimators.nn import SpikeGPT, SpikingDecoder


def published_decoder(*sizes: int, **options: Any) -> SpikingDecoder:
    return SpikingDecoder(*sizes, **{**SpikingDecoder.PUBLISHED, **options})


def published_spike_gpt(*sizes: int, **options: Any) -> SpikeGPT:
    return SpikeGPT(*sizes, **{**SpikeGPT.PUBLISHED, **options})
