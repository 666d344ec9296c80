"""Checkpoints of SpikeDecoder and its twins (Beger et al.)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sized
from functools import partial
from typing import Any

import torch
from torch import Tensor

from snn_estimators._validation import check_choices, check_sizes
from snn_estimators._warnings import warn
from snn_estimators.convert.checkpoint import (
    Checkpoint,
    check_system,
    fill,
    find_tensors,
    nearest,
)
from snn_estimators.nn import SpikingDecoder
from snn_estimators.nn.decoder.encodings import PublishedBinaryCode

__all__ = ["from_spikedecoder", "spikedecoder_options"]

_RENAMED = {
    "encodingType": "encoding",
    "position_encoding_strategy": "position_encoding",
    "tok_embed_dim": "token_dim",
    "pos_embed_dim": "position_dim",
    "combine_position": "combine_position",
    "pos_bias": "position_bias",
    "float_embedding": "float_embedding",
    "heads": "heads",
    "blocks": "blocks",
    "timesteps": "timesteps",
    "attention_scale": "attention_scale",
    "spike_mode": "readout",
    "spiking_residuals": "spiking_residuals",
    "firstBlock_spiking_res": "first_block_spiking_residual",
    "spiking_head": "spiking_head",
    "float_reunite": "float_readout",
    "learning_MSLIF": "learnable_threshold",
    "spike_degree": "spike_degree",
    "attn_dropout": "attention_dropout",
    "mlp_dropout": "mlp_dropout",
}
_REFERENCE_DEFAULTS: dict[str, Any] = {
    "encoding": "two-hot",
    "position_encoding": "linear",
    "token_dim": 30,
    "position_dim": 30,
    "heads": 2,
    "blocks": 1,
    "timesteps": 2,
    "spiking_residuals": 0,
    "spike_degree": 4,
}
_NORMALIZATIONS = {"layer": "layer", "batch": "batch", "PowerNorm": "power"}
_HANDLED = {
    "vocab_size",
    "max_len",
    "dim_hid",
    "normalization",
    "dictionary",
    "embed_dim",
    "dropout",
}
_IGNORED = {"device", "track_frequency", "learned_embedding", "SMHA_only"}


_ANCHOR = "Head.gen_FC.weight"


def from_spikedecoder(state_dict: Mapping[str, Any], config: Mapping[str, Any]) -> SpikingDecoder:
    """Rebuild a SpikeDecoder, NonSpikingDecoder or PartiallySpikingDecoder checkpoint.

    Parameters
    ----------
    state_dict : mapping of str to Tensor
        The reference model's, with its own names; of any precision. What wrappers add to the names
        (``module.``, ``_orig_mod.``, ``model.``), what a trainer saves beside a state dict, and
        buffers that mean nothing are taken off with one warning.
    config : mapping
        Constructor arguments of SDconfig, NSDconfig or PSDconfig, and `dim_hid`, the model's own.

    Returns
    -------
    SpikingDecoder
        In evaluation mode and PyTorch's default precision; its logits equal the reference's.

    Warns
    -----
    UserWarning
        If codes are binary, which collide in the reference: the model computes what it computed,
        and cannot tell the tokens apart that the warning lists.

    Raises
    ------
    TypeError
        If `state_dict` or `config` is no mapping.
    ValueError
        For an argument that is unknown, for tensors that are missing, unknown or do not fit, for
        several models in one checkpoint, and for attention-only models, whose timesteps the
        reference never reduces.

    Notes
    -----
    Where the reference ignores an argument, so does the conversion: `float_embedding` unless
    positions are learned and tokens fixed, and PSDconfig's `attention_scale` (always 0.125).

    Examples
    --------
    >>> from_spikedecoder({}, {"vocab_size": 30, "max_len": 16})
    Traceback (most recent call last):
        ...
    ValueError: Head.gen_FC.weight is missing in the checkpoint, which holds no tensors: ...
    """
    checkpoint = find_tensors(state_dict, _ANCHOR)
    options = _translate(config, checkpoint)
    check_system(checkpoint, _ANCHOR, "SpikeDecoder")
    make = partial(SpikingDecoder, **options)
    named = partial(_reference_name, options=options)
    module = fill(make, _usual(checkpoint, options), "does config belong to it?", named)
    _warn_of_collisions(module)
    return module


def spikedecoder_options(
    state_dict: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options of the `SpikingDecoder` that `from_spikedecoder` builds.

    Parameters
    ----------
    state_dict, config
        As in `from_spikedecoder`, which also lists the errors.

    Returns
    -------
    dict

    Examples
    --------
    >>> options = spikedecoder_options({}, {"vocab_size": 30, "max_len": 16, "heads": 5})
    >>> options["heads"], options["neuron"]
    (5, 'lif')
    """
    return _translate(config, find_tensors(state_dict, _ANCHOR))


