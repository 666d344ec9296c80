"""Spiking language models as scikit-learn estimators.

Fit, score, search and compare spiking GPT-style decoders with the tools you already use, and see
beside every perplexity what it costs in energy.
"""

import os

# Threads that spin while they wait slow a machine down many times over once fits share its cores.
# The OpenMP runtime reads this when torch is first imported; whoever set it keeps their choice.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from snn_estimators._version import __version__
from snn_estimators.estimators import SpikeDecoderLM
from snn_estimators.model_selection import (
    language_model_scores,
    results_table,
    write_tables,
)
from snn_estimators.nn import SpikingDecoder
from snn_estimators.text import (
    CharTokenizer,
    TextCleaner,
    WindowKFold,
    WordTokenizer,
    load_corpus,
    split_windows,
)

__all__ = [
    "CharTokenizer",
    "SpikeDecoderLM",
    "SpikingDecoder",
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
