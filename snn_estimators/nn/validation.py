"""What a decoder's options must satisfy, said before anything is built."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

from torch import Tensor

from snn_estimators._validation import (
    check_choices,
    check_numbers,
    check_optional_numbers,
    check_shares,
    check_sizes,
)

CHOICES: dict[str, Sequence[Any]] = {
    "encoding": ("one-hot", "two-hot", "binary", "learned"),
    "position_encoding": ("linear", "binary", "static", "learned"),
    "normalization": ("layer", "batch", "power"),
    "readout": ("average", "accumulate", "concatenate", "final"),
    "temporal_coding": ("repeat", "rate", "latency"),
    "spiking_residuals": (0, 1, 2),
    "spike_degree": (0, 1, 2, 3, 4, "attention_only"),
    "attention_decay": (None, "fixed", "learned"),
}
SIZES = (
    "vocab_size",
    "max_len",
    "token_dim",
    "position_dim",
    "heads",
    "blocks",
    "mlp_ratio",
    "timesteps",
)
SHIFTS = ("token_shift", "mlp_token_shift")
DROPOUTS = ("attention_dropout", "mlp_dropout")
NUMBERS = ("position_bias", "embedding_std", "attention_scale", "tau", "v_threshold")
NEEDS_SPIKES: dict[str, tuple[str, tuple[int | str, ...]]] = {
    "attention_decay": ("attention", (2, 3, 4, "attention_only")),
    "token_shift": ("attention", (2, 3, 4, "attention_only")),
    "spiking_head": ("attention", (2, 3, 4, "attention_only")),
    "mlp_token_shift": ("a feed-forward", (3, 4)),
}
OPTIONAL_NUMBERS = ("v_reset", "surrogate_alpha")


def check_decoder_options(**options: Any) -> None:
    """Refuse options that are unknown, out of range, or contradict each other.

    Raises
    ------
    ValueError
        Naming the parameter and what to do about it.
    """
    check_choices(CHOICES, **{name: options[name] for name in CHOICES})
    check_sizes(**{name: options[name] for name in SIZES})
    for name in SHIFTS:
        if not isinstance(options[name], Integral) or options[name] < 0:
            raise ValueError(f"{name}={options[name]!r} must be a number of tokens, from 0 on.")
    check_shares(**{name: options[name] for name in DROPOUTS})
    check_numbers(**{name: options[name] for name in NUMBERS})
    check_optional_numbers(**{name: options[name] for name in OPTIONAL_NUMBERS})
    _check_encoding(**options)
    _check_spiking(**options)


def check_tokens(tokens: Tensor, vocab_size: int) -> None:
    """Raise ValueError unless there are tokens, [batch, sequence], of this vocabulary.

    Negative ids are padding.
    """
    if tokens.dim() != 2 or tokens.numel() == 0:
        raise ValueError(
            f"tokens must have the shape [batch, sequence] and hold at least one, got "
            f"{tuple(tokens.shape)}."
        )
    if int(tokens.max()) >= vocab_size:
        raise ValueError(f"token id {int(tokens.max())} is not below vocab_size={vocab_size}.")


def refuse_padding(tokens: Tensor) -> None:
    """Raise ValueError if there is padding, which no state can skip."""
    if bool((tokens < 0).any()):
        raise ValueError("tokens hold padding, which a stream cannot skip; stream them one by one.")


def _check_encoding(
    *,
    encoding: str,
    position_encoding: str,
    combine_position: bool,
    float_embedding: bool,
    temporal_coding: str,
    **_: Any,
) -> None:
    if encoding == "one-hot" and position_encoding != "linear":
        raise ValueError(
            f"encoding='one-hot' holds the position already, so position_encoding="
            f"{position_encoding!r} has nothing to add; use position_encoding='linear', or "
            "encoding='two-hot' for one column a token."
        )
    real = encoding == "learned" and position_encoding in ("static", "learned")
    if combine_position and not real:
        raise ValueError(
            f"combine_position=True adds real-valued codes, but encoding={encoding!r} with "
            f"position_encoding={position_encoding!r} are not both real; use 'learned' with "
            "'static' or 'learned'."
        )
    if float_embedding and temporal_coding != "repeat":
        raise ValueError(
            f"temporal_coding={temporal_coding!r} makes spikes of the embedding, which "
            "float_embedding=True forbids; choose one of the two."
        )


def _check_spiking(*, spike_degree: int | str, **options: Any) -> None:
    for name, (part, degrees) in NEEDS_SPIKES.items():
        if options[name] and spike_degree not in degrees:
            raise ValueError(
                f"{name}={options[name]!r} needs {part} that spikes, which spike_degree="
                f"{spike_degree!r} has not; leave {name} out or use spike_degree in {degrees}."
            )