def _warn_of_collisions(module: SpikingDecoder) -> None:
    """Say which inputs a model cannot tell apart, if its codes collide."""
    codes = {
        "tokens": (getattr(module.encoding, "token", None), module.vocab_size),
        "positions": (getattr(module.encoding, "position", None), module.max_len),
    }
    collisions = []
    for what, (code, size) in codes.items():
        if isinstance(code, PublishedBinaryCode):
            same = _groups(code(torch.arange(size)))
            shown = [f"({', '.join(map(str, ids))})" for ids in same]
            collisions.append(f"{what} {', '.join(shown[:3])}{', ...' if shown[3:] else ''}")
    if collisions:
        warn(
            f"The binary codes of this checkpoint collide: {' and '.join(collisions)} share a code "
            "within each group, so the model cannot tell them apart where it reads them. It "
            "computes what it computed; models to come have distinct codes with encoding='binary'."
        )


def _groups(codes: Tensor) -> list[list[int]]:
    """Return the groups of equal rows, those of more than one row."""
    groups: dict[tuple[float, ...], list[int]] = {}
    for index, code in enumerate(codes.tolist()):
        groups.setdefault(tuple(code), []).append(index)
    return [ids for ids in groups.values() if len(ids) > 1]


def _translate(config: Mapping[str, Any], checkpoint: Checkpoint) -> dict[str, Any]:
    """Turn the reference's constructor arguments into ours."""
    if not isinstance(config, Mapping):
        raise TypeError(
            f"config must map the reference's arguments to values, got a {type(config).__name__}: "
            "give vars(config)."
        )
    known = _RENAMED.keys() | _HANDLED | _IGNORED
    if unknown := sorted(map(str, config.keys() - known)):
        near = nearest(unknown[0], known, "the nearest known")
        raise ValueError(f"config holds {unknown}, which no reference model takes{near}.")
    if missing := {"vocab_size", "max_len"} - config.keys():
        raise ValueError(f"config lacks {sorted(missing)}: give the reference's own arguments.")
    names = ("vocab_size", "max_len", "embed_dim", "tok_embed_dim", "pos_embed_dim")
    check_sizes(**{name: config[name] for name in names if name in config})
    check_choices(
        {"spike_degree": range(5), "normalization": _NORMALIZATIONS},
        spike_degree=config.get("spike_degree", 4),
        normalization=config.get("normalization", "layer"),
    )
    dictionary = config.get("dictionary") or ()
    if not isinstance(dictionary, Sized):
        raise ValueError(f"dictionary={dictionary!r} must be a list of words, or be left out.")
    if config.get("SMHA_only"):
        raise ValueError(
            "config holds SMHA_only=True: the reference cannot build or evaluate such a model, so "
            "there is no checkpoint to convert; use spike_degree='attention_only' to train one."
        )
    options: dict[str, Any] = {**SpikingDecoder.PUBLISHED, **_REFERENCE_DEFAULTS}
    options |= {_RENAMED[k]: v for k, v in config.items() if k in _RENAMED}
    options["vocab_size"] = len(dictionary) if dictionary else config["vocab_size"]
    options["max_len"] = config["max_len"]
    options["mlp_ratio"] = config.get("dim_hid") or 4
    options["normalization"] = _NORMALIZATIONS[config.get("normalization", "layer")]

    if "embed_dim" in config:  # NSDconfig: one real-valued table of tokens, sinusoids added
        return options | _non_spiking(config, checkpoint)
    if "spike_degree" in config:  # PSDconfig
        options["spiking_head"] = config["spike_degree"] == 4 or config.get("spiking_head", False)
        options["attention_scale"] = 0.125
        if config["spike_degree"] < 2:
            options |= {"spiking_head": None, "readout": "average", "float_readout": False}
    if options.get("combine_position"):
        options["position_dim"] = options["token_dim"]
    if options["encoding"] == "one-hot":
        options["position_encoding"] = "linear"
    options["float_embedding"] = bool(
        config.get("float_embedding")
        and options["encoding"] in ("two-hot", "binary")
        and options["position_encoding"] == "learned"
    )
    for name in ("encoding", "position_encoding"):
        if options[name] == "binary":
            options[name] = "binary-published"
    return options


def _non_spiking(config: Mapping[str, Any], checkpoint: Checkpoint) -> dict[str, Any]:
    width = config["embed_dim"]
    learned = "embedder.positional_encoding.weight" in checkpoint.tensors
    return {
        "spike_degree": 0,
        "encoding": "learned",
        "position_encoding": "learned" if learned else "static",
        "combine_position": True,
        "token_dim": width,
        "position_dim": width,
        "attention_dropout": config.get("dropout", 0.0),
        "mlp_dropout": config.get("dropout", 0.0),
    }


