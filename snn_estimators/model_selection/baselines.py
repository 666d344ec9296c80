"""What a spiking model has to beat: twins of its size, of its cost, and of its perplexity."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import pandas as pd
import torch
from sklearn.base import clone

from snn_estimators._validation import check_choices, check_sizes
from snn_estimators.energy import EnergyProfile, measure, summarize
from snn_estimators.energy.profiles import DEFAULT, resolve_profile
from snn_estimators.estimators import LanguageModel, SpikeDecoderLM, SpikeGPTLM
from snn_estimators.model_selection.scoring import language_model_scores
from snn_estimators.model_selection.tables import COST, COSTS
from snn_estimators.persistence.cache_key import signature_defaults

__all__ = ["TWINS", "baselines"]

Shape = tuple[int, int]  # blocks and width

SHAPES: tuple[Shape, ...] = tuple(
    (blocks, width)
    for blocks in (1, 2, 4)
    for width in (8, 16, 24, 32, 40, 48, 64, 80, 112, 160, 224, 320)
)
"""Blocks and widths that twins are looked for among."""

_SUMMED = {"synaptic": "synaptic_nj", "total": "total_nj", "weight_reads": "weight_reads"}
_SUMMED["total_with_memory"] = "total_with_memory_nj"
SPARSE_PENALTY = 0.2
"""`spike_penalty` of the sparse real twin of a model that has none itself."""


class _Twin(NamedTuple):
    """A non-spiking model of some shape, and what it costs before it is trained."""

    shape: Shape
    model: LanguageModel
    cost: float
    n_parameters: int


def baselines(
    model: LanguageModel,
    X: Any,
    X_test: Any,
    *,
    twin: str | None = None,
    shapes: Sequence[Shape] = SHAPES,
    cost: str = COST,
    profile: EnergyProfile | str = DEFAULT,
    skip_zeros: bool = True,
    **parameters: Any,
) -> pd.DataFrame:
    """Train the opponents of a fitted language model, and tabulate them beside it.

    Every opponent has the model's own training: steps, batches, rates, seed, and the text `X`.

    Parameters
    ----------
    model : language model
        Fitted.
    X : iterable of documents, or token ids
        What opponents are trained on: what the model was.
    X_test : iterable of documents, or token ids
        Held-out text that all are scored on.
    twin : {"rwkv", "transformer", "linear"}, optional
        The kind of opponent; with "linear" a decoder with linear attention. By default the model's
        own kind without spikes. Decoders see as many previous tokens as the model does.
    shapes : list of (blocks, width), optional
        Where opponents are looked for; as they are real, their cost is known before training.
    cost : {"synaptic", "total", "total_with_memory", "weight_reads"}, default="total_with_memory"
        What "the same cost" is.
    profile : EnergyProfile or str, default="45nm-sram"
    skip_zeros : bool, default=True
        Whether zeros among real inputs cost the opponents nothing, as silence costs the model
        nothing: without it the sparse one is not sparse. It overrides the profile's own.
    **parameters
        Parameters of the opponents that differ from the model's, such as ``lr``.

    Returns
    -------
    DataFrame
        A row each, with ``blocks``, ``width`` and the scores of `language_model_scores` under
        their natural signs:

        * "the model";
        * "same size": the twin with as many parameters, or the largest of `shapes` with fewer;
        * "same cost": the largest that costs no more;
        * "same perplexity": the cheapest found, by bisection, that scores as well; without
          figures if none does;
        * "sparse, real": the model itself with real numbers in place of spikes, kept sparse by a
          penalty (`snn_estimators.nn.Relu`), if it has neurons in front of linear maps.

    Raises
    ------
    NotFittedError
        If the model was not fitted.
    ValueError
        If no shape is as small or as cheap as the model; if a parameter is unknown.

    Notes
    -----
    Where zeros are skipped, opponents are chosen by the zeros that they have before training, and
    listed with those that they have behind it.

    Examples
    --------
    >>> from snn_estimators import SpikeGPTLM
    >>> model = SpikeGPTLM(
    ...     module__ctx_len=8, module__n_layer=1, module__n_embd=16, module__spikes="linear",
    ...     module__neuron="graded", max_steps=2, random_state=0,
    ... ).fit(["abcabcabc"] * 8)
    >>> table = baselines(model, ["abcabcabc"] * 8, ["abcabc"], shapes=[(1, 8), (1, 12), (1, 16)])
    >>> list(table["baseline"])
    ['the model', 'same size', 'same cost', 'same perplexity', 'sparse, real']
    """
    model.check_is_fitted()
    check_choices({"cost": COSTS}, cost=cost)
    profile = replace(resolve_profile(profile), skip_zeros=skip_zeros)
    scores = _scores(model, X_test, profile)
    make = _maker(model, twin, parameters)
    length = round(scores["context_length"])
    ladder = [_twin(make, shape, model.vocab_size_, length, cost, profile) for shape in shapes]
    ladder.sort(key=lambda one: one.cost)
    limit = scores[COSTS[cost]]
    if not math.isfinite(limit):
        raise ValueError(
            f"cost={cost!r} has no value under profile {profile.name!r}, which has no price of "
            "memory: use cost='total', or a profile such as '45nm-sram'."
        )
    same_size = _same_size(model, make, ladder, scores["n_parameters"], twin, parameters)
    as_cheap = [one for one in ladder if one.cost <= limit]
    if not as_cheap:
        raise ValueError(
            f"no shape costs as little as the model, {limit:.4g}: the cheapest of them, "
            f"{ladder[0].shape}, costs {ladder[0].cost:.4g}; give smaller shapes."
        )
    trained: dict[str, dict[str, float]] = {}

    def train(one: _Twin) -> dict[str, float]:
        recipe = repr(one.model)  # the model's own twin may have other heads than the ladder's
        if recipe not in trained:
            trained[recipe] = _scores(one.model.fit(X), X_test, profile)
        return trained[recipe]

    rows: list[dict[str, Any]] = [_row("the model", _shape_of(model), scores)]
    rows.append(_row("same size", same_size.shape, train(same_size)))
    largest = max(as_cheap, key=lambda one: one.n_parameters)
    rows.append(_row("same cost", largest.shape, train(largest)))
    equal = _cheapest_as_good(ladder, train, scores["perplexity"])
    shape = (math.nan, math.nan) if equal is None else equal.shape
    rows.append(_row("same perplexity", shape, {} if equal is None else train(equal)))
    sparse = _sparse_real(model)
    if sparse is not None:
        rows.append(_row("sparse, real", _shape_of(model), _scores(sparse.fit(X), X_test, profile)))
    return pd.DataFrame(rows)


def largest_twin_within(
    model: LanguageModel,
    X: Any,
    cost: str,
    limit: float,
    *,
    shapes: Sequence[Shape] = SHAPES,
    profile: EnergyProfile | str = DEFAULT,
) -> LanguageModel | None:
    """Return the largest twin of a model that costs no more than a limit; None if all do.

    Neither is fitted; the vocabulary is that of the text `X`.
    """
    trial = clone(model)
    trial._learn_tokens(trial._check_X(X, reset=True))
    options = signature_defaults(model.module) | model.get_params_for("module")
    length = options[model.WINDOW.removeprefix("module__")]
    make, profile = _maker(model, None, {}), resolve_profile(profile)
    ladder = [_twin(make, shape, trial._new_vocab_size, length, cost, profile) for shape in shapes]
    cheap = [one for one in ladder if one.cost <= limit]
    return max(cheap, key=lambda one: one.n_parameters).model if cheap else None


def _scores(model: LanguageModel, X: Any, profile: EnergyProfile) -> dict[str, float]:
    """Return the scores under their natural signs."""
    scores = language_model_scores(model, X, profile=profile)
    return {
        name.removeprefix("neg_"): -value if name.startswith("neg_") else value
        for name, value in scores.items()
    }


def _row(name: str, shape: tuple[float, float], scores: dict[str, float]) -> dict[str, Any]:
    return {"baseline": name, "blocks": shape[0], "width": shape[1], **scores}


def _cheapest_as_good(
    ladder: Sequence[_Twin], train: Callable[[_Twin], dict[str, float]], perplexity: float
) -> _Twin | None:
    """Find the cheapest that scores as well, as if more of a kind never scored worse."""
    low, high = 0, len(ladder)
    while low < high:
        middle = (low + high) // 2
        if train(ladder[middle])["perplexity"] <= perplexity:
            high = middle
        else:
            low = middle + 1
    return ladder[low] if low < len(ladder) else None


def _same_size(
    model: LanguageModel,
    make: Callable[[Shape], LanguageModel],
    ladder: Sequence[_Twin],
    n_parameters: float,
    twin: str | None,
    parameters: dict[str, Any],
) -> _Twin:
    """Return the model's own twin, or the largest of another kind that is no larger."""
    if twin is None:
        return _Twin(_shape_of(model), model.twin(memory=model.memory, **parameters), 0.0, 0)
    smaller = [one for one in ladder if one.n_parameters <= n_parameters]
    if not smaller:
        raise ValueError(
            f"no shape is as small as the model, {n_parameters:.0f} parameters: give smaller "
            "shapes."
        )
    return max(smaller, key=lambda one: one.n_parameters)


