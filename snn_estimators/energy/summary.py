"""Totals of a table of what each layer costs, and its spike rates."""

from __future__ import annotations

import pandas as pd


def summarize(table: pd.DataFrame) -> pd.Series:
    """Add a table of `measure` up.

    Parameters
    ----------
    table : pandas.DataFrame

    Returns
    -------
    pandas.Series
        Per token:

        ``synaptic_nj``, ``normalization_nj``, ``neuron_nj``, ``function_nj``
            Energy of operations, part by part; see `measure`.
        ``total_nj``
            Their sum.
        ``memory_nj``, ``total_with_memory_nj``
            Energy of reads and writes, and the sum of all; NaN if memory has no price.
        ``ann_nj``, ``ann_total_nj``, ``ann_memory_nj``
            Synaptic energy, energy of all operations, and energy of memory of the twin.
        ``relative``, ``relative_total``, ``relative_with_memory``
            Synaptic energy, total, and total with memory over the twin's.
        ``recurrent_nj``, ``parallel_nj``
            Synaptic energy in either form of attention.
        ``accumulates``, ``macs``, ``effective_macs``, ``weight_reads``, ``ann_weight_reads``
        ``spike_rate``
            The share of spikes among all that neurons could have emitted; NaN without neurons.
        ``length``
            Tokens of a sequence.

    Examples
    --------
    >>> import torch
    >>> from snn_estimators.energy import measure
    >>> from snn_estimators.nn import SpikingDecoder
    >>> twin = SpikingDecoder(vocab_size=30, max_len=16, **SpikingDecoder.TWIN)
    >>> total = summarize(measure(twin, [torch.arange(16)[None]]))
    >>> names = ("relative", "relative_total", "relative_with_memory")
    >>> [round(float(total[name]), 9) for name in names]
    [1.0, 1.0, 1.0]
    """
    sums = table.drop(columns=["layer", "kind", "spike_rate", "length"]).sum(skipna=False)
    nj = {name.removesuffix("_pj"): sums[name] / 1e3 for name in sums.index if "pj" in name}
    parts = ("energy", "normalization", "neuron", "function")
    total = sum(nj[part] for part in parts)
    emitted = table[table["kind"] == "neuron"].dropna(subset="spike_rate")
    possible = emitted["n_values"].sum()
    return pd.Series(
        {
            "synaptic_nj": nj["energy"],
            **{f"{part}_nj": nj[part] for part in parts[1:]},
            "total_nj": total,
            "memory_nj": nj["memory"],
            "total_with_memory_nj": total + nj["memory"],
            "ann_nj": nj["ann"],
            "ann_total_nj": nj["ann_total"],
            "ann_memory_nj": nj["ann_memory"],
            "relative": _ratio(nj["energy"], nj["ann"]),
            "relative_total": _ratio(total, nj["ann_total"]),
            "relative_with_memory": _ratio(
                total + nj["memory"], nj["ann_total"] + nj["ann_memory"]
            ),
            "recurrent_nj": nj["energy_recurrent"],
            "parallel_nj": nj["energy_parallel"],
            **{
                name: sums[name]
                for name in (
                    "accumulates",
                    "macs",
                    "effective_macs",
                    "weight_reads",
                    "ann_weight_reads",
                )
            },
            "spike_rate": _ratio((emitted["spike_rate"] * emitted["n_values"]).sum(), possible),
            "length": table["length"].iloc[0],
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


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
