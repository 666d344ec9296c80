"""User-defined code, written in two ways each, for tests of which have the same key."""

from __future__ import annotations

import json
import pickle
import sys
from typing import Any

from snn_estimators.persistence.hashing import hash_json
from snn_estimators.persistence.stable_hash import canonical

PRELUDE = """
import enum, functools, types
from dataclasses import dataclass
from functools import partial, wraps
import numba
import numpy as np
import torch
from torch import nn
"""

# {v} is 2 or 3, {w} the other one, {user} the name of a user's module.
DIFFERENT = {
    "a body": "def thing(x):\n    return x * {v}",
    "a default": "def thing(x, y={v}):\n    return x * y",
    "a keyword's default": "def thing(x, *, y={v}):\n    return x * y",
    "the names of parameters": "def thing(x{v}, x{w}):\n    return x2 - x3",
    "a closure": "def make(y):\n    return lambda x: x * y\nthing = make({v})",
    "an attribute": "def thing(x):\n    return x * thing.y\nthing.y = {v}",
    "what is caught": "def thing(x):\n    try:\n        return x\n"
    "    except ({v} == 2 and KeyError or ValueError):\n        return 0",
    "a number": "A = {v}\ndef thing(x):\n    return x * A",
    "a list": "A = [{v}, 5]\ndef thing(x):\n    return x * A[0]",
    "a dict": "A = {{'a': {v}}}\ndef thing(x):\n    return x * A['a']",
    "the order of a dict": "A = {{'{v}': 1, '{w}': 1}}\ndef thing(x):\n    return [*A]",
    "an array": "A = np.arange({v})\ndef thing(x):\n    return x * A.sum()",
    "an object": "A = types.SimpleNamespace(a={v})\ndef thing(x):\n    return x * A.a",
    "a dataclass": "@dataclass\nclass A:\n    a: int = {v}\ndef thing(x):\n    return A().a",
    "an enum": "class A(enum.Enum):\n    a = {v}\ndef thing(x):\n    return A.a.value",
    "a helper": "def help(x):\n    return x * {v}\ndef thing(x):\n    return help(x)",
    "a helper's helper": "def a(x):\n    return x * {v}\ndef b(x):\n    return a(x)\n"
    "def thing(x):\n    return b(x)",
    "a helper that is made": "def a(x, y):\n    return x * y\nb = partial(a, y={v})\n"
    "def thing(x):\n    return b(x)",
    "in a lambda": "A = {v}\ndef thing(x):\n    return (lambda y: y * A)(x)",
    "in a comprehension": "A = [{v}]\ndef thing(x):\n    return [y * A[0] for y in x]",
    "in a class within": "A = [{v}]\ndef thing(x):\n    class B:\n        a = A\n    return B.a",
    "a cached function": "@functools.lru_cache\ndef thing(x):\n    return x * {v}",
    "a cached helper": "@functools.cache\ndef a(x):\n    return x * {v}\n"
    "def thing(x):\n    return a(x)",
    "a cached method": "class thing:\n    @functools.lru_cache\n    def a(self):\n"
    "        return {v}",
    "a cached property": "class thing:\n    @functools.cached_property\n    def a(self):\n"
    "        return {v}",
    "a compiled function": "@numba.njit\ndef thing(x):\n    return x * {v}",
    "how it is compiled": "@numba.njit(fastmath={v} == 2)\ndef thing(x):\n    return x",
    "a decorated function": "@torch.no_grad()\ndef thing(x):\n    return x * {v}",
    "a decorator with a state": "class deco:\n    def __init__(self, f):\n"
    "        functools.update_wrapper(self, f)\n        self.a = {v}\n"
    "    def __get__(self, *args):\n        return self.a\n@deco\ndef thing(x):\n    return x",
    "a surrogate gradient": "class A(torch.autograd.Function):\n    @staticmethod\n"
    "    def forward(ctx, x):\n        return x * {v}\ndef thing(x):\n    return A.apply(x)",
    "among many names": "def thing(x):\n    y = [" + ", ".join(f"x.a{i}" for i in range(300))
    + "]\n    import {user}\n    return {user}.scale(x)",
    "a hook": "thing = nn.ReLU()\nthing.register_forward_hook(lambda *args: {v})",
    "wraps of a library": "@wraps(nn.functional.cross_entropy)\ndef thing(*a):\n    return {v}",
    "a class of a library's name": "thing = type('Linear', (nn.Module,), "
    "{{'a': {v}, '__module__': 'torch.nn.modules.linear'}})",
    "a submodule": "class Block(nn.Module):\n    def forward(self, x):\n        return x * {v}\n"
    "class thing(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    "        self.block = Block()",
    "a base": "class A:\n    a = {v}\nclass thing(A):\n    pass",
    "a metaclass": "class A(type):\n    a = {v}\nclass thing(metaclass=A):\n    pass",
    "a property": "class thing:\n    @property\n    def a(self):\n        return {v}",
    "kinds of methods": "class thing:\n    @{{2: staticmethod, 3: classmethod}}[{v}]\n"
    "    def a(self):\n        pass",
    "recursion": "def thing(x):\n    return other(x)\ndef other(x):\n    return thing(x - {v})",
    "a module's function": "import {user}\ndef thing(x):\n    return {user}.scale(x)",
    "a module's constant": "import {user}\ndef thing(x):\n    return x * {user}.A[0]",
    "a module as a value": "import {user}\ndef thing(x):\n"
    "    return getattr({user}, 'sca' + 'le')(x)",
    "an import within": "def thing(x):\n    import {user}\n    return {user}.scale(x)",
    "a name from a module": "def thing(x):\n    from {user} import scale\n    return scale(x)",
    "a hidden name": "from {user} import Hidden\ndef thing(x):\n    return Hidden().scale(x)",
    "the order of layers": "a, b = nn.Dropout(0.1), nn.ReLU()\nthing = nn.Sequential()\n"
    "for k in ['a', 'b'][:: 5 - 2 * {v}]:\n    thing.add_module(k, [a, b][k == 'b'])",
    "a frozen layer": "thing = nn.ReLU()\nthing.p = nn.Parameter(torch.ones(2), {v} == 2)",
    "a buffer": "thing = nn.ReLU()\nthing.register_buffer('p', torch.ones({v}))",
    "a layer's plain attribute": "thing = nn.Sequential(nn.ReLU())\nthing[0].a = np.ones({v})",
    "a parameter's attribute": "thing = nn.Linear(1, 1)\ntorch.nn.init.ones_(thing.weight)\n"
    "torch.nn.init.ones_(thing.bias)\nthing.weight.rate = {v}",
}  # fmt: skip

