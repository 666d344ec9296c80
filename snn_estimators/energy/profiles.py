"""Technologies: what an operation and a memory access cost. A profile is data; add your own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from snn_estimators._validation import check_choices, check_sizes, is_number, short, suggest
from snn_estimators.energy.operations import WORD_BITS, Accesses, Bank, Operations

KIBIBYTE = 2**10
FORMS: dict[str, tuple[Any, ...]] = {
    "accumulators": ("memory", "element"),
    "reuse": ("none", "timesteps"),
    "graded": ("accumulate", "shift-add", "multiply"),
}


@dataclass(frozen=True, kw_only=True)
class EnergyProfile:
    """Prices in picojoules, and how hardware goes about it.

    Parameters
    ----------
    name : str
    pj_per_ac : float
        An accumulate: one addition.
    pj_per_mac : float
        A multiply-accumulate: one multiplication and one addition.
    pj_per_function : float, optional
        An exponential, a division or a root; by default four multiply-accumulates, as of a table
        and a polynomial.
    pj_per_shift : float, default=0.03
        A shift of a weight: the addition of 8 bits to an exponent.
    pj_per_bit_product : float, default=3.1 / 1024
        A multiplication of small integers, for each pair of bits of the two.
    pj_per_integer_ac : float, default=0.1
        The addition after such a multiplication.
    sram : mapping of int to float, optional
        Picojoules of reading or writing 64 bits of a memory of so many bytes; between two of them
        and beyond the last a power law holds, below the first a square root. Without it there is no
        price of memory.
    register_pj : float, default=2.0
        Least picojoules of 64 bits, however small the memory.
    dram_pj : float, default=1280.0
        Picojoules of 64 bits from outside of the chip.
    weight_bits : int, default=32
    bank : int or "dram", optional
        Bytes of the memory that weights are read from; by default each matrix has its own.
    accumulators : {"memory", "element"}, default="memory"
        Whether a sum is read and written at each addition, or kept in the processing element.
    reuse : {"none", "timesteps"}, default="none"
        Whether a weight that was read serves all timesteps of a token.
    graded : {"accumulate", "shift-add", "multiply"}, default="accumulate"
        What a spike with a count of k does at a synapse: k additions; an addition of the shifted
        weight for each bit that is set in k; or one multiplication of small integers.
    skip_zeros : bool, default=False
        Whether zeros are skipped among real inputs and quantised activations, as silence is among
        spikes.

    Raises
    ------
    ValueError
        For a price that is missing, or no positive number; for an unknown option.

    Examples
    --------
    >>> profile = EnergyProfile(name="mine", pj_per_ac=0.9, pj_per_mac=4.6, sram={8192: 10.0})
    >>> profile.energy(Operations(accumulates=10, macs=1))
    13.6
    >>> profile.memory_energy({Bank("weight", words=2048): 1.0})  # 32 bits of 8 KiB
    5.0
    """

    name: str
    pj_per_ac: float | None = None
    pj_per_mac: float | None = None
    pj_per_function: float | None = None
    pj_per_shift: float = 0.03
    pj_per_bit_product: float = 3.1 / 1024
    pj_per_integer_ac: float = 0.1
    sram: Mapping[int, float] | None = None
    register_pj: float = 2.0
    dram_pj: float = 1280.0
    weight_bits: int = 32
    bank: int | str | None = None
    accumulators: str = "memory"
    reuse: str = "none"
    graded: str = "accumulate"
    skip_zeros: bool = False

    def __post_init__(self) -> None:
        if self.pj_per_function is None and is_number(self.pj_per_mac):
            object.__setattr__(self, "pj_per_function", 4 * (self.pj_per_mac or 0))
        for field in fields(self):
            if "pj" in field.name:
                _check_price(self.name, field.name, getattr(self, field.name))
        for size, price in (self.sram or {}).items():
            _check_price(self.name, f"sram[{size}]", price)
        if self.sram is not None:
            object.__setattr__(self, "sram", MappingProxyType(dict(sorted(self.sram.items()))))
        check_sizes(weight_bits=self.weight_bits)
        if self.bank is not None and self.bank != "dram":
            check_sizes(bank=self.bank)
        check_choices(FORMS, **{name: getattr(self, name) for name in FORMS})

    def __reduce__(self) -> tuple[Any, ...]:
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        given["sram"] = None if self.sram is None else dict(self.sram)
        return _make, (given,)

    def energy(self, operations: Operations) -> float:
        """Price operations, in pJ."""
        ac, mac, function = self.pj_per_ac, self.pj_per_mac, self.pj_per_function
        assert ac is not None and mac is not None and function is not None
        return (
            ac * operations.accumulates
            + mac * operations.macs
            + function * operations.functions
            + (ac + self.pj_per_shift) * operations.shift_adds
            + self.pj_per_bit_product * operations.bit_products
            + self.pj_per_integer_ac * operations.products
        )

    def memory_energy(self, accesses: Accesses) -> float:
        """Price accesses of words, in pJ; not a number without `sram`."""
        if self.sram is None:
            return math.nan
        return sum(number * self._access(bank) for bank, number in accesses.items())

    def _access(self, bank: Bank) -> float:
        bits = {"weight": self.weight_bits, "bit": 1}.get(bank.role, WORD_BITS)
        if bank.role == "accumulator" and self.accumulators == "element":
            return 0.0
        size: float = bank.words * bits / 8
        if bank.role == "weight" and self.bank is not None:
            if self.bank == "dram":
                return bits / 64 * self.dram_pj
            size = float(self.bank)
        return bits / 64 * self._word(size)

    def _word(self, size: float) -> float:
        """Price 64 bits of a memory of so many bytes."""
        assert self.sram is not None
        points = list(self.sram.items())
        small, low = points[0]
        exponent = 0.5
        for (below, price), (large, high) in pairwise(points):
            if size > below:
                small, low = below, price
                exponent = math.log(high / low) / math.log(large / small)
        return max(self.register_pj, low * (size / small) ** exponent)


def _make(given: Mapping[str, Any]) -> EnergyProfile:
    return EnergyProfile(**given)


def _check_price(profile: str, name: str, value: Any) -> None:
    if value is None:
        raise ValueError(f"profile {profile!r} has no {name}: give it in picojoules.")
    if not is_number(value) or not 0 < value < math.inf:
        raise ValueError(f"{name}={value!r} must be a positive number of picojoules.")


_SRAM_45NM = {8 * KIBIBYTE: 10.0, 32 * KIBIBYTE: 20.0, 1024 * KIBIBYTE: 100.0}
_SRAM_7NM = {8 * KIBIBYTE: 7.5, 32 * KIBIBYTE: 8.5, 1024 * KIBIBYTE: 14.0}

HOROWITZ_45NM = EnergyProfile(name="45nm", pj_per_mac=3.7 + 0.9, pj_per_ac=0.9)
"""32-bit floating point in 45 nm CMOS at 0.9 V, the usual choice of the field: no memory."""

PROFILES = {
    profile.name: profile
    for profile in (
        EnergyProfile(name="45nm-sram", pj_per_mac=3.7 + 0.9, pj_per_ac=0.9, sram=_SRAM_45NM),
        HOROWITZ_45NM,
        EnergyProfile(
            name="45nm-fp16", pj_per_mac=1.1 + 0.4, pj_per_ac=0.4, sram=_SRAM_45NM, weight_bits=16
        ),
        EnergyProfile(name="45nm-int32", pj_per_mac=3.1 + 0.1, pj_per_ac=0.1, sram=_SRAM_45NM),
        EnergyProfile(
            name="45nm-int8", pj_per_mac=0.2 + 0.1, pj_per_ac=0.1, sram=_SRAM_45NM, weight_bits=8
        ),
        EnergyProfile(
            name="7nm",
            pj_per_mac=1.31 + 0.38,
            pj_per_ac=0.38,
            pj_per_shift=0.007,
            pj_per_bit_product=1.48 / 1024,
            pj_per_integer_ac=0.03,
            sram=_SRAM_7NM,
            register_pj=2.0 * 0.38 / 0.9,
        ),
    )
}
"""Named technologies; add your own under its name. Those of 45 nm are Horowitz's, ISSCC 2014,
figure 1.1.9: multiplication plus addition of one number format, and 64 bits of memories of 8 KiB,
32 KiB and 1 MiB, as caches have them; "45nm-int8" multiplies 8 bits and adds up in 32. "7nm" is
32-bit floating point of Jouppi et al., ISCA 2021, table 2, with registers scaled as additions."""

DEFAULT = "45nm-sram"


def resolve_profile(profile: EnergyProfile | str) -> EnergyProfile:
    """Look a profile up by its name, or return it as it is."""
    if isinstance(profile, EnergyProfile):
        return profile
    if profile not in PROFILES:
        raise ValueError(
            f"profile={short(profile)} is unknown, and no EnergyProfile of your own; "
            f"{suggest(profile, PROFILES)}"
        )
    return PROFILES[profile]
