"""What a value is, told in JSON: equal for values that make equal fits, in any process.

`fingerprints.describe` tells people what a parameter was; here nothing may be taken for another
thing, so whatever cannot be told exactly is refused. Values are described by their content: numbers
whatever their type, objects by what they were built with or hold, functions and classes of the
user's own by their code. Which objects are shared makes no difference.
"""

from __future__ import annotations

import copyreg
import hashlib
import os
import sys
from collections.abc import Mapping
from enum import Enum
from functools import partial
from inspect import isclass, isroutine
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Tensor, nn

from snn_estimators.estimators.data import Ids
from snn_estimators.estimators.fingerprints import digest
from snn_estimators.text import BaseTokenizer

__all__ = ["identity", "identity_of_documents", "identity_of_source"]

_KNOWN = sys.stdlib_module_names | {"snn_estimators"}
_INSTALLED = ("dist-packages", "site-packages")

_OF_ANY_MODULE = frozenset(vars(nn.Module()))
_TOLD_BY_REPR = (complex, range, slice, type(...), torch.device, torch.dtype)


def identity(value: Any, *, loosely: bool = False) -> Any:
    """Return what JSON can hold of a value, different for any other value.

    Parameters
    ----------
    value : object
    loosely : bool, default=False
        Whether 1.0 is 1 and a list a tuple. To some code 1.0 is a share and 1 a count.

    Raises
    ------
    TypeError
        If there is something in the value whose content cannot be told, such as an open file.

    Examples
    --------
    >>> identity(np.int64(1)) == identity(1) != identity(1.0)
    True
    >>> identity((1.0, 0.5), loosely=True) == identity([1, np.float64(0.5)], loosely=True)
    True
    >>> identity({"b": nn.Linear, "a": 0.5}) == identity({"a": 0.5, "b": nn.Linear})
    True
    """
    try:
        return _Teller(loosely).tell(value)
    except RecursionError:
        raise TypeError(f"{type(value).__name__} is nested too deeply") from None


