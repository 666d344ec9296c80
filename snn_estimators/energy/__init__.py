"""What inference costs: operations and memory accesses, counted from what really happened, priced.

`measure` runs a module on tokens and returns a table, a row a layer; `summarize` adds it up;
`ann_twin` and `rwkv_twin` give the same network without spikes, from its dimensions alone, and
`spike_gpt_twins` both of them for a SpikeGPT; `theoretical` goes through the published estimate of
the SpikeDecoder and what is wrong with it; `register_counter` has a new type of layer counted.

**Operations.** One on spikes costs an accumulate for each synapse that a spike reaches, one on real
input a multiply-accumulate (MAC) a synapse, at every timestep (Rathi & Roy, "DIET-SNN", 2020; Yin,
Corradi & Bohté, Nature Machine Intelligence 2021). Silence is free. Beside these synaptic
operations, which are all that most papers report, stand in columns of their own:

* normalisation; batch and power norm fold into the weights before them;
* neuron updates, sums into the residual stream (an accumulate a spike or a real value), and biases,
  unless they fold into a batch norm or are a constant of the neurons behind;
* functions: exponentials, divisions and roots in softmax, WKV, gates, GELU and layer norms.

A SpikeGPT as published feeds layer-normed real numbers into its linear maps, so those are MACs, as
many as in RWKV. Token shifts, the WKV recurrence, gates and squares of rectified keys multiply real
numbers value by value in every variant, a MAC each.

**Graded spikes.** A neuron declares ``levels``, ``unit`` and ``signed``, and emits c times the
unit, c up to its levels. Where every value is such a multiple, exactly, a count of c makes |c|
accumulates a synapse, as |c| binary spikes would: never fewer for being one event. A profile may
price it otherwise: ``graded="shift-add"`` is an addition for each bit set in c, ``"multiply"`` one
multiplication of small integers. ``neuron="quantized"`` emits the same numbers as a quantised
activation, which multiplies everywhere.

**Memory.** A token at a time, weights on chip, a memory for each matrix, the same dataflow for
accumulates and MACs: an event or a real input reads its row of weights, and reads and writes the
sum at each of them; neurons read and write membranes, attention its state or its cache, norms and
residual sums their values. What an access costs depends on the size of the memory. It often
dominates (Lemaire et al., "An analytical estimation of spiking neural networks energy efficiency",
2022; Dampfhoffer et al., 2022). Attention counts in its recurrent form here.

**The twin** (columns ``ann_...``) is the same module without spikes: real numbers, one timestep,
softmax attention, the same token shifts; for a SpikeGPT it is RWKV. It follows from the dimensions
alone, so its zeros count as numbers; measured as a module of its own it may skip them
(``skip_zeros``). Softmax attention grows with the context, spiking attention does not: the ratio
holds for the ``length`` of the table, and against a twin with linear attention it hardly depends on
it. The table shows a sequence read once; text generated beyond `max_len` of a SpikeDecoder rebuilds
its state again and again, about two steps a token.

A classifier's output map runs once a document, on features pooled over its tokens; they are real,
unless they are the last token's spikes. The table is per token of the documents all the same.

Prices are those of 45 nm CMOS (M. Horowitz, "Computing's energy problem", ISSCC 2014) unless
another profile is named; profiles are data, see `EnergyProfile`.

Not counted, for spiking networks and twins alike: sums of codes, differences of token shifts, the
polynomial of GELU, maxima and differences that keep exponentials finite, and whatever moves data
between layers.
"""

from snn_estimators.energy.counters import Counter
from snn_estimators.energy.layer_counters import FoldedNormCounter
from snn_estimators.energy.meter import EnergyMeter, measure
from snn_estimators.energy.operations import Bank, Operations
from snn_estimators.energy.profiles import HOROWITZ_45NM, PROFILES, EnergyProfile
from snn_estimators.energy.published import SpikeRates, theoretical
from snn_estimators.energy.registry import COUNTERS, register_counter
from snn_estimators.energy.streams import Tokens
from snn_estimators.energy.summary import spike_rates, summarize
from snn_estimators.energy.twin import ann_twin, rwkv_twin, spike_gpt_twins

__all__ = [
    "COUNTERS",
    "HOROWITZ_45NM",
    "PROFILES",
    "Bank",
    "Counter",
    "EnergyMeter",
    "EnergyProfile",
    "FoldedNormCounter",
    "Operations",
    "SpikeRates",
    "Tokens",
    "ann_twin",
    "measure",
    "register_counter",
    "rwkv_twin",
    "spike_gpt_twins",
    "spike_rates",
    "summarize",
    "theoretical",
]
