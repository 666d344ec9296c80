from __future__ import annotations

import pytest

from snn_estimators.energy import EnergyProfile, SpikeRates, theoretical


@pytest.mark.parametrize(
    ("row", "spiking", "ann", "saving"),
    [
        ("published", 1.231, 14.04, 0.912),
        ("corrected", 1.231, 7.67, 0.840),
        ("per_synapse", 0.606, 3.837, 0.842),
    ],
)
def test_the_published_configuration(row: str, spiking: float, ann: float, saving: float) -> None:
    got = theoretical().loc[row]
    assert got["spiking_mj"] == pytest.approx(spiking, abs=5e-4)
    assert got["ann_mj"] == pytest.approx(ann, abs=5e-3 if ann > 4 else 5e-4)
    assert got["saving"] == pytest.approx(saving, abs=5e-4)


def test_the_slip_does_nothing_where_the_sequence_is_as_long_as_the_model_is_wide() -> None:
    table = theoretical(length=80, width=80)
    assert table.loc["published", "ann_mj"] == pytest.approx(table.loc["corrected", "ann_mj"])


def test_scores_as_a_share_of_all_pairs_of_tokens_cost_what_the_docstring_says() -> None:
    as_pairs = SpikeRates(scores=SpikeRates().scores * 256 / 80)
    row = theoretical(as_pairs).loc["per_synapse"]
    assert row["spiking_mj"] == pytest.approx(0.631, abs=5e-4)
    assert row["saving"] == pytest.approx(0.836, abs=5e-4)


def test_silence_costs_no_synaptic_operation() -> None:
    silent = SpikeRates(0, 0, 0, 0, 0, 0, 0)
    assert theoretical(silent).loc["per_synapse", "spiking_mj"] == 0


def test_prices_scale_both_sides_apart() -> None:
    table, default = (
        theoretical(profile=EnergyProfile(name="twice", pj_per_mac=9.2, pj_per_ac=0.9)),
        theoretical(),
    )
    assert (table["spiking_mj"] == default["spiking_mj"]).all()
    assert table["ann_mj"].to_list() == pytest.approx((2 * default["ann_mj"]).to_list())
