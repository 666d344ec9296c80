"""What a value is, told in JSON: equal for values that make equal fits, in any process.

`fingerprints.describe` tells people what a parameter was; here nothing may be taken for another
thing, so whatever cannot be told exactly is refused. Values are described by their content: numbers
whatever their type, objects by what they were built with or hold, functions and classes of the
user's own by their code and all that it uses. Which values are shared makes no difference.
"""

from __future__ import annotations

import copyreg
import hashlib
import os
import pickle
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import cache, cached_property, partial
from inspect import isclass
from pathlib import Path, PurePath
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import Tensor, nn

from snn_estimators.persistence.array_hash import (
    attributes_of_module,
    digest_of_array,
    identity_of_tensor,
)
from snn_estimators.persistence.code_hash import (
    Import,
    code_digest,
    find,
    import_own,
    installed,
    members,
    name_in_library,
    origin,
    own_content,
    uses,
)
from snn_estimators.persistence.description import digest
from snn_estimators.text import BaseTokenizer, Ids
from snn_estimators.text._huggingface import BackendTokenizer

__all__ = ["identity", "identity_of_documents", "identity_of_source"]

_TOLD_BY_REPR = (complex, range, slice, type(...), torch.device, torch.dtype)
_Cached = type(cache(len))
_DESCRIPTORS = (
    ClassMethodDescriptorType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    WrapperDescriptorType,
)


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
    """
    try:
        return _Teller(loosely).tell_whole(value)
    except RecursionError:
        raise TypeError(f"{type(value).__name__} is nested too deeply") from None


class _Teller:
    """Tells one value; knows what it is in the middle of, for cycles.

    Functions and classes of the user's own, and what their global names stand for, are told once,
    beside the value: each under a name, by which all others refer to it.
    """

    def __init__(self, loosely: bool = False) -> None:
        self.loosely = loosely
        self._within: list[int] = []
        self._names: dict[tuple[str, int], tuple[str, Any]] = {}  # the value keeps its id
        self._counts: dict[str, int] = {}
        self._untold: deque[tuple[str, Any]] = deque()

    def tell_whole(self, value: Any) -> Any:
        told = self.tell(value)
        self.loosely = False  # to code, 1.0 may be a share and 1 a count
        beside: dict[str, Any] = {}
        while self._untold:
            name, used = self._untold.popleft()
            try:
                beside[name] = self._definition(used)
            except TypeError as error:
                raise TypeError(f"{error} (it is used as {name})") from error
        return {"value": told, "where": beside} if beside else told

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
            return self._code(value) or self._data(value)
        finally:
            self._within.pop()

    def _number(self, value: Any) -> Any:
        if self.loosely and isinstance(value, float) and value.is_integer():
            value = int(value)
        return {type(value).__name__: repr(value)}

    # Data

    def _data(self, value: Any) -> Any:
        if type(value) in (list, tuple):
            kind = "list" if self.loosely else type(value).__name__
            return {kind: [self.tell(item) for item in value]}
        if type(value) is dict:
            # Whoever loops over one sees its order.
            return {"dict": self._pairs(value, in_order=not self.loosely)}
        if type(value) in (set, frozenset):
            return {"set": [self.tell(item) for item in sorted(value, key=_order)]}
        if isinstance(value, bytes | bytearray):
            return {type(value).__name__: value.hex()}
        if isinstance(value, _TOLD_BY_REPR):
            return {type(value).__name__: repr(value)}
        if isinstance(value, Tensor | np.ndarray):
            return self._array(value)
        self.loosely, former = False, self.loosely
        try:
            return {"object": [self._class(type(value)), self._content(value)]}
        finally:
            self.loosely = former

    def _pairs(self, value: Mapping[Any, Any], *, in_order: bool = False) -> list[Any]:
        items: Iterable[tuple[Any, Any]] = value.items()
        if not in_order:
            items = sorted(items, key=lambda item: _order(item[0]))
        return [[self.tell(key), self.tell(item)] for key, item in items]

    def _array(self, value: Any) -> Any:
        if type(value) not in (np.ndarray, np.memmap, Tensor, nn.Parameter, nn.Buffer):
            return {"object": [self._class(type(value)), self._reduced(value)]}
        if isinstance(value, np.ndarray):
            if value.dtype.hasobject:
                return {"array": [list(value.shape), [self.tell(item) for item in value.ravel()]]}
            return {"ndarray": [value.dtype.descr, digest_of_array(value)]}
        return {type(value).__name__: [*identity_of_tensor(value), self._pairs(vars(value))]}

    # Objects

    def _content(self, value: Any) -> Any:
        if isinstance(value, Enum):
            return value.name
        if type(value) is partial:
            return [self.tell(value.func), self.tell(value.args), self._pairs(value.keywords)]
        if isinstance(value, PurePath):
            return os.fspath(value)
        if isinstance(value, BaseTokenizer | Callback):  # to be cloned, or begun anew
            parameters = value.get_params(deep=False)
            told = self._pairs({k: identity_of_source(k, v) for k, v in parameters.items()})
            library = installed("tokenizers") if isinstance(value, BackendTokenizer) else None
            return [told, library] if library else told
        if isinstance(value, np.random.RandomState):
            return self.tell(value.get_state())
        if isinstance(value, np.random.Generator):
            return self.tell(value.bit_generator.state)
        if isinstance(value, nn.Module):
            return self._pairs(attributes_of_module(value))
        if hasattr(value, "to_numpy") and name_in_library(type(value)):  # pandas
            labels = (getattr(value, name, None) for name in ("index", "columns", "name"))
            return [self.tell(value.to_numpy()), *(self.tell(label) for label in labels)]
        return self._reduced(value)

    def _reduced(self, value: Any) -> Any:
        """Tell an object by what would be pickled of it."""
        try:
            reduce = copyreg.dispatch_table.get(type(value))
            reduced: Any = reduce(value) if reduce else value.__reduce_ex__(4)
        except Exception as error:
            raise TypeError(f"nobody can tell a {type(value).__name__} by its content") from error
        if isinstance(reduced, str):
            return self._named(value, reduced)
        maker, arguments, *rest = reduced
        state, items, pairs, setter = [*rest, *[None] * 4][:4]
        parts = state if isinstance(state, tuple) else (state,)  # a tuple tells of slots
        return [
            *(self.tell(maker), self.tell(arguments), self.tell(setter)),
            *(self._pairs(part) if isinstance(part, dict) else self.tell(part) for part in parts),
            *(self.tell(list(part or ())) for part in (items, pairs)),
        ]

    def _named(self, value: Any, name: str) -> Any:
        """Tell an object that is pickled as a global name."""
        module = pickle.whichmodule(value, name)  # type: ignore[attr-defined]
        whose = origin(module)
        if whose is not None and find(sys.modules.get(module), name) is value:
            return [f"{module}.{name}", whose]
        if name_in_library(type(value)) or not hasattr(value, "__dict__"):
            raise TypeError(f"nobody can tell the {type(value).__name__} {name!r} by its content")
        return [name, self._pairs(vars(value))]

    # Code

    def _code(self, value: Any) -> Any:
        """Tell what can be called or looked into, None if it is something else."""
        if isclass(value):
            return self._class(value)
        if isinstance(value, FunctionType):
            library = name_in_library(value)
            return {"library": library} if library else self._beside(_name(value), value)
        if isinstance(value, MethodType):
            return {"method": [self.tell(value.__self__), self.tell(value.__func__)]}
        if isinstance(value, BuiltinFunctionType | MethodWrapperType):
            return {"routine": [value.__qualname__, self.tell(value.__self__)]}
        if isinstance(value, _DESCRIPTORS):
            return {"routine": [value.__name__, self._class(value.__objclass__)]}
        if isinstance(value, classmethod | staticmethod):
            return {type(value).__name__: self.tell(value.__func__)}
        if isinstance(value, property):
            return {"property": [self.tell(f) for f in (value.fget, value.fset, value.fdel)]}
        if isinstance(value, cached_property):
            return {"property": self.tell(value.func)}
        if isinstance(value, CodeType):
            return {"code": code_digest(value)}
        if isinstance(value, ModuleType):
            whose = origin(value.__name__)
            name = value.__name__
            return {"library": [name, whose]} if whose else self._beside(name, value)
        if isinstance(value, _Cached):
            return {"cached": self.tell(value.__wrapped__)}
        if hasattr(value, "py_func") and name_in_library(type(value)):  # numba's
            return {"compiled": [self.tell(value.py_func), self.tell(value.targetoptions)]}
        return None

    def _class(self, value: type) -> Any:
        library = name_in_library(value)
        return {"library": library} if library else self._beside(_name(value), value)

    def _beside(self, name: str, value: Any) -> Any:
        """Refer to what is told beside the value; things of one name have numbers."""
        known = (name, id(value))
        if known not in self._names:
            self._counts[name] = number = self._counts.get(name, 0) + 1
            self._names[known] = (name if number == 1 else f"{name} ({number})", value)
            self._untold.append(self._names[known])
        return {"beside": self._names[known][0]}

    def _definition(self, value: Any) -> Any:
        if isinstance(value, FunctionType):
            return self._function(value)
        if isclass(value):
            bases = [type(value), *value.__bases__]
            return {"class": [[self._class(base) for base in bases], self._pairs(members(value))]}
        if isinstance(value, ModuleType):
            content = own_content(value)
            return {"module": content if isinstance(content, str) else self._scope(value, content)}
        return self.tell(value)

    def _function(self, value: FunctionType) -> Any:
        cells = [_cell(cell) for cell in value.__closure__ or ()]
        options = self._pairs(value.__kwdefaults__ or {}), self._pairs(vars(value))
        told = [code_digest(value.__code__), self.tell([cells, value.__defaults__]), *options]
        scope = value.__globals__
        if origin(str(scope.get("__name__"))) is None:  # a library's own names are its affair
            names, imports = uses(value.__code__)
            told.append({".".join(path): self._global(scope, path) for path in names})
            told.append([self._import(scope, one) for one in imports])
        return {"function": told}

    def _scope(self, module: ModuleType, content: Mapping[str, Any]) -> Any:
        return {name: self._global(vars(module), (name,)) for name in sorted(content)}

    def _global(self, scope: Mapping[str, Any], path: tuple[str, ...]) -> Any:
        """Tell what a name stands for; of a module of the user's own, what the code asks of it."""
        first, *attributes = path
        if first not in scope:
            return "builtin"
        value = scope[first]
        if isinstance(value, ModuleType):
            is_own = origin(value.__name__) is None
            if is_own and attributes and attributes[0] in vars(value):
                return self._global(vars(value), tuple(attributes))
            return self.tell(value)
        if isclass(value) or isinstance(value, FunctionType | str | int | float | None):
            return self.tell(value)
        return self._beside(f"{scope.get('__name__')}:{first}", value)

    def _import(self, scope: Mapping[str, Any], one: Import) -> Any:
        module = import_own(one.module, scope.get("__package__"), one.level)
        if isinstance(module, str):
            return module
        if not one.names or "*" in one.names:
            return [self.tell(module), self.tell(import_own(module.__name__.partition(".")[0]))]
        return {
            name: self._global(vars(module), (name,))
            if name in vars(module)
            else self.tell(import_own(f"{module.__name__}.{name}"))
            for name in one.names
        }


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', None)}.{value.__qualname__}"


def _order(value: Any) -> str:
    """Return what items of sets and keys may be sorted by, the same in any process."""
    return repr(value if type(value) in (str, int) else _Teller().tell_whole(value))


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
