"""What inference costs: operations counted from observed spikes, priced by a technology.

`measure` runs a module on tokens and returns a table, a row a layer; `summarize` adds it up;
`ann_twin` gives the same network without spikes, from its dimensions alone; `theoretical` goes
through the published estimate of the SpikeDecoder and what is wrong with it.

The rules, and where they come from:

* An operation on binary input costs one accumulate for each synapse that a spike reaches, one on
  real input a multiply-accumulate a synapse, at every timestep (Rathi & Roy, "DIET-SNN", 2020; Yin,
  Corradi & Bohté, Nature Machine Intelligence 2021). Silence is binary, and free.
* Prices are those of 45 nm CMOS: M. Horowitz, "Computing's energy problem", ISSCC 2014.
* Normalisation and neuron updates stand in columns of their own: most papers leave them out.

Not counted, for spiking networks and twins alike: memory traffic (Lemaire et al., "An analytical
estimation of spiking neural networks energy efficiency", 2022, model it; it often dominates),
biases (a neuron's or norm's constant), table look-ups, sums of codes and residuals, and the
exponentials, divisions and roots inside softmax, GELU, codes and norms.
"""

from snn_estimators.energy.meter import EnergyMeter, measure, summarize
from snn_estimators.energy.profiles import HOROWITZ_45NM, PROFILES, EnergyProfile
from snn_estimators.energy.published import SpikeRates, theoretical
from snn_estimators.energy.twin import ann_twin

__all__ = [
    "HOROWITZ_45NM",
    "PROFILES",
    "EnergyMeter",
    "EnergyProfile",
    "SpikeRates",
    "ann_twin",
    "measure",
    "summarize",
    "theoretical",
]
