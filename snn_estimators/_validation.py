"""One checker of numbers and choices: what a value may be, and the sentence if it is not.

Choices that a user may add to stand in registries, plain dicts from a name to what it stands for:
`register` fills them, and `check_choices` takes them as lists of what is allowed.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable, Mapping
from numbers import Integral, Real
from typing import Any, TypeGuard, TypeVar

__all__ = [
    "check_choices",
    "check_flags",
    "check_numbers",
    "check_optional_numbers",
    "check_shares",
    "check_sizes",
    "check_whole",
    "is_float",
    "is_number",
    "is_whole",
    "register",
    "short",
    "suggest",
]

Entry = TypeVar("Entry")

_LISTED = 150  # characters of a list of names that is shown whole
_NEAREST = 3
_ALIKE = 0.6  # of difflib's ratio, from 0 to 1
_SHOWN = 80  # characters of a value that are shown


def register(
    registry: dict[str, Entry], kind: str, name: str, entry: Entry, *, replace: bool = False
) -> None:
    """Add an entry to a registry; raise ValueError for a name that is no text, or taken."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"name={name!r} must be a non-empty string.")
    if name in registry and not replace:
        raise ValueError(
            f"{kind} {name!r} is registered already; choose another name or replace=True."
        )
    registry[name] = entry


def check_choices(allowed: Mapping[str, Collection[Any]], **options: Any) -> None:
    """Raise ValueError for a value that is not among those allowed under its name."""
    for name, value in options.items():
        choices = list(allowed[name])
        if value not in choices or isinstance(value, bool):
            raise ValueError(f"{name}={short(value)} is unknown; {suggest(value, choices)}")


def short(value: Any) -> str:
    """Return the repr of a value, without the middle of a long one."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 20]}...{text[-17:]}"


def suggest(name: Any, known: Iterable[Any]) -> str:
    """Return what to give instead of an unknown name: the end of its message.

    That is the nearest three names by `difflib`, of a long list always. Names such as module__heads
    are compared by their last parts, too. A short list is shown whole.

    Examples
    --------
    >>> suggest("lift", ["lif", "plif", "none"])
    "did you mean 'lif' or 'plif'? Choose one of ['lif', 'plif', 'none']."
    >>> suggest("timestep", [*(f"parameter_{i}" for i in range(20)), "module__timesteps"])
    "did you mean 'module__timesteps'?"
    """
    names = list(known)
    if not names:
        return "there is none."
    listed = f"hoose one of {names}." if len(repr(names)) <= _LISTED else ""
    near = _nearest(str(name)[:_LISTED], names, alike=_ALIKE if listed else 0)
    if not near:
        return f"c{listed}"
    *others, last = map(repr, near)
    asked = f"did you mean {', '.join(others)}{' or ' if others else ''}{last}?"
    return f"{asked} C{listed}" if listed else asked


def _nearest(name: str, names: Iterable[Any], alike: float) -> list[Any]:
    """Return the names most like another, the nearest first; one at least if `alike` is 0."""
    likeness = {one: _likeness(name, str(one)) for one in names}
    found = sorted(likeness, key=lambda one: -likeness[one])[:_NEAREST]
    near = [one for one in found if likeness[one] >= _ALIKE]
    return near if near or alike else found


def _likeness(name: str, other: str) -> float:
    pairs = [(name, other), (name.rpartition("__")[2], other.rpartition("__")[2])]
    return max(difflib.SequenceMatcher(None, a.lower(), b.lower()).ratio() for a, b in pairs)


def check_sizes(*, most: int = 2**31 - 1, **options: Any) -> None:
    """Raise ValueError for a value that is no whole number from 1 up to `most`."""
    for name, value in options.items():
        check_whole(name, value, 1)
        if value > most:
            raise ValueError(f"{name} must be at most {most}, got {value!r}.")


def check_shares(**options: Any) -> None:
    """Raise ValueError for a value that is no number from 0 on and below 1."""
    for name, value in options.items():
        if not _is_finite(value) or not 0 <= value < 1:
            raise ValueError(f"{name}={value!r} must be a number in [0, 1).")


def check_numbers(**options: Any) -> None:
    """Raise ValueError for a value that is no finite number."""
    for name, value in options.items():
        if not _is_finite(value):
            raise ValueError(f"{name}={value!r} must be a finite number.")


def check_optional_numbers(**options: Any) -> None:
    """Raise ValueError for a value that is neither None nor a finite number."""
    check_numbers(**{name: value for name, value in options.items() if value is not None})


def check_flags(**options: Any) -> None:
    """Raise ValueError for a value that is neither True nor False."""
    for name, value in options.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name}={value!r} must be True or False.")


def check_whole(
    name: str, value: Any, least: int, *, optional: bool = False, hint: str = ""
) -> None:
    """Raise ValueError for a value that is no whole number from `least` on; the hint ends it.

    Examples
    --------
    >>> check_whole("folds", 2, 2)
    >>> check_whole("folds", True, 2, hint="give 2 or more")
    Traceback (most recent call last):
    ...
    ValueError: folds must be a whole number from 2 on, got True: give 2 or more.
    """
    if not (value is None and optional) and not is_whole(value, least):
        what = "None or a whole number" if optional and not hint else "a whole number"
        hint = hint and f": {hint}"
        raise ValueError(f"{name} must be {what} from {least} on, got {value!r}{hint}.")


def is_whole(value: Any, least: int | None = None) -> TypeGuard[int]:
    """Return whether a value is a whole number, from `least` on; True and 2.0 are none."""
    is_integer = isinstance(value, Integral) and not isinstance(value, bool)
    return is_integer and (least is None or int(value) >= least)


def is_number(value: Any) -> bool:
    """Return whether a value is a real number; True is none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_float(value: Any) -> bool:
    """Return whether a value is a number that a float can hold, NaN and infinity included."""
    try:
        return is_number(value) and isinstance(float(value), float)
    except OverflowError:  # of a whole number
        return False


def _is_finite(value: Any) -> bool:
    return is_float(value) and math.isfinite(value)