def _twin(
    make: Callable[[Shape], LanguageModel],
    shape: Shape,
    vocab_size: int,
    length: int,
    cost: str,
    profile: EnergyProfile,
) -> _Twin:
    check_sizes(blocks=shape[0], width=shape[1])
    model = make(shape)
    options = model.get_params_for("module") | {"vocab_size": vocab_size}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = model.module(**options)
    total = summarize(measure(module, torch.zeros(1, length, dtype=torch.long), profile=profile))
    n_parameters = sum(weights.numel() for weights in module.parameters())
    return _Twin((shape[0], shape[1]), model, float(total[_SUMMED[cost]]), n_parameters)


def _rwkv(shape: Shape) -> dict[str, Any]:
    return {
        "module__spikes": "none",
        "module__n_layer": shape[0],
        "module__n_embd": shape[1],
    }


def _decoder(shape: Shape, attention: str = "softmax", heads: int = 5) -> dict[str, Any]:
    position_dim = shape[1] * 3 // 8
    return {
        "module__spike_degree": 0,
        "module__attention": attention,
        "module__attention_decay": None,
        "module__spiking_head": None,
        "module__encoding": "learned",
        "module__position_encoding": "static",
        "module__combine_position": False,
        "module__blocks": shape[0],
        "module__token_dim": shape[1] - position_dim,
        "module__position_dim": position_dim,
        "module__heads": math.gcd(shape[1], heads),
    }


