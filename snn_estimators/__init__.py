"""Spiking language models as scikit-learn estimators.

Fit, score, search and compare spiking GPT-style decoders with the tools you already use, and see
beside every perplexity what it costs in energy.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from snn_estimators._version import __version__

# Threads that spin while they wait slow a machine down many times over once fits share its cores.
# The OpenMP runtime reads this when torch is first imported; whoever set it keeps their choice.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from snn_estimators.distributed import DataParallel
    from snn_estimators.estimators import (
        SpikeDecoderClassifier,
        SpikeDecoderLM,
        SpikeGPTClassifier,
        SpikeGPTLM,
    )
    from snn_estimators.model_selection import language_model_scores, results_table, write_tables
    from snn_estimators.nn import SpikeGPT, SpikingDecoder
    from snn_estimators.sweep import Sweep
    from snn_estimators.text import (
        BPETokenizer,
        CharTokenizer,
        PretrainedTokenizer,
        TextCleaner,
        WindowKFold,
        WordTokenizer,
        load_corpus,
        split_windows,
    )

__all__ = [
    "BPETokenizer",
    "CharTokenizer",
    "DataParallel",
    "PretrainedTokenizer",
    "SpikeDecoderClassifier",
    "SpikeDecoderLM",
    "SpikeGPT",
    "SpikeGPTClassifier",
    "SpikeGPTLM",
    "SpikingDecoder",
    "Sweep",
    "TextCleaner",
    "WindowKFold",
    "WordTokenizer",
    "__version__",
    "language_model_scores",
    "load_corpus",
    "results_table",
    "split_windows",
    "write_tables",
]
_ROOMS = (
    "convert",
    "distributed",
    "energy",
    "estimators",
    "model_selection",
    "nn",
    "ops",
    "persistence",
    "sweep",
    "text",
)


def __getattr__(name: str) -> Any:
    """Fetch a room, or a public name from its room, when first used: PyTorch is slow to import."""
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    if name in __all__:
        for room in ("text", "nn", "estimators", "distributed", "model_selection", "sweep"):
            module = importlib.import_module(f"{__name__}.{room}")
            if name in module.__all__:
                globals()[name] = getattr(module, name)
                return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, fetched or not."""
    return sorted({*globals(), *__all__, *_ROOMS})