class _Teller:
    """Tells one value; knows what it is in the middle of, for cycles."""

    def __init__(self, loosely: bool) -> None:
        self.loosely = loosely
        self._within: list[int] = []

    def tell(self, value: Any) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or type(value) in (bool, str):
            return value
        if type(value) in (int, float):
            return self._number(value)
        if id(value) in self._within:
            return {"cycle": self._within[::-1].index(id(value))}
        self._within.append(id(value))
        try:
            return self._thing(value)
        finally:
            self._within.pop()

    def _number(self, value: Any) -> Any:
        if self.loosely and isinstance(value, float) and value.is_integer():
            value = int(value)
        return {type(value).__name__: repr(value)}

    def _thing(self, value: Any) -> Any:
        if type(value) in (list, tuple):
            kind = "list" if self.loosely else type(value).__name__
            return {kind: [self.tell(item) for item in value]}
        if type(value) is dict:
            return {"dict": self._pairs(value)}
        if type(value) in (set, frozenset):
            return {"set": sorted((self.tell(item) for item in value), key=repr)}
        if isinstance(value, bytes | bytearray):
            return {type(value).__name__: value.hex()}
        if isinstance(value, _TOLD_BY_REPR):
            return {type(value).__name__: repr(value)}
        if isinstance(value, Tensor | np.ndarray):
            return self._array(value)
        if isclass(value):
            return self._class(value)
        if isinstance(value, CodeType):
            inside = (value.co_code, value.co_consts, value.co_names, value.co_freevars)
            return {"code": [self.tell(part) for part in inside]}
        if isinstance(value, MethodType):
            return {"method": [self.tell(value.__self__), self.tell(value.__func__)]}
        if isinstance(value, FunctionType):
            return self._function(value)
        if isroutine(value):
            return {"routine": [_name(value), self.tell(getattr(value, "__self__", None))]}
        if isinstance(value, ModuleType):
            return {"module": value.__name__}
        self.loosely, former = False, self.loosely
        try:
            return {"object": [self._class(type(value)), self._content(value)]}
        finally:
            self.loosely = former

    def _pairs(self, value: Mapping[Any, Any]) -> list[Any]:
        return sorted(([self.tell(k), self.tell(v)] for k, v in value.items()), key=repr)

    def _array(self, value: Any) -> Any:
        if isinstance(value, np.ndarray) and value.dtype.hasobject:
            return {"array": [list(value.shape), [self.tell(item) for item in value.ravel()]]}
        plain = value.detach().cpu() if isinstance(value, Tensor) else value
        if isinstance(plain, Tensor) and plain.dtype is torch.bfloat16:  # numpy knows none
            return {"bfloat16": digest(plain.view(torch.int16))}
        return {type(value).__name__: digest(plain)}

    # Code

    def _class(self, value: type) -> Any:
        if _is_known(value):
            return {"class": _name(value)}
        members = {
            name: self._member(member)
            for name, member in vars(value).items()
            if isroutine(member) or not name.startswith(("__", "_abc_", "_sklearn_"))
        }
        bases = [self.tell(base) for base in value.__bases__]
        return {"class": [_name(value), bases, self._pairs(members)]}

    @staticmethod
    def _member(member: Any) -> Any:
        if isinstance(member, property):
            return (member.fget, member.fset, member.fdel)
        return getattr(member, "__func__", member)  # of a class method or a static one

    def _function(self, value: FunctionType) -> Any:
        if _is_known(value) and "<" not in value.__qualname__:
            return {"function": _name(value)}
        cells = [_cell(cell) for cell in value.__closure__ or ()]
        plain = {  # what notebooks set at their top
            name: value.__globals__[name]
            for name in sorted(value.__code__.co_names)
            if isinstance(value.__globals__.get(name), bool | int | float | str)
        }
        inside = (value.__code__, value.__defaults__, value.__kwdefaults__, cells, plain)
        return {"function": [_name(value), *(self.tell(part) for part in inside)]}

    # Objects

    def _content(self, value: Any) -> Any:
        if isinstance(value, Enum):
            return value.name
        if isinstance(value, partial):
            return self.tell([value.func, list(value.args), value.keywords])
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if isinstance(value, BaseTokenizer | Callback):  # to be cloned, or begun anew
            parameters = value.get_params(deep=False)
            return self._pairs({k: identity_of_source(k, v) for k, v in parameters.items()})
        if isinstance(value, np.random.RandomState):
            return self.tell(value.get_state())
        if isinstance(value, np.random.Generator):
            return self.tell(value.bit_generator.state)
        if isinstance(value, nn.Module):
            inside = {k: v for k, v in vars(value).items() if v or k not in _OF_ANY_MODULE}
            return self._pairs({k: v for k, v in inside.items() if k != "training"})
        if hasattr(value, "to_numpy"):  # pandas
            return self.tell(value.to_numpy())
        return self._reduced(value)

    def _reduced(self, value: Any) -> Any:
        """Tell an object by what would be pickled of it."""
        try:
            reduce = copyreg.dispatch_table.get(type(value))
            reduced = reduce(value) if reduce else value.__reduce_ex__(4)
        except Exception as error:
            raise TypeError(f"nobody can tell a {type(value).__name__} by its content") from error
        if isinstance(reduced, str):
            return reduced
        return [self.tell(part if i < 3 else list(part or ())) for i, part in enumerate(reduced)]


def _is_known(value: Any) -> bool:
    """Tell what belongs to a package with versions from what the user may edit any minute."""
    name = getattr(value, "__module__", None) or ""
    if name.partition(".")[0] in _KNOWN:
        return True
    file = getattr(sys.modules.get(name), "__file__", None) or ""
    return name != "__main__" and any(place in Path(file).parts for place in _INSTALLED)


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', None)}.{value.__qualname__}"


def _cell(cell: Any) -> Any:
    try:
        return [cell.cell_contents]
    except ValueError:  # nothing in it (yet)
        return []


def identity_of_source(name: str, value: Any) -> Any:
    """Return the content of the file or folder that a tokenizer will read, or the value."""
    if name.endswith("name_or_path") and isinstance(value, str | os.PathLike):
        path = Path(value).expanduser()
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        if files:
            return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return value


def identity_of_documents(documents: list[str] | Ids | list[Ids]) -> Any:
    """Return what tells documents, or token ids, from others: megabytes in milliseconds.

    Examples
    --------
    >>> identity_of_documents(["ab", "c"]) == identity_of_documents(["a", "bc"])
    False
    """
    if isinstance(documents, np.ndarray):
        return digest(documents)
    lengths = np.array([len(document) for document in documents])
    if isinstance(documents[0], str):
        text = "".join(documents).encode("utf-8", "surrogatepass")
        return [digest(lengths), hashlib.sha256(text).hexdigest()]
    return [digest(lengths), digest(np.concatenate(documents))]