TWINS: dict[str, tuple[type[LanguageModel], Callable[..., dict[str, Any]]]] = {
    "rwkv": (SpikeGPTLM, _rwkv),
    "transformer": (SpikeDecoderLM, partial(_decoder, heads=4)),
    "linear": (SpikeDecoderLM, partial(_decoder, attention="linear", heads=4)),
}
"""Kinds of opponents: an estimator, and the parameters that make one of a shape."""

# What two kinds of model are trained alike with; the rest is the recipe of each.
_TRAINING = (
    *("tokenizer", "lr", "lr_final", "schedule", "warmup_steps", "warmup_tokens", "clip"),
    *("max_epochs", "max_steps", "steps_per_epoch", "stride", "batch_size", "train_split"),
    *("callbacks", "device", "random_state", "memory"),
)
_CONTEXT = ("module__token_shift", "module__mlp_token_shift")


def _maker(
    model: LanguageModel, twin: str | None, parameters: dict[str, Any]
) -> Callable[[Shape], LanguageModel]:
    """Return what makes an opponent of a shape."""
    check_choices({"twin": (None, *TWINS)}, twin=twin)
    if twin is None:
        twin = "rwkv" if isinstance(model, SpikeGPTLM) else "transformer"
        options = model.get_params(deep=False)
        if options.get("module__attention") == "linear":
            twin = "linear"
    kind, of_shape = TWINS[twin]

    def make(shape: Shape) -> LanguageModel:
        if isinstance(model, kind):
            return model.twin(memory=model.memory, **of_shape(shape), **parameters)
        given = model.get_params(deep=False)
        shared = {name: given[name] for name in _TRAINING}
        context = {name: given[name] for name in _CONTEXT if name in given}
        window = {kind.WINDOW: model.module_.max_len}
        unfitted = kind(**shared, **window, **of_shape(shape))
        if kind is SpikeDecoderLM:
            unfitted.set_params(**context)
        return clone(unfitted).set_params(**parameters)

    return make


def _shape_of(model: LanguageModel) -> Shape:
    return len(model.module_.blocks), model.module_.width


def _sparse_real(model: LanguageModel) -> LanguageModel | None:
    """Return the model with real numbers in place of spikes; None if it has none to replace."""
    options = model.get_params(deep=False)
    changed: dict[str, Any] = {"module__neuron": "relu", "name": None, "resume": False}
    changed["spike_penalty"] = model.spike_penalty or SPARSE_PENALTY
    if isinstance(model, SpikeGPTLM):
        if options.get("module__spikes", "residual") not in ("linear", "everywhere"):
            return None
        changed["module__spikes"] = "linear"
    else:
        if options.get("module__spike_degree", 4) != 4:
            return None
        changed["module__timesteps"] = 1
    return clone(model).set_params(**changed)
