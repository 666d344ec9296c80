"""Convert checkpoints of the two reference systems into this library's modules.

Both reference systems save plain state dicts; these functions rename their tensors and translate
their constructor arguments. Nothing is unpickled here: load with ``weights_only=True``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from torch import Tensor, nn

from snn_estimators._torch_files import check_storages
from snn_estimators.nn import SpikeGPT, SpikingDecoder
from snn_estimators.nn.outline import BeyondError, outline

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


def from_spikedecoder(
    state_dict: Mapping[str, Tensor], config: Mapping[str, Any]
) -> SpikingDecoder:
    """Rebuild a SpikeDecoder, NonSpikingDecoder or PartiallySpikingDecoder checkpoint.

    Parameters
    ----------
    state_dict : mapping of str to Tensor
        The reference model's, with its own names.
    config : mapping
        Constructor arguments of SDconfig, NSDconfig or PSDconfig, and `dim_hid`, the model's own.

    Returns
    -------
    SpikingDecoder
        In evaluation mode; its logits equal the reference's.

    Raises
    ------
    ValueError
        For an argument that is unknown, for tensors that do not fit, and for models of which the
        reference itself computes something else than it documents: colliding binary codes, and
        attention-only models, whose timesteps it never reduces.

    Notes
    -----
    Where the reference ignores an argument, so does the conversion: `float_embedding` unless
    positions are learned and tokens fixed, and PSDconfig's `attention_scale` (always 0.125).
    """
    options = _translate(config, state_dict)
    hint = "does config belong to the checkpoint?"
    make = partial(SpikingDecoder, **{**SpikingDecoder.PUBLISHED, **options})
    return _fill(make, _rename(state_dict, options), hint)


def from_spikegpt(
    state_dict: Mapping[str, Tensor], *, model_type: str = "RWKV", ctx_len: int = 1024
) -> SpikeGPT:
    """Rebuild a SpikeGPT checkpoint; its sizes are read from the tensors.

    Parameters
    ----------
    state_dict : mapping of str to Tensor
        The reference model's, with its own names.
    model_type : {"RWKV", "RWKV-ffnPre"}, default="RWKV"
    ctx_len : int, default=1024
        Length of training and scoring windows; the tensors do not depend on it.

    Returns
    -------
    SpikeGPT
        In evaluation mode; its logits equal those of the reference's parallel model. (Its recurrent
        script computes something else where the vocabulary is not 77 or layers are 6 or more.)

    Raises
    ------
    ValueError
        For tensors that are missing, unknown or of other shapes, each named.

    Examples
    --------
    >>> from_spikegpt({})
    Traceback (most recent call last):
        ...
    ValueError: emb.weight is missing in the checkpoint...
    """
    embedding = state_dict.get("emb.weight")
    if not isinstance(embedding, Tensor) or embedding.dim() != 2:
        raise ValueError(
            "emb.weight is missing in the checkpoint or no matrix: is it one of SpikeGPT's, a "
            "state_dict and not a file of something else?"
        )
    layers = {int(m[1]) for name in state_dict if (m := re.match(r"blocks\.(\d+)\.", name))}
    if layers != set(range(len(layers))) or not layers:
        gap = next(layer for layer in range(len(layers) + 1) if layer not in layers)
        raise ValueError(f"blocks.{gap} is missing in the checkpoint, which has {len(layers)}.")
    vocab_size, n_embd = embedding.shape
    make = partial(
        SpikeGPT,
        vocab_size,
        **{**SpikeGPT.PUBLISHED, "n_layer": len(layers), "n_embd": n_embd},
        ctx_len=ctx_len,
        model_type=model_type,
    )
    tensors = {k: v.reshape(-1) if ".time_mix_" in k else v for k, v in state_dict.items()}
    hint = f"the sizes are those of emb.weight, {vocab_size} x {n_embd}; model_type={model_type!r}"
    return _fill(make, tensors, hint, partial(_spikegpt_name, model_type=model_type))


_SPIKEGPT_NAMES = [
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


def _spikegpt_name(name: str, model_type: str) -> str:
    """Return the reference's name of a tensor of `SpikeGPT`."""
    for pattern, replacement in _SPIKEGPT_NAMES:
        name = re.sub(pattern, replacement, name)
    return name.replace("blocks.0.att.", "blocks.0.ffnPre.") if "ffnPre" in model_type else name


_Module = TypeVar("_Module", bound=nn.Module)


def _fill(
    make: Callable[[], _Module],
    tensors: Mapping[str, Tensor],
    hint: str,
    named: Callable[[str], str] = lambda name: name,
) -> _Module:
    """Build a module and load tensors; `named` gives a tensor of the module its name among them.

    Whether they fit is known before it is built.
    """
    check_storages(tensors)
    try:
        shapes = outline(make, {name: tensor.shape for name, tensor in tensors.items()})
    except BeyondError as error:
        raise ValueError(f"The tensors are not those of the model: {error}; {hint}") from error
    assert shapes is not None  # our modules read no numbers
    expected = {named(name): (name, shape) for name, shape in shapes.items()}
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors:
            raise ValueError(f"{name} is missing in the checkpoint; {hint}")
        if name not in expected:
            raise ValueError(f"{name} is in the checkpoint, but missing in the model; {hint}")
        found, wanted = tuple(tensors[name].shape), expected[name][1]
        if found != wanted:
            raise ValueError(
                f"{name} has shape {found} in the checkpoint, but should have {wanted}; {hint}"
            )
    module = make()
    module.load_state_dict({ours: tensors[name] for name, (ours, _) in expected.items()})
    return module.eval()


