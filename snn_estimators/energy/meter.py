"""The meter: observes a module and tabulates what each layer costs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from snn_estimators._validation import check_choices
from snn_estimators.energy.counters import Counter, Tokens
from snn_estimators.energy.profiles import HOROWITZ_45NM, EnergyProfile, resolve_profile
from snn_estimators.energy.registry import counter_for, uncounted
from snn_estimators.nn.classifier import SequenceClassifier

FORMS = ("recurrent", "parallel")


class EnergyMeter:
    """Count the operations of a module's calls, for as long as the context lasts.

    `measure` does all of it in one call; the meter is for a loop that computes something else too.
    It watches what runs: put the module into evaluation mode first.

    Parameters
    ----------
    module : nn.Module
        Called with tokens, LongTensor of shape [batch, sequence]; negative ids are padding, on the
        right.
    profile : EnergyProfile or str, default=HOROWITZ_45NM
    attention : {"recurrent", "parallel"}, default="recurrent"
        The form whose cost counts; the table shows both.

    Raises
    ------
    ValueError
        For an unknown profile or form.

    Examples
    --------
    >>> import torch
    >>> from snn_estimators.nn import SpikingDecoder
    >>> decoder = SpikingDecoder(vocab_size=30, max_len=16, blocks=1).eval()
    >>> with EnergyMeter(decoder) as meter:
    ...     logits = decoder(torch.arange(16)[None])
    >>> list(meter.table().query("kind == 'attention'")["layer"])
    ['blocks.0.attention.core']
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        profile: EnergyProfile | str = HOROWITZ_45NM,
        attention: str = "recurrent",
    ) -> None:
        check_choices({"attention": FORMS}, attention=attention)
        self.module, self.profile, self.attention = module, resolve_profile(profile), attention
        self.tokens_seen = 0
        self._tokens: Tokens | None = None
        self._handles: list[RemovableHandle] = []
        self._counters: dict[str, Counter] = {}
        rest = []
        for name, child in module.named_modules():
            counter = counter_for(child, _ancestors(module, name))
            if counter is None:
                rest.append((name, child))
            else:
                self._counters[name or type(child).__name__] = counter
        if missing := uncounted(rest):
            warnings.warn(
                f"the energy of {', '.join(missing)} is not counted: no counter knows such layers; "
                "see snn_estimators.energy.register_counter.",
                stacklevel=2,
            )

    def __enter__(self) -> EnergyMeter:
        root = self.module
        self._handles = [
            root.register_forward_pre_hook(self._start, with_kwargs=True),
            *(
                child.register_forward_hook(self._reporter(counter, which))
                for counter in self._counters.values()
                for which, child in counter.watched.items()
            ),
            root.register_forward_hook(self._stop, always_call=True),
        ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def table(self) -> pd.DataFrame:
        """Report what was seen, per token (see `measure`).

        Raises
        ------
        ValueError
            If the module was not called on any token.
        """
        if not self.tokens_seen:
            raise ValueError(
                "no token was seen: call the module on tokens while the meter watches."
            )
        return pd.DataFrame([self._row(name, c) for name, c in self._counters.items()])

    def _row(self, name: str, counter: Counter) -> dict[str, Any]:
        per_token = 1 / self.tokens_seen
        forms = {form: counter.synaptic(form) for form in FORMS}
        pj = {form: self.profile.energy(**ops._asdict()) * per_token for form, ops in forms.items()}
        chosen = forms[self.attention]
        return {
            "layer": name,
            "kind": counter.kind,
            "spike_rate": counter.stream.rate,
            "n_values": counter.stream.size * per_token,
            "accumulates": chosen.accumulates * per_token,
            "macs": chosen.macs * per_token,
            "energy_pj": pj[self.attention],
            "normalization_pj": self.profile.energy(**counter.normalization()._asdict())
            * per_token,
            "neuron_pj": self.profile.energy(**counter.neuron()._asdict()) * per_token,
            "ann_pj": self.profile.energy(macs=counter.twin_macs) * per_token,
            "accumulates_recurrent": forms["recurrent"].accumulates * per_token,
            "accumulates_parallel": forms["parallel"].accumulates * per_token,
            "energy_recurrent_pj": pj["recurrent"],
            "energy_parallel_pj": pj["parallel"],
        }

    def _start(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = args[0] if args else next(iter(kwargs.values()), None)
        if not isinstance(ids, Tensor) or ids.dim() != 2 or ids.is_floating_point():
            raise TypeError(
                "the module's first argument must be token ids, an integer tensor of shape "
                f"[batch, sequence], got {_describe(ids)}."
            )
        self.tokens_seen += int((ids >= 0).sum())
        self._tokens = Tokens(_as_layers_see(module, ids))

    def _stop(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self._tokens = None

    def _reporter(self, counter: Counter, which: str) -> Callable[..., None]:
        @torch.no_grad()
        def report(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if self._tokens is not None and self._tokens.count:
                counter.observe(which, args, output, self._tokens)

        return report


def measure(
    module: nn.Module,
    batches: Iterable[Tensor] | Tensor,
    *,
    profile: EnergyProfile | str = HOROWITZ_45NM,
    attention: str = "recurrent",
) -> pd.DataFrame:
    """Run a module on tokens and count, layer by layer, what inference costs per token.

    Parameters
    ----------
    module : nn.Module
        A `SpikingDecoder`, a `SpikeGPT`, a `SequenceClassifier` on either, or another module of
        this library's layers that maps tokens. It runs in evaluation mode, without gradients, on
        the device of its weights, and is left as it was.
    batches : iterable of LongTensor, shape [batch, sequence], or one such tensor
        Negative ids are padding, on the right: neither counted nor averaged over.
    profile : EnergyProfile or str, default=HOROWITZ_45NM
        The technology, or its name in `PROFILES`.
    attention : {"recurrent", "parallel"}, default="recurrent"
        How spiking attention is computed: with a state a head, as in generation, or all pairs of
        tokens. It decides about `accumulates`, `macs` and `energy_pj`.

    Returns
    -------
    pandas.DataFrame
        A row a layer, everything per token, all timesteps together:

        ``layer``, ``kind``
            Name in the module; "encoding", "linear", "norm", "neuron", "attention", "mixing"
            (RWKV's token shifts, gates and recurrence), "residual" (its stream's sums) or "head".
        ``spike_rate``
            Share of spikes in a layer's input, NaN if that is not binary; for neurons and the
            encoding, in their output; for the head, in front of its readout; for a residual
            stream, in what a block adds to it.
        ``n_values``
            Number of values that `spike_rate` is a share of.
        ``accumulates``, ``macs``, ``energy_pj``
            Synaptic operations and their energy: what most papers report.
        ``normalization_pj``, ``neuron_pj``
            Energy of normalisation, and of neuron updates and sums into SpikeGPT's residual stream.
        ``ann_pj``
            Synaptic energy of the same layer in the non-spiking twin: as wide and deep, softmax
            attention (RWKV's recurrence for a SpikeGPT; see `spike_gpt_twins` for a Transformer of
            its size), real numbers, one timestep. Zero for layers that it lacks.
        ``accumulates_recurrent``, ``accumulates_parallel``
        ``energy_recurrent_pj``, ``energy_parallel_pj``
            Both forms of attention; they agree on all other layers, RWKV's among them.

    Raises
    ------
    ValueError
        For an unknown profile or form, or if there is no token at all.
    TypeError
        If a batch is not an integer tensor of shape [batch, sequence].

    See Also
    --------
    summarize : Totals of the table.
    snn_estimators.energy : The rules of counting, and what is not counted.

    Examples
    --------
    >>> import torch
    >>> from snn_estimators.nn import SpikingDecoder
    >>> decoder = SpikingDecoder(vocab_size=30, max_len=16, blocks=1)
    >>> table = measure(decoder, [torch.arange(16)[None]])
    >>> table[["layer", "kind", "ann_pj"]].tail(2)
             layer    kind   ann_pj
    21 head.neuron  neuron      0.0
    22 head.linear    head  11040.0
    """
    if isinstance(batches, Tensor):
        batches = [batches]
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    meter = EnergyMeter(module, profile=profile, attention=attention)
    with _evaluating(module), torch.no_grad(), meter:
        for tokens in batches:
            module(tokens.to(device) if isinstance(tokens, Tensor) else tokens)
    return meter.table()


def summarize(table: pd.DataFrame) -> pd.Series:
    """Add a table of `measure` up.

    Parameters
    ----------
    table : pandas.DataFrame

    Returns
    -------
    pandas.Series
        Per token: ``synaptic_nj``; ``normalization_nj``; ``neuron_nj``; ``total_nj``, the sum of
        the three; ``ann_nj``, the twin's synaptic energy; ``relative``, synaptic over the twin's;
        ``recurrent_nj`` and ``parallel_nj``, synaptic in either form of attention; ``accumulates``;
        ``macs``; ``spike_rate``, the share of spikes among all that neurons could have emitted (NaN
        without neurons).

    Examples
    --------
    >>> import torch
    >>> from snn_estimators.nn import SpikingDecoder
    >>> twin = SpikingDecoder(vocab_size=30, max_len=16, blocks=1, spike_degree=0)
    >>> float(summarize(measure(twin, [torch.arange(16)[None]]))["relative"])
    1.0
    """
    sums = table.drop(columns=["layer", "kind", "spike_rate"]).sum()
    neurons = table[table["kind"] == "neuron"]
    possible = neurons["n_values"].sum()
    synaptic, normalization, neuron, ann = (
        sums[name] / 1e3 for name in ("energy_pj", "normalization_pj", "neuron_pj", "ann_pj")
    )
    return pd.Series(
        {
            "synaptic_nj": synaptic,
            "normalization_nj": normalization,
            "neuron_nj": neuron,
            "total_nj": synaptic + normalization + neuron,
            "ann_nj": ann,
            "relative": synaptic / ann if ann else float("nan"),
            "recurrent_nj": sums["energy_recurrent_pj"] / 1e3,
            "parallel_nj": sums["energy_parallel_pj"] / 1e3,
            "accumulates": sums["accumulates"],
            "macs": sums["macs"],
            "spike_rate": (
                (neurons["spike_rate"] * neurons["n_values"]).sum() / possible
                if possible
                else float("nan")
            ),
        },
        dtype=float,
    )


def spike_rates(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a table of `measure` that have a spike rate: layer, kind and the rate.

    Parameters
    ----------
    table : pandas.DataFrame

    Returns
    -------
    pandas.DataFrame
    """
    rows = table["spike_rate"].notna()
    return table.loc[rows, ["layer", "kind", "spike_rate"]].reset_index(drop=True)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module into evaluation mode, and each of its parts back into its own."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _ancestors(root: nn.Module, name: str) -> list[nn.Module]:
    """List the modules around a named one, from the inside out."""
    names = name.split(".") if name else []
    return [root.get_submodule(".".join(names[:depth])) for depth in reversed(range(len(names)))]


def _as_layers_see(module: nn.Module, ids: Tensor) -> Tensor:
    """Cut token ids into the sequences that run through the layers: classifiers take windows."""
    if not isinstance(module, SequenceClassifier):
        return ids
    windows = module.windows(ids)
    return windows[(windows >= 0).any(-1)]


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {tuple(value.shape)}"
    return type(value).__name__
