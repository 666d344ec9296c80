from __future__ import annotations

import math

import pytest

from snn_estimators.energy import HOROWITZ_45NM, PROFILES, EnergyProfile, Operations
from snn_estimators.energy.profiles import resolve_profile


def test_the_usual_choice_is_32_bit_floating_point_in_45_nm() -> None:
    assert PROFILES["45nm"] is HOROWITZ_45NM
    assert HOROWITZ_45NM.pj_per_mac == pytest.approx(4.6)
    assert HOROWITZ_45NM.pj_per_ac == pytest.approx(0.9)


def test_every_profile_goes_by_its_own_name_and_adds_cheaper_than_it_multiplies() -> None:
    for name, profile in PROFILES.items():
        assert profile.name == name
        assert resolve_profile(name) is profile
        assert profile.pj_per_ac < profile.pj_per_mac


def test_own_profiles_are_used_as_they_are() -> None:
    mine = EnergyProfile(name="mine", pj_per_mac=2.0, pj_per_ac=1.0)
    assert resolve_profile(mine) is mine
    assert mine.energy(Operations(accumulates=3, macs=4)) == 11


@pytest.mark.parametrize("field", ["pj_per_mac", "pj_per_ac"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_prices_must_be_positive(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        EnergyProfile(**{"name": "broken", "pj_per_mac": 1, "pj_per_ac": 1, field: value})


def test_unknown_names_are_refused_with_the_choice() -> None:
    with pytest.raises(ValueError, match=r"profile='3nm' is unknown.*45nm"):
        resolve_profile("3nm")


def test_prices_of_numbers_are_those_of_the_sources():
    int8, seven = PROFILES["45nm-int8"], PROFILES["7nm"]
    # Horowitz, figure 1.1.9: 0.2 pJ an 8-bit product, 0.1 pJ a 32-bit sum.
    assert (int8.pj_per_ac, int8.pj_per_mac) == (0.1, pytest.approx(0.3))
    # Jouppi et al., table 2: 1.31 pJ a 32-bit product, 0.38 pJ a sum.
    assert (seven.pj_per_ac, seven.pj_per_mac) == (0.38, pytest.approx(1.69))
    assert int8.energy(Operations(accumulates=10, macs=100)) == pytest.approx(1 + 30)
    assert seven.energy(Operations(accumulates=10, macs=100)) == pytest.approx(3.8 + 169)
