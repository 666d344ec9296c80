"""The defaults of a sweep: small models, their grids, and how text is prepared."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from snn_estimators.estimators import LanguageModel, language_model_class
from snn_estimators.model_selection.grids import set_parameters
from snn_estimators.text import CharTokenizer, TextCleaner, check_documents, load_corpus

__all__ = ["DEFAULT_GRIDS", "prepare_text", "sweep_model"]

DEFAULT_GRIDS: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "spikedecoder": {
        "levels": [8, 16, 32],
        "heads": [1, 5],
        "encoding": ["learned", "two-hot"],
    },
    "spikegpt": {"n_embd": [40, 80], "levels": [8, 16, 32]},
}
"""What a sweep of each language model compares."""

_SMALL: Mapping[str, Any] = {"max_steps": 150, "batch_size": 16}
_BLOCKS = {"spikedecoder": "module__blocks", "spikegpt": "module__n_layer"}


def sweep_model(
    preset: str | None = None,
    *,
    model: str = "spikedecoder",
    length: int = 64,
    clean: bool = True,
    **parameters: Any,
) -> LanguageModel:
    """Make the small language model that sweeps compare by default.

    The default recipe in one block, for 150 steps: a fit takes seconds, and is long enough to learn
    more than trigrams.

    Parameters
    ----------
    preset : str, optional
        A recipe of the estimator's `PRESETS` to start from instead.
    model : {"spikedecoder", "spikegpt"}, default="spikedecoder"
    length : int, default=64
        Context length in tokens.
    clean : bool, default=True
        Whether the text will be cleaned: then the alphabet is SpikeDecoder's, else it is learned.
    **parameters
        Parameters of the estimator, or their short names (``blocks=4``).

    Returns
    -------
    SpikeDecoderLM or SpikeGPTLM
        Not fitted.

    Raises
    ------
    ValueError
        If there is no such model, preset or parameter.

    Examples
    --------
    >>> sweep_model(blocks=3).get_params()["module__blocks"]
    3
    """
    kind = language_model_class(model)
    tokenizer = CharTokenizer("spikedecoder") if clean else "char"
    base: dict[str, Any] = {"tokenizer": tokenizer, "random_state": 0}
    if preset is None:
        base |= {**_SMALL, _BLOCKS[model]: 1}
        made = kind(**base)
    else:
        made = kind.from_preset(preset, **base)
    return set_parameters(made, {kind.WINDOW: length, **parameters})


def prepare_text(
    corpus: str | os.PathLike[str] | Sequence[str], *, clean: bool = True, limit: int | None = None
) -> str:
    """Load a corpus, clean it if wanted, and join its documents to one text.

    Parameters
    ----------
    corpus : str, path or list of str
        What `load_corpus` takes, or the documents themselves.
    clean : bool, default=True
        Whether to reduce the text to SpikeDecoder's 30 symbols.
    limit : int, optional
        Characters to keep.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If there is no such corpus, or nothing is left of it.

    Examples
    --------
    >>> prepare_text(["To be!", "Or 2 not?"], limit=12)
    'to be. or no'
    """
    if isinstance(corpus, str | os.PathLike):
        name, documents = os.fspath(corpus), load_corpus(os.fspath(corpus))
    else:
        name, documents = "the documents", check_documents(corpus)
    if clean:
        documents = TextCleaner("spikedecoder").transform(documents)
    text = "\n".join(documents) if not clean else " ".join(one.strip() for one in documents)
    if not text.strip():
        raise ValueError(
            f"nothing is left of {name} after cleaning, "
            "which keeps Latin letters alone: use other text, or do not clean it"
        )
    return text[:limit]
