"""The published energy estimate of the SpikeDecoder, its slip, and the count per synapse."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from snn_estimators.energy.profiles import DEFAULT, EnergyProfile, resolve_profile
from snn_estimators.energy.twin import ann_twin


@dataclass(frozen=True)
class SpikeRates:
    """Shares of spikes at the seven points that the estimate needs; the defaults are published."""

    attention_in: float = 0.27
    """In front of queries, keys and values."""
    query: float = 0.30
    """Of the queries."""
    scores: float = 0.16
    """Of what multiplies the values."""
    attention_out: float = 0.23
    """In front of the attention's way out."""
    mlp_in: float = 0.29
    """In front of the first linear map of the feed-forward."""
    mlp_out: float = 0.11
    """In front of the second, which is `mlp_ratio` times as wide."""
    head: float = 0.40
    """In front of the last linear map."""


def theoretical(
    rates: SpikeRates | None = None,
    *,
    width: int = 80,
    length: int = 256,
    blocks: int = 12,
    timesteps: int = 4,
    mlp_ratio: int = 16,
    vocab_size: int = 30,
    profile: EnergyProfile | str = DEFAULT,
) -> pd.DataFrame:
    r"""Estimate a whole sequence's energy from spike rates: as published, corrected, per synapse.

    With :math:`S` = `length`, :math:`E` = `width`, :math:`h` = `mlp_ratio`, :math:`V` =
    `vocab_size`, and :math:`n = \text{rate} \cdot S E` spikes at each point (:math:`n_\text{out}`
    counts :math:`\text{rate} \cdot S E h`, the hidden spikes), one timestep of one spiking block is
    published as

    .. math:: 3 (2 n_\text{in} E + SE) + 2 n_q S + 2 n_s E + (2 n_o E + SE)
              + (2 n_\text{mlp} hE + S h E) + (2 n_\text{out} E + SE),

    the head, once, as :math:`2 n_\text{head} V + VS`, all accumulates. One block of the ANN is

    .. math:: (2E-1) S^2 + (2S-1) SE + 4 ((2E-1) SE + SE) + (2E-1) S hE + hE S + 2Sh \cdot SE + SE

    and its head :math:`(2E-1) SV + SV`, each operation at the price of a multiply-accumulate.

    ``published``
        These formulas. The last product of the ANN's feed-forward sums over the hidden units: it
        takes :math:`2Eh \cdot SE` operations, yet :math:`S` stands where :math:`E` belongs. With
        256 tokens and 80 units the ANN comes out almost twice too dear.
    ``corrected``
        The same with :math:`2Eh \cdot SE`; everything else is left as it is.
    ``per_synapse``
        One operation a synapse. The published factor 2 counts multiplication and addition apart,
        although the prices are those of both together (MAC) and of the addition alone (spikes need
        no multiplication); it doubles both sides. Biases go too. This is how `measure` counts,
        except that `measure` skips the future in attention, which the estimate does not.

    The saving hardly depends on the factor, but it does on the slip. Another liberty favours the
    spiking side and is kept here: :math:`n_s` is a share of :math:`SE`, while scores are
    :math:`S \times S`. As a share of :math:`S^2` the per-synapse energy is 0.631 mJ, the saving
    83.6 %.

    Parameters
    ----------
    rates : SpikeRates, optional
        The published ones if left out.
    width, length, blocks, timesteps, mlp_ratio, vocab_size : int
        The published configuration by default.
    profile : EnergyProfile or str, default="45nm-sram"

    Returns
    -------
    pandas.DataFrame
        Rows as above; columns ``spiking_mj``, ``ann_mj`` (a sequence of `length` tokens) and
        ``saving``, 1 - spiking / ANN.

    Examples
    --------
    >>> theoretical().round(3)
                 spiking_mj  ann_mj  saving
    published         1.231  14.038   0.912
    corrected         1.231   7.671   0.840
    per_synapse       0.606   3.837   0.842
    """
    rates = SpikeRates() if rates is None else rates
    s, e, h, v, t, b = length, width, mlp_ratio, vocab_size, timesteps, blocks

    mlp = (rates.mlp_in + rates.mlp_out) * h * e
    projections = (3 * rates.attention_in + rates.attention_out) * e
    synapses = s * e * (projections + rates.query * s + rates.scores * e + mlp)
    head_synapses = rates.head * s * e * v
    biases = 3 * s * e + s * e + s * h * e + s * e
    twice = t * b * (2 * synapses + biases) + 2 * head_synapses + s * v
    once = t * b * synapses + head_synapses

    def ann_operations(summed_over: int) -> int:
        attention = (2 * e - 1) * s**2 + (2 * s - 1) * s * e + 4 * ((2 * e - 1) * s * e + s * e)
        feed_forward = (2 * e - 1) * s * h * e + h * e * s + 2 * h * summed_over * s * e + s * e
        return b * (attention + feed_forward) + (2 * e - 1) * s * v + s * v

    twin = ann_twin(width=e, blocks=b, mlp_ratio=h, vocab_size=v, length=s, causal=False)
    operations = {
        "published": (twice, ann_operations(summed_over=s)),
        "corrected": (twice, ann_operations(summed_over=e)),
        "per_synapse": (once, s * twin.sum()),
    }
    table = pd.DataFrame.from_dict(operations, orient="index", columns=["spiking_mj", "ann_mj"])
    profile = resolve_profile(profile)
    prices = pd.Series({"spiking_mj": profile.pj_per_ac, "ann_mj": profile.pj_per_mac})
    table = table * prices / 1e9
    return table.assign(saving=1 - table["spiking_mj"] / table["ann_mj"])