def _translate(config: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """Turn the reference's constructor arguments into ours."""
    if unknown := config.keys() - _RENAMED.keys() - _HANDLED - _IGNORED:
        raise ValueError(f"config holds {sorted(unknown)}, which no reference model takes.")
    if missing := {"vocab_size", "max_len"} - config.keys():
        raise ValueError(f"config lacks {sorted(missing)}: give the reference's own arguments.")
    if config.get("SMHA_only"):
        raise ValueError(
            "config holds SMHA_only=True: the reference cannot build or evaluate such a model, so "
            "there is no checkpoint to convert; use spike_degree='attention_only' to train one."
        )
    options = _REFERENCE_DEFAULTS | {_RENAMED[k]: v for k, v in config.items() if k in _RENAMED}
    dictionary = config.get("dictionary")
    options["vocab_size"] = len(dictionary) if dictionary else config["vocab_size"]
    options["max_len"] = config["max_len"]
    options["mlp_ratio"] = config.get("dim_hid") or 4
    normalization = config.get("normalization", "layer")
    if normalization not in _NORMALIZATIONS:
        raise ValueError(
            f"config holds normalization={normalization!r}; the reference has "
            f"{list(_NORMALIZATIONS)}."
        )
    options["normalization"] = _NORMALIZATIONS[normalization]

    if "embed_dim" in config:  # NSDconfig: one real-valued table of tokens, sinusoids added
        return options | _non_spiking(config, state_dict)
    if "spike_degree" in config:
        options["spiking_head"] = config["spike_degree"] == 4 or config.get("spiking_head", False)
        options["attention_scale"] = 0.125
        if config["spike_degree"] < 2:
            options |= {"spiking_head": None, "readout": "average", "float_readout": False}
    _check_codes(options)
    if options.get("combine_position"):
        options["position_dim"] = options["token_dim"]
    if options["encoding"] == "one-hot":
        options["position_encoding"] = "linear"
    options["float_embedding"] = bool(
        config.get("float_embedding")
        and options["encoding"] == "two-hot"
        and options["position_encoding"] == "learned"
    )
    return options


def _non_spiking(config: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    width = config["embed_dim"]
    learned = "embedder.positional_encoding.weight" in state_dict
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


def _check_codes(options: Mapping[str, Any]) -> None:
    if options.get("spike_degree", 4) == 0 or options["encoding"] == "one-hot":
        return
    for name in ("encoding", "position_encoding"):
        if options[name] == "binary":
            raise ValueError(
                f"config uses {name}='binary', whose codes collide in the reference (1, 2, 4, 8, "
                "... share one), so its weights cannot mean the same with distinct codes; train "
                "such a model from scratch."
            )


_SPIKING_MLP = {0: "input_neuron", 2: "expand.linear", 3: "expand.norm", 5: "expand.neuron"} | {
    7: "contract.linear",
    8: "contract.norm",
}
_SPIKING_MLP_SPIKES_OUT = {1: "expand.linear", 2: "expand.norm", 4: "expand.neuron"} | {
    6: "contract.linear",
    7: "contract.norm",
    9: "output_neuron",
    10: "output_neuron",  # behind a dropout
}
_GELU_MLP = {0: "expand", 2: "contract"}

_NAMES = [
    (r"^embedder\.(tok_embed|token_embedding_table)", "encoding.token.table"),
    (r"^embedder\.(pos_table|positional_encoding)", "encoding.position.table"),
    (r"\.N?SMHA\.(query|key|value)_L\.", r".attention.\1.linear."),
    (r"\.N?SMHA\.(query|key|value)_Norm\.(1\.)?", r".attention.\1.norm."),
    (r"\.N?SMHA\.(query|key|value)_LIF\.", r".attention.\1.neuron."),
    (r"\.N?SMHA\.proj_L\.", ".attention.output.linear."),
    (r"\.N?SMHA\.proj_Norm\.(1\.)?", ".attention.output.norm."),
    (r"\.SMHA\.input_LIF\.", ".attention.input_neuron."),
    (r"\.SMHA\.output_LIF\.", ".attention.output.neuron."),
    (r"\.SMHA\.att_LIF\.", ".attention.neuron."),
    (r"\.SMHA_LIF\.", ".input_neuron."),
    (r"\.res(LIF|Lif)\.", ".attended_neuron."),
    (r"\.blockLIF\.", ".middle_neuron."),
    (r"^Head\.gen_LIF\.", "head.neuron."),
    (r"^Head\.gen_FC\.", "head.linear."),
    (r"\.running_phi$", ".running_moment"),
    (r"\.ema_gz$", ".running_gradient"),
    (r"\.iters$", ".steps"),
]


def _rename(state_dict: Mapping[str, Tensor], options: Mapping[str, Any]) -> dict[str, Tensor]:
    """Give the reference's tensors our names and shapes; drop those that it never uses."""
    if options.get("spike_degree", 4) in (0, 1, 2):
        mlp = _GELU_MLP
    else:
        mlp = _SPIKING_MLP_SPIKES_OUT if options.get("spiking_residuals") else _SPIKING_MLP

    def feed_forward(match: re.Match[str]) -> str:
        return f".feed_forward.{mlp.get(int(match[1]), match[1])}."

    renamed = {}
    for name, tensor in state_dict.items():
        if name.endswith(".mask") or ".proj_LIF." in name:
            continue
        ours = re.sub(r"\.(?:NS)?MLP\.net\.(\d+)\.(?:1\.)?", feed_forward, name)
        for pattern, replacement in _NAMES:
            ours = re.sub(pattern, replacement, ours)
        if ours.endswith((".running_moment", ".running_gradient")):
            tensor = tensor.reshape(-1)
        elif ours.endswith(".steps"):
            tensor = tensor.reshape(())
        elif ours == "encoding.position.table.weight":  # the reference makes vocab_size rows
            tensor = tensor[: options["max_len"]]
        renamed[ours] = tensor
    return renamed
