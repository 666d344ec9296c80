"""What inference costs: operations counted from observed spikes, priced by a technology.

`measure` runs a module on tokens and returns a table, a row a layer; `summarize` adds it up;
`ann_twin` and `rwkv_twin` give the same network without spikes, from its dimensions alone, and
`spike_gpt_twins` both of them for a SpikeGPT; `theoretical` goes through the published estimate of
the SpikeDecoder and what is wrong with it; `register_counter` has a new type of layer counted.

The rules, and where they come from:

* An operation on binary input costs one accumulate for each synapse that a spike reaches, one on
  real input a multiply-accumulate a synapse, at every timestep (Rathi & Roy, "DIET-SNN", 2020; Yin,
  Corradi & Bohté, Nature Machine Intelligence 2021). Silence is binary, and free.
* Prices are those of 45 nm CMOS: M. Horowitz, "Computing's energy problem", ISSCC 2014.
* Normalisation and neuron updates stand in columns of their own: most papers leave them out.
* A classifier's output map runs once a document, on features pooled over its tokens; they are real,
  unless they are the last token's spikes. The table is per token of the documents all the same.

SpikeGPT as published feeds layer-normed real numbers into its linear maps, so those are MACs, as
many as in RWKV without spikes: `relative` is 1. Binary are the embedding's bits, which only a layer
norm sees, and what goes into the residual stream; that saves an accumulate for each neuron that
stays silent, and costs the neurons. With ``spikes="everywhere"`` every linear map sees spikes.

* Its neurons are updated once a token. A spike that enters the residual stream costs an accumulate,
  a real number (in RWKV) too. The stream has no weights, so this is booked beside neuron updates,
  not as a synaptic operation.
* Token shifts, the WKV recurrence, gates and squares of rectified keys multiply real numbers value
  by value in every variant, a MAC each: 3 + 6 + 1 + 0 a channel and token in time mixing, 2 + 0 + 1
  + 4 in channel mixing. WKV is a recurrence in training too, so both forms of it cost the same.

Not counted, for spiking networks and twins alike: memory traffic (Lemaire et al., "An analytical
estimation of spiking neural networks energy efficiency", 2022, model it; it often dominates),
biases (a neuron's or norm's constant), table look-ups, sums of codes, the SpikeDecoder's residual
sums, differences of token shifts, and the exponentials, divisions and roots inside softmax, WKV,
gates, GELU, codes and norms, with the maxima and differences that keep exponentials finite.
"""

from snn_estimators.energy.counters import Counter, FoldedNormCounter, Operations, Tokens
from snn_estimators.energy.meter import EnergyMeter, measure, spike_rates, summarize
from snn_estimators.energy.profiles import HOROWITZ_45NM, PROFILES, EnergyProfile
from snn_estimators.energy.published import SpikeRates, theoretical
from snn_estimators.energy.registry import COUNTERS, register_counter
from snn_estimators.energy.twin import ann_twin, rwkv_twin, spike_gpt_twins

__all__ = [
    "COUNTERS",
    "HOROWITZ_45NM",
    "PROFILES",
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
