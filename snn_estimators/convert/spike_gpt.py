"""Checkpoints of SpikeGPT (Zhu et al., TMLR 2024)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from snn_estimators.convert.checkpoint import check_system, fill, find_tensors
from snn_estimators.nn import SpikeGPT

__all__ = ["from_spikegpt", "spikegpt_options"]

_ANCHOR = "emb.weight"
_NAMES = [
    (r"^embedding\.", "emb."),
    (r"^embedding_norm\.", "blocks.0.ln0."),
    (r"^output_norm\.", "ln_out."),
    (r"\.mixing_norm\.", ".ln1."),
    (r"\.channel_norm\.", ".ln2."),
    (r"\.channel_mixing\.", ".ffn."),
    (r"\.mixing\.", ".att."),
    (r"\.mix_([kvr])\w+$", r".time_mix_\1"),
    (r"\.linear\.weight$", ".weight"),
]


def from_spikegpt(
    state_dict: Mapping[str, Any], *, model_type: str | None = None, ctx_len: int = 1024
) -> SpikeGPT:
    """Rebuild a SpikeGPT checkpoint; its sizes are read from the tensors.

    Parameters
    ----------
    state_dict : mapping of str to Tensor
        The reference model's, with its own names; of any precision. What wrappers add to the names
        (``module.``, ``_orig_mod.``, ``model.``), what a trainer saves beside a state dict, and
        buffers that mean nothing are taken off with one warning.
    model_type : {"RWKV", "RWKV-ffnPre"}, optional
        Left out, it is read from the names.
    ctx_len : int, default=1024
        Length of training and scoring windows; the tensors do not depend on it.

    Returns
    -------
    SpikeGPT
        In evaluation mode and PyTorch's default precision; its logits equal those of the
        reference's parallel model. (Its recurrent script computes something else where the
        vocabulary is not 77 or layers are 6 or more.)

    Raises
    ------
    TypeError
        If `state_dict` is no mapping.
    ValueError
        For tensors that are missing, unknown or of other shapes, each named; for several models in
        one checkpoint.

    Examples
    --------
    >>> from_spikegpt({})
    Traceback (most recent call last):
        ...
    ValueError: emb.weight is missing in the checkpoint...
    """
    options = spikegpt_options(state_dict, model_type=model_type, ctx_len=ctx_len)
    hint = "the sizes are those of emb.weight, {vocab_size} x {n_embd}; model_type={model_type!r}"
    named = partial(_reference_name, model_type=options["model_type"])
    make = partial(SpikeGPT, **options)
    return fill(make, find_tensors(state_dict, _ANCHOR), hint.format(**options), named)


def spikegpt_options(
    state_dict: Mapping[str, Any], *, model_type: str | None = None, ctx_len: int = 1024
) -> dict[str, Any]:
    """Return the options of the `SpikeGPT` that `from_spikegpt` builds.

    Parameters
    ----------
    state_dict, model_type, ctx_len
        As in `from_spikegpt`, which also lists the errors.

    Returns
    -------
    dict

    Examples
    --------
    >>> import torch
    >>> weights = {"emb.weight": torch.zeros(50, 32), "blocks.0.ln0.weight": torch.ones(32)}
    >>> options = spikegpt_options(weights)
    >>> options["vocab_size"], options["n_layer"], options["n_embd"], options["model_type"]
    (50, 1, 32, 'RWKV')
    """
    checkpoint = find_tensors(state_dict, _ANCHOR)
    check_system(checkpoint, _ANCHOR, "SpikeGPT")
    tensors = checkpoint.tensors
    shape = tuple(tensors[_ANCHOR].shape)
    if len(shape) != 2:
        raise ValueError(f"emb.weight has shape {shape} in the checkpoint, but should be a matrix.")
    layers = {int(m[1]) for name in tensors if (m := re.match(r"blocks\.(\d+)\.", name))}
    if layers != set(range(len(layers))) or not layers:
        gap = next(layer for layer in range(len(layers) + 1) if layer not in layers)
        raise ValueError(f"blocks.{gap} is missing in the checkpoint, which has {len(layers)}.")
    if model_type is None:
        is_ffn_pre = any(name.startswith("blocks.0.ffnPre.") for name in tensors)
        model_type = "RWKV-ffnPre" if is_ffn_pre else "RWKV"
    return {
        **SpikeGPT.PUBLISHED,
        "vocab_size": shape[0],
        "ctx_len": ctx_len,
        "model_type": model_type,
        "n_layer": len(layers),
        "n_embd": shape[1],
    }


def _reference_name(name: str, model_type: str) -> str:
    """Return the reference's name of a tensor of `SpikeGPT`."""
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name.replace("blocks.0.att.", "blocks.0.ffnPre.") if "ffnPre" in model_type else name
