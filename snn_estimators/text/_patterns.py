"""Whether a regular expression from a file ends: it is tried in another process, in limited time.

Backtracking takes exponential time on some texts. What is tried are repetitions of the pattern's
own characters and of common ones, followed by one that does not match.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from itertools import product

__all__ = ["check_patterns"]

_SECONDS = 1  # of a processor
_PATIENCE = 60.0  # seconds, if the machine is busy
_LENGTH = 1000
_COMMON = "a0 ."

_TRIAL = """
import json, sys
engine, patterns, texts = json.load(sys.stdin)
if engine == "re":
    import re
else:
    from tokenizers import Regex, pre_tokenizers
try:
    import resource
    used = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
    resource.setrlimit(resource.RLIMIT_CPU, (used + {seconds}, used + {seconds}))
except ImportError:
    pass
for pattern in patterns:
    if engine == "re":
        find = re.compile(pattern).findall
    else:
        find = pre_tokenizers.Split(Regex(pattern), "isolated").pre_tokenize_str
    for text in texts:
        find(text)
"""


@lru_cache
def check_patterns(engine: str, *patterns: str) -> None:
    r"""Raise ValueError for regular expressions that take too long on short texts.

    Parameters
    ----------
    engine : {"re", "tokenizers"}
        Whose expressions they are. What is no expression passes: the engine will say so.
    *patterns : str

    Examples
    --------
    >>> check_patterns("re", r"\w+|[^\w\s]")
    """
    if not sys.executable:
        return
    code = _TRIAL.replace("{seconds}", str(_SECONDS))
    given = json.dumps([engine, patterns, _texts("".join(patterns))])
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=given.encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_PATIENCE,
        )
        was_killed = os.name == "posix" and done.returncode < 0
        in_time = not was_killed and b"retry-limit" not in done.stderr  # Oniguruma's own
    except subprocess.TimeoutExpired:
        in_time = False
    if not in_time:
        raise ValueError(
            f"pattern={' or '.join(map(repr, patterns))} takes more than {_SECONDS} s on texts of "
            f"{_LENGTH} characters: give one that does not repeat a repetition."
        )


def _texts(characters: str) -> Sequence[str]:
    """Return texts that make backtracking slow."""
    own = sorted({*_COMMON, *characters[:200]} - {*"()[]{}|^$?*+\\"})[:16]
    pairs = {one + other for one, other in product(own, own)}
    return [(pair * _LENGTH)[:_LENGTH] + "\x00" for pair in sorted(pairs)]
