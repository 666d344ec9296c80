"""The meter: observes a module and tabulates what each layer costs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from snn_estimators._validation import check_choices
from snn_estimators._warnings import warn
from snn_estimators.energy.counters import Counter, Sources
from snn_estimators.energy.layer_counters import NeuronCounter
from snn_estimators.energy.operations import Operations, weight_reads
from snn_estimators.energy.profiles import DEFAULT, EnergyProfile, resolve_profile
from snn_estimators.energy.registry import counter_for, uncounted
from snn_estimators.energy.streams import Code, Tokens, spike_rates_of
from snn_estimators.nn.classifier import SequenceClassifier
from snn_estimators.nn.neurons import Neuron

FORMS = ("recurrent", "parallel")


class EnergyMeter:
    """Count the operations of a module's calls, for as long as the context lasts.

    `measure` does all of it in one call; the meter is for a loop that computes something else too.
    It watches what runs in its own thread: put the module into evaluation mode first.

    Parameters
    ----------
    module : nn.Module
        Called with tokens, LongTensor of shape [batch, sequence]; negative ids are padding, on the
        right.
    profile : EnergyProfile or str, default="45nm-sram"
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
        profile: EnergyProfile | str = DEFAULT,
        attention: str = "recurrent",
    ) -> None:
        check_choices({"attention": FORMS}, attention=attention)
        self.module, self.profile, self.attention = module, resolve_profile(profile), attention
        self.tokens_seen = self.sequences_seen = 0
        self._thread: int | None = None
        self._tokens: Tokens | None = None
        self._sources = Sources()
        self._handles: list[RemovableHandle] = []
        self._counters: dict[str, Counter] = {}
        rest = []
        for name, child in module.named_modules():
            counter = counter_for(child, _ancestors(module, name))
            if counter is None:
                rest.append((name, child))
            else:
                self._counters[name or type(child).__name__] = counter
        declared = (Code.of(m) for m in module.modules() if isinstance(m, Neuron))
        self._codes = {code for code in declared if code is not None}
        if missing := uncounted(rest):
            warn(
                f"the energy of {', '.join(missing)} is not counted: no counter knows such layers; "
                "see snn_estimators.energy.register_counter."
            )

    def __enter__(self) -> EnergyMeter:
        root, self._thread = self.module, threading.get_ident()
        # Neurons first: others that watch their output ask what it was emitted in.
        counters = sorted(
            self._counters.values(), key=lambda counter: not isinstance(counter, NeuronCounter)
        )
        self._handles = [
            root.register_forward_pre_hook(self._start, with_kwargs=True),
            *(
                child.register_forward_hook(self._reporter(counter, which))
                for counter in counters
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

    def table(self, profile: EnergyProfile | str | None = None) -> pd.DataFrame:
        """Report what was seen, per token (see `measure`).

        Parameters
        ----------
        profile : EnergyProfile or str, optional
            Another one than the meter's: what was counted can be priced in several ways.

        Raises
        ------
        ValueError
            If the module was not called on any token.
        """
        if not self.tokens_seen:
            raise ValueError(
                "no token was seen: call the module on tokens while the meter watches."
            )
        priced = self.profile if profile is None else resolve_profile(profile)
        return pd.DataFrame([self._row(name, c, priced) for name, c in self._counters.items()])

    def _row(self, name: str, counter: Counter, profile: EnergyProfile) -> dict[str, Any]:
        per_token = 1 / self.tokens_seen

        def price(operations: Operations) -> float:
            return profile.energy(operations) * per_token

        forms = {form: counter.synaptic(form, profile) for form in FORMS}
        chosen, twin = forms[self.attention], counter.twin
        accesses = counter.accesses(profile)
        rate, mean_count, events = spike_rates_of(counter.streams)
        return {
            "layer": name,
            "kind": counter.kind,
            "spike_rate": rate,
            "mean_count": mean_count,
            "events": events,
            "n_values": sum(stream.size for stream in counter.streams) * per_token,
            "accumulates": (chosen.accumulates + chosen.shift_adds) * per_token,
            "macs": (chosen.macs + chosen.products) * per_token,
            "effective_macs": counter.effective_macs() * per_token,
            "weight_reads": weight_reads(accesses) * per_token,
            "energy_pj": price(chosen),
            "normalization_pj": price(counter.normalization()),
            "neuron_pj": price(counter.neuron()),
            "function_pj": price(Operations(functions=counter.functions())),
            "memory_pj": profile.memory_energy(accesses) * per_token,
            "ann_pj": price(twin.synaptic),
            "ann_total_pj": price(twin.synaptic + twin.other),
            "ann_memory_pj": profile.memory_energy(twin.accesses) * per_token,
            "ann_weight_reads": twin.weight_reads * per_token,
            **{
                f"accumulates_{form}": (found.accumulates + found.shift_adds) * per_token
                for form, found in forms.items()
            },
            "energy_recurrent_pj": price(forms["recurrent"]),
            "energy_parallel_pj": price(forms["parallel"]),
            "length": self.tokens_seen / self.sequences_seen,
        }

    def _is_another_thread(self) -> bool:
        return threading.get_ident() != self._thread

    def _start(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._is_another_thread():
            return
        ids = args[0] if args else next(iter(kwargs.values()), None)
        if not isinstance(ids, Tensor) or ids.dim() != 2 or ids.is_floating_point():
            raise TypeError(
                "the module's first argument must be token ids, an integer tensor of shape "
                f"[batch, sequence], got {_describe(ids)}."
            )
        self.tokens_seen += int((ids >= 0).sum())
        self.sequences_seen += int((ids >= 0).any(1).sum())
        self._tokens, self._sources = Tokens(_as_layers_see(module, ids)), Sources(self._codes)

    def _stop(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not self._is_another_thread():
            self._tokens = None

    def _reporter(self, counter: Counter, which: str) -> Callable[..., None]:
        @torch.no_grad()
        def report(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if self._is_another_thread() or self._tokens is None or not self._tokens.count:
                return
            counter.observe(which, args, output, self._tokens, self._sources)

        return report


def measure(
    module: nn.Module,
    batches: Iterable[Tensor] | Tensor,
    *,
    profile: EnergyProfile | str = DEFAULT,
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
    profile : EnergyProfile or str, default="45nm-sram"
        The technology, or its name in `PROFILES`.
    attention : {"recurrent", "parallel"}, default="recurrent"
        How spiking attention is computed: with a state a head, as in generation, or all pairs of
        tokens. It decides about `accumulates`, `macs` and `energy_pj`.

    Returns
    -------
    pandas.DataFrame
        A row a layer, everything per token, all timesteps together:

        ``layer``, ``kind``
            Name in the module; "encoding", "embedding", "linear", "shift" (the memory of previous
            tokens), "norm", "neuron", "activation", "attention", "mixing" (RWKV's token shifts,
            gates and recurrence), "residual" (its stream's sums) or "head".
        ``spike_rate``, ``mean_count``, ``events``
            In a layer's input, NaN if that is real; for neurons and the encoding, in their output;
            for the head, in front of its readout; for a residual stream, in what a block adds to
            it. The share of spikes among all that could have been emitted (with several levels, a
            count of k is k of them), the mean size of a count, and the share that is not zero.
        ``n_values``
            Number of values that these are shares of.
        ``accumulates``, ``macs``, ``energy_pj``
            Synaptic operations and their energy: what most papers report.
        ``effective_macs``
            The multiply-accumulates whose input is not zero.
        ``normalization_pj``, ``neuron_pj``, ``function_pj``
            Energy of normalisation; of neuron updates, residual sums and biases; of exponentials,
            divisions and roots.
        ``weight_reads``, ``memory_pj``
            Weights read, and the energy of all reads and writes of memory (NaN without a price).
        ``ann_pj``, ``ann_total_pj``, ``ann_memory_pj``, ``ann_weight_reads``
            Synaptic energy, energy of all operations, energy of memory, and weights read of the
            same layer in the non-spiking twin: the same module with softmax attention (RWKV's
            recurrence for a SpikeGPT), real numbers, one timestep; see `snn_estimators.energy`.
            Zero for layers that it lacks.
        ``accumulates_recurrent``, ``accumulates_parallel``
        ``energy_recurrent_pj``, ``energy_parallel_pj``
            Both forms of attention; they agree on all other layers, RWKV's among them.
        ``length``
            Tokens of a sequence, in the mean: what the twin's attention depends on.

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
    29  head.neuron  neuron      0.0
    30  head.linear    head  11040.0
    """
    if isinstance(batches, Tensor):
        batches = [batches]
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    meter = EnergyMeter(module, profile=profile, attention=attention)
    with _evaluating(module), torch.no_grad(), meter:
        for tokens in batches:
            module(tokens.to(device) if isinstance(tokens, Tensor) else tokens)
    return meter.table()


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