USER_MODULE = """
from functools import lru_cache
A = [{v}]
def scale(x):
    return x * {v}
class Hidden:
    @lru_cache
    def scale(self, x):
        return scale(x)
"""

SAME = {
    "other names": ("A = 2\nB = 5\ndef thing(x):\n    return x * A",
                    "A = 2\nB = 6\ndef thing(x):\n    return x * A"),
    "other places": ("def thing(x):\n    return len(x)",
                     "def other():\n    pass\n\n# more\ndef thing(x):\n    return len(x)  # this"),
    "an attribute of another's name": ("A = 1\ndef thing(x):\n    return x.A",
                                       "A = 2\ndef thing(x):\n    return x.A"),
    "shared lists": ("A = [1]\nthing = [A, A]", "thing = [[1], [1]]"),
    "sets": ("thing = {'a', 'b', 'c', 'd'}", "thing = {'d', 'c', 'b', 'a'}"),
    "attributes in another order": (
        "thing = types.SimpleNamespace()\nthing.a, thing.b = 1, 2",
        "thing = types.SimpleNamespace()\nthing.b, thing.a = 2, 1",
    ),
    "methods in another order": (
        "class thing:\n    def a(self):\n        pass\n    def b(self):\n        return 1",
        "class thing:\n    def b(self):\n        return 1\n    def a(self):\n        pass",
    ),
    "a library's function by any name": (
        "from torch import nn as a\ndef thing(x):\n    return b(x)\nb = a.functional.relu",
        "from torch.nn.functional import relu as b\ndef thing(x):\n    return b(x)",
    ),
    "a cache that was used": ("@functools.cache\ndef thing(x):\n    return x",
                              "@functools.cache\ndef thing(x):\n    return x\nthing(1)"),
    "a function that ran": ("def thing(x):\n    return x + 1",
                            "def thing(x):\n    return x + 1\nfor i in range(99):\n    thing(i)"),
    "what was compiled": ("@numba.njit\ndef thing(x):\n    return x",
                          "@numba.njit\ndef thing(x):\n    return x\nthing(1)"),
    "a scored module": ("thing = nn.Dropout()", "thing = nn.Dropout().eval()"),
}  # fmt: skip


def define(source: str) -> Any:
    """Return the `thing` that source text defines, as if it stood in a notebook."""
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(PRELUDE + source, "notebook", "exec"), scope)
    return scope["thing"]


def value_key(value: Any) -> str:
    return hash_json(canonical(value))


def keys_of_sources() -> dict[str, str]:
    """Return the keys of all that needs no other module."""
    sources = {name: text.format(v=2, w=3) for name, text in DIFFERENT.items()
               if "{user}" not in text}  # fmt: skip
    sources |= {f"same {name}": text for name, (text, _) in SAME.items()}
    return {name: value_key(define(source)) for name, source in sources.items()}


if __name__ == "__main__":  # in another process, which is sent things and a function
    things, key_of_fit = pickle.load(sys.stdin.buffer)
    print(json.dumps([keys_of_sources(), [value_key(thing) for thing in things], key_of_fit()]))
