"""Spiking language models as scikit-learn estimators.

Fit, score, search and compare spiking GPT-style models with the tools you already use, and see
beside every perplexity what it costs in energy.

The map: a line a room, from the ground up. A room imports only from rooms below it, which
``lint-imports`` checks.

==================  ===============================================================================
``ops``             functions on tensors: LIF, graded spikes, WKV, spiking attention, surrogates
``nn``              neurons, codes, norms, mixings; `SpikingDecoder`, `SpikeGPT`; their registries
``text``            corpora, cleaners, tokenizers, windows and the splits that keep them apart
``energy``          operations counted from spikes and priced; non-spiking twins
``convert``         published checkpoints as modules
``persistence``     checkpoints, named runs, the cache of finished fits; knows no estimator
``estimators``      `SpikeDecoderLM`, `SpikeGPTLM`, their classifiers, `NGramLM`
``distributed``     `DataParallel`: one model trained by several processes
``model_selection`` scorers, grids, tables, Pareto fronts, plots, reports
``sweep``           `Sweep`: plan, runner, workers and executors; resumes what is not finished
``cli``             the command ``snn-estimators``
==================  ===============================================================================

On the ground are ``_files`` (whole files or none), ``_torch`` (devices, generators) and
``_validation`` (checks of numbers and choices).

What to touch to add

* a neuron, an encoding, a norm: one module and one call of `nn.register_neuron`,
  `nn.register_encoding` or `nn.register_normalization`, in ``nn`` or outside of the package;
  choices, error messages and energy follow from the registry;
* a surrogate: its derivative and `ops.register_surrogate`;
* a module with operations of its own: its counter in ``energy/registry.py``;
* a tokenizer: a subclass of `text.BaseTokenizer` with a ``type_name``, which is its name in
  ``tokenizer="..."``, in ``text`` or outside of the package;
* a language model: a subclass of `estimators.LanguageModel`, its name in
  `estimators.LANGUAGE_MODELS` and in ``cli/options.py``, and its grid and small recipe in
  ``sweep/defaults.py``;
* a metric: `SCORES` and `language_model_scores` in ``model_selection/scoring.py``, its place in
  ``model_selection/tables.py``, and its label in ``model_selection/labels.py``;
* a technology: an `energy.EnergyProfile` in `energy.PROFILES`;
* a search engine: a file in ``sweep/executors`` that submits tasks and collects their results, its
  name in ``sweep/executors/base.py`` and its ``connect`` in ``sweep/executors/__init__.py``;
* an experiment: a file in ``experiments/`` that uses public names alone.

Each of them is one test more, in the folder of ``tests/`` that bears the room's name.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from snn_estimators._version import __version__

# Threads that spin while they wait slow a machine down many times over once fits share its cores.
# The OpenMP runtime reads this when torch is first imported; a value that is set already is kept.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from snn_estimators.distributed import DataParallel
    from snn_estimators.estimators import (
        NGramLM,
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
    "NGramLM",
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
    """Import a room, or a public name from its room, on first use: PyTorch is slow to import."""
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
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__, *_ROOMS})