_SPIKING_MLP = {
    "input_neuron": "0",
    "expand.linear": "2",
    "expand.norm": "3",
    "expand.neuron": "5",
    "contract.linear": "7",
    "contract.norm": "8",
}
_SPIKING_MLP_SPIKES_OUT = {
    "expand.linear": "1",
    "expand.norm": "2",
    "expand.neuron": "4",
    "contract.linear": "6",
    "contract.norm": "7",
    "output_neuron": "9",
}
_GELU_MLP = {"expand": "0", "contract": "2"}

_NAMES = [
    (r"^encoding\.token\.table", "embedder.{token}"),
    (r"^encoding\.position\.table", "embedder.{position}"),
    (r"\.attention\.(query|key|value|output)\.linear\.", r".{attention}.\1_L."),
    (r"\.attention\.(query|key|value|output)\.norm\.", r".{attention}.\1_Norm.{in_norm}"),
    (r"\.attention\.(query|key|value)\.neuron\.", r".{attention}.\1_LIF."),
    (r"\.output_(L|Norm)\.", r".proj_\1."),
    (r"\.attention\.input_neuron\.", ".{attention}.input_LIF."),
    (r"\.attention\.output\.neuron\.", ".{attention}.output_LIF."),
    (r"\.attention\.neuron\.", ".{attention}.att_LIF."),
    (r"^(blocks\.\d+)\.input_neuron\.", r"\1.SMHA_LIF."),
    (r"\.attended_neuron\.", ".resLIF."),
    (r"\.middle_neuron\.", ".blockLIF."),
    (r"^head\.neuron\.", "Head.gen_LIF."),
    (r"^head\.linear\.", "Head.gen_FC."),
    (r"\.running_moment$", ".running_phi"),
    (r"\.running_gradient$", ".ema_gz"),
    (r"\.steps$", ".iters"),
]
"""Names in `SpikingDecoder`, and in the reference."""

_VARIANTS = [
    (r"^embedder\.(?:tok_embed|token_embedding_table)\.", "embedder.{token}."),
    (r"^embedder\.(?:pos_table|positional_encoding)\.", "embedder.{position}."),
    (r"\.N?SMHA\.", ".{attention}."),
    (r"\.(?:NS)?MLP\.", ".{mlp}."),
    (r"_Norm\.(?:1\.)?", "_Norm.{in_norm}"),
    (r"\.resLif\.", ".resLIF."),
]
"""Names that differ between the reference's models, and what they are in this one."""


def _words(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the parts of names that depend on a model's options."""
    degree = options["spike_degree"]
    return {
        "token": "token_embedding_table" if degree == 0 else "tok_embed",
        "position": "positional_encoding" if degree == 0 else "pos_table",
        "attention": "NSMHA" if degree < 2 else "SMHA",
        "mlp": "NSMLP" if degree < 3 else "MLP",
        # A batch norm stands between two transpositions.
        "in_norm": "1." if options["normalization"] == "batch" else "",
    }


def _renamed(name: str, rules: list[tuple[str, str]], words: Mapping[str, str]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement.format(**words), name)
    return name


def _reference_name(name: str, options: Mapping[str, Any]) -> str:
    """Return the reference's name of a tensor of `SpikingDecoder`."""
    words = _words(options)
    mlp = _SPIKING_MLP_SPIKES_OUT if options["spiking_residuals"] else _SPIKING_MLP
    if words["mlp"] == "NSMLP":
        mlp = _GELU_MLP
    if match := re.match(r"(.+)\.feed_forward\.(.+)\.(\w+)$", name):
        block, part, tensor = match.groups()
        inner = words["in_norm"] if part.endswith("norm") else ""
        name = f"{block}.{words['mlp']}.net.{mlp.get(part, part)}.{inner}{tensor}"
    return _renamed(name, _NAMES, words)


def _usual(checkpoint: Checkpoint, options: Mapping[str, Any]) -> Checkpoint:
    """Give tensors the names and shapes that this model has; drop those never used."""
    words, tensors = _words(options), {}
    for name, tensor in checkpoint.tensors.items():
        if name.endswith(".mask") or ".proj_LIF." in name:
            continue
        usual = _renamed(name, _VARIANTS, words)
        if options["spiking_residuals"]:  # with a dropout in front of the last neurons
            usual = usual.replace(".MLP.net.10.", ".MLP.net.9.")
        if usual == f"embedder.{words['position']}.weight":
            tensor = tensor[: options["max_len"]]  # the reference makes vocab_size rows
        tensors[usual] = tensor
    return Checkpoint(tensors, checkpoint.taken_off)
