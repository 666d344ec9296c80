"""Technologies: what one operation costs."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class EnergyProfile:
    """Energy of the two operations that everything else is counted in.

    Parameters
    ----------
    name : str
    pj_per_mac : float, default=4.6
        Picojoules of a multiply-accumulate: one multiplication and one addition.
    pj_per_ac : float, default=0.9
        Picojoules of an accumulate: one addition.

    Raises
    ------
    ValueError
        If an energy is not a positive number.

    Examples
    --------
    >>> EnergyProfile("45nm").energy(accumulates=10, macs=1)
    13.6
    """

    name: str
    pj_per_mac: float = 4.6
    pj_per_ac: float = 0.9

    def __post_init__(self) -> None:
        for field in ("pj_per_mac", "pj_per_ac"):
            value = getattr(self, field)
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{field}={value!r} must be a positive number of picojoules.")

    def energy(self, *, accumulates: float = 0.0, macs: float = 0.0) -> float:
        """Price operations, in pJ."""
        return self.pj_per_ac * accumulates + self.pj_per_mac * macs


HOROWITZ_45NM = EnergyProfile("45nm", pj_per_mac=3.7 + 0.9, pj_per_ac=0.9)
"""32-bit floating point in 45 nm CMOS at 0.9 V, the usual choice of the field."""

PROFILES = {
    profile.name: profile
    for profile in (
        HOROWITZ_45NM,
        EnergyProfile("45nm-fp16", pj_per_mac=1.1 + 0.4, pj_per_ac=0.4),
        EnergyProfile("45nm-int32", pj_per_mac=3.1 + 0.1, pj_per_ac=0.1),
        EnergyProfile("45nm-int8", pj_per_mac=0.2 + 0.03, pj_per_ac=0.03),
    )
}
"""Named technologies. All are Horowitz's, ISSCC 2014, figure 1.1.9: multiplication plus addition of
one number format; "45nm-int8" adds in 8 bits too, which real accumulators avoid."""


def resolve_profile(profile: EnergyProfile | str) -> EnergyProfile:
    """Look a profile up by its name, or return it as it is."""
    if isinstance(profile, EnergyProfile):
        return profile
    if profile not in PROFILES:
        raise ValueError(
            f"profile={profile!r} is unknown; choose one of {list(PROFILES)} or pass an "
            "EnergyProfile of your own."
        )
    return PROFILES[profile]
