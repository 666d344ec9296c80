"""The canonical form of a value, in JSON: equal for values that make equal fits, in any process.

`description.describe` shows people what a parameter was; here no two values may be confused, so a
TypeError is raised for a value that has no form. Values are encoded by their content: numbers
whatever their type, objects by their parameters or attributes, user-defined functions and classes
by their code and all that it uses. Which values are shared makes no difference.
"""

from __future__ import annotations

import copyreg
import os
import pickle
import sys
import types
from collections import deque
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import cache, cached_property, partial
from inspect import isclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snn_estimators.persistence.code_hash import (
    Import,
    class_members,
    find,
    hash_code,
    import_user_module,
    installed,
    library_name,
    library_of,
    module_members,
    references,
)
from snn_estimators.persistence.hashing import hash_arrays, hash_file
from snn_estimators.text import BaseTokenizer
from snn_estimators.text._huggingface import BackendTokenizer

__all__ = ["canonical", "file_hashes"]

_ENCODED_BY_REPR = (complex, range, slice, type(...), torch.device, torch.dtype)
_Cached = type(cache(len))
_DESCRIPTORS = (
    *(types.ClassMethodDescriptorType, types.GetSetDescriptorType, types.MemberDescriptorType),
    *(types.MethodDescriptorType, types.WrapperDescriptorType),
)


def canonical(value: Any, *, loosely: bool = False) -> Any:
    """Return the canonical form of a value in JSON, different for any other value.

    With `loosely`, 1.0 equals 1 and a list a tuple; to some code 1.0 is a share and 1 a count. A
    value whose content cannot be hashed, such as an open file, raises a TypeError.

    Examples
    --------
    >>> canonical(np.int64(1)) == canonical(1) != canonical(1.0)
    True
    >>> canonical((1.0, 0.5), loosely=True) == canonical([1, np.float64(0.5)], loosely=True)
    True
    """
    try:
        return _Encoder(loosely).encode_whole(value)
    except RecursionError:
        raise TypeError(f"{type(value).__name__} is nested too deeply") from None


class _Encoder:
    """Encodes one value; keeps the stack of what it is within, for cycles.

    User-defined functions and classes, and the values of their globals, are encoded once, among
    the definitions: each under a name, by which the value and other definitions refer to it.
    """

    def __init__(self, loosely: bool = False) -> None:
        self.loosely = loosely
        self._stack: list[int] = []
        self._names: dict[tuple[str, int], tuple[str, Any]] = {}  # the value keeps its id
        self._counts: dict[str, int] = {}
        self._pending: deque[tuple[str, Any]] = deque()

    def encode_whole(self, value: Any) -> Any:
        encoded = self.encode(value)
        self.loosely = False  # to code, 1.0 may be a share and 1 a count
        definitions: dict[str, Any] = {}
        while self._pending:
            name, used = self._pending.popleft()
            try:
                definitions[name] = self._definition(used)
            except TypeError as error:
                raise TypeError(f"{error} (it is used as {name})") from error
        return {"value": encoded, "definitions": definitions} if definitions else encoded

    def encode(self, value: Any) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or type(value) in (bool, str):
            return value
        if type(value) in (int, float):
            if self.loosely and isinstance(value, float) and value.is_integer():
                value = int(value)
            return {type(value).__name__: repr(value)}
        if id(value) in self._stack:
            return {"cycle": self._stack[::-1].index(id(value))}
        self._stack.append(id(value))
        try:
            return self._code(value) or self._data(value)
        finally:
            self._stack.pop()

    # Data

    def _data(self, value: Any) -> Any:
        if type(value) in (list, tuple):
            kind = "list" if self.loosely else type(value).__name__
            return {kind: [self.encode(item) for item in value]}
        if type(value) is dict:
            # A loop over it sees its order.
            return {"dict": self._pairs(value, in_order=not self.loosely)}
        if type(value) in (set, frozenset):
            return {"set": [self.encode(item) for item in sorted(value, key=_order)]}
        if isinstance(value, bytes | bytearray):
            return {type(value).__name__: value.hex()}
        if isinstance(value, _ENCODED_BY_REPR):
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
        return [[self.encode(key), self.encode(item)] for key, item in items]

    def _array(self, value: Any) -> Any:
        if type(value) not in (np.ndarray, np.memmap, Tensor, nn.Parameter, nn.Buffer):
            return {"object": [self._class(type(value)), self._reduced(value)]}
        if isinstance(value, np.ndarray):
            if value.dtype.hasobject:
                return {"array": [list(value.shape), [self.encode(item) for item in value.ravel()]]}
            return {"ndarray": hash_arrays(value)}
        try:
            content = hash_arrays(value)
        except (RuntimeError, NotImplementedError) as error:  # sparse, or on the meta device
            raise TypeError(f"a tensor of {value.layout} cannot be hashed: {error}") from error
        return {type(value).__name__: [content, value.requires_grad, self._pairs(vars(value))]}

    # Objects

    def _content(self, value: Any) -> Any:
        if isinstance(value, Enum):
            return value.name
        if type(value) is partial:
            return [self.encode(value.func), self.encode(value.args), self._pairs(value.keywords)]
        if isinstance(value, PurePath):
            return os.fspath(value)
        if isinstance(value, BaseTokenizer) or _is_callback(value):  # a fit clones or resets it
            parameters = value.get_params(deep=False)
            encoded = self._pairs({k: file_hashes(k, v) for k, v in parameters.items()})
            library = installed("tokenizers") if isinstance(value, BackendTokenizer) else None
            return [encoded, library] if library else encoded
        if isinstance(value, np.random.RandomState):
            return self.encode(value.get_state())
        if isinstance(value, np.random.Generator):
            return self.encode(value.bit_generator.state)
        if isinstance(value, nn.Module):
            return self._pairs(_module_attributes(value))
        if hasattr(value, "to_numpy") and library_name(type(value)):  # pandas
            labels = (getattr(value, name, None) for name in ("index", "columns", "name"))
            return [self.encode(value.to_numpy()), *(self.encode(label) for label in labels)]
        return self._reduced(value)

    def _reduced(self, value: Any) -> Any:
        """Encode what would be pickled of an object."""
        try:
            reduce = copyreg.dispatch_table.get(type(value))
            reduced: Any = reduce(value) if reduce else value.__reduce_ex__(4)
        except Exception as error:
            kind = type(value).__name__
            raise TypeError(f"a {kind} cannot be hashed by its content") from error
        if isinstance(reduced, str):
            return self._named(value, reduced)
        maker, arguments, *rest = reduced
        state, items, pairs, setter = [*rest, *[None] * 4][:4]
        parts = state if isinstance(state, tuple) else (state,)  # a tuple has slots, too
        return [
            *(self.encode(maker), self.encode(arguments), self.encode(setter)),
            *(self._pairs(part) if isinstance(part, dict) else self.encode(part) for part in parts),
            *(self.encode(list(part or ())) for part in (items, pairs)),
        ]

    def _named(self, value: Any, name: str) -> Any:
        """Encode an object that is pickled as a global name."""
        module = pickle.whichmodule(value, name)  # type: ignore[attr-defined]
        library = library_of(module)
        if library is not None and find(sys.modules.get(module), name) is value:
            return [f"{module}.{name}", library]
        if library_name(type(value)) or not hasattr(value, "__dict__"):
            kind = type(value).__name__
            raise TypeError(f"the {kind} {name!r} cannot be hashed by its content")
        return [name, self._pairs(vars(value))]

    # Code

    def _code(self, value: Any) -> Any:
        """Encode functions, classes, methods, descriptors and modules; None if it is data."""
        if isclass(value):
            return self._class(value)
        if isinstance(value, types.FunctionType):
            library = library_name(value)
            return {"library": library} if library else self._reference(_name(value), value)
        if isinstance(value, types.MethodType):
            return {"method": [self.encode(value.__self__), self.encode(value.__func__)]}
        if isinstance(value, types.BuiltinFunctionType | types.MethodWrapperType):
            return {"routine": [value.__qualname__, self.encode(value.__self__)]}
        if isinstance(value, _DESCRIPTORS):
            return {"routine": [value.__name__, self._class(value.__objclass__)]}
        if isinstance(value, classmethod | staticmethod):
            return {type(value).__name__: self.encode(value.__func__)}
        if isinstance(value, property):
            return {"property": [self.encode(f) for f in (value.fget, value.fset, value.fdel)]}
        if isinstance(value, cached_property):
            return {"property": self.encode(value.func)}
        if isinstance(value, types.CodeType):
            return {"code": hash_code(value)}
        if isinstance(value, types.ModuleType):
            name, owner = value.__name__, library_of(value.__name__)
            return {"library": [name, owner]} if owner else self._reference(name, value)
        if isinstance(value, _Cached):
            return {"cached": self.encode(value.__wrapped__)}
        if hasattr(value, "py_func") and library_name(type(value)):  # numba's
            return {"compiled": [self.encode(value.py_func), self.encode(value.targetoptions)]}
        return None

    def _class(self, value: type) -> Any:
        library = library_name(value)
        return {"library": library} if library else self._reference(_name(value), value)

    def _reference(self, name: str, value: Any) -> Any:
        """Refer to a definition, to be encoded later; those of one name get numbers."""
        known = (name, id(value))
        if known not in self._names:
            self._counts[name] = number = self._counts.get(name, 0) + 1
            self._names[known] = (name if number == 1 else f"{name} ({number})", value)
            self._pending.append(self._names[known])
        return {"definition": self._names[known][0]}

    def _definition(self, value: Any) -> Any:
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isclass(value):
            bases = [type(value), *value.__bases__]
            members = self._pairs(class_members(value))
            return {"class": [[self._class(base) for base in bases], members]}
        if isinstance(value, types.ModuleType):
            content = module_members(value)
            if isinstance(content, str):
                return {"module": content}
            return {"module": {n: self._global(vars(value), (n,)) for n in sorted(content)}}
        return self.encode(value)

    def _function(self, value: types.FunctionType) -> Any:
        cells = [_cell(cell) for cell in value.__closure__ or ()]
        options = self._pairs(value.__kwdefaults__ or {}), self._pairs(vars(value))
        encoded = [hash_code(value.__code__), self.encode([cells, value.__defaults__]), *options]
        scope = value.__globals__
        if library_of(str(scope.get("__name__"))) is None:  # else known by version
            names, imports = references(value.__code__)
            encoded.append({".".join(path): self._global(scope, path) for path in names})
            encoded.append([self._import(scope, one) for one in imports])
        return {"function": encoded}

    def _global(self, scope: Mapping[str, Any], path: tuple[str, ...]) -> Any:
        """Encode the value of a name; of a user-defined module, just the attribute that is used."""
        first, *attributes = path
        if first not in scope:
            return "builtin"
        value = scope[first]
        if isinstance(value, types.ModuleType):
            user_defined = library_of(value.__name__) is None
            if user_defined and attributes and attributes[0] in vars(value):
                return self._global(vars(value), tuple(attributes))
            return self.encode(value)
        if isclass(value) or isinstance(value, types.FunctionType | str | int | float | None):
            return self.encode(value)
        return self._reference(f"{scope.get('__name__')}:{first}", value)

    def _import(self, scope: Mapping[str, Any], one: Import) -> Any:
        module = import_user_module(one.module, scope.get("__package__"), one.level)
        if isinstance(module, str):
            return module
        if not one.names or "*" in one.names:
            package = import_user_module(module.__name__.partition(".")[0])
            return [self.encode(module), self.encode(package)]
        return {
            name: self._global(vars(module), (name,))
            if name in vars(module)
            else self.encode(import_user_module(f"{module.__name__}.{name}"))
            for name in one.names
        }


def _name(value: Any) -> str:
    return f"{getattr(value, '__module__', None)}.{value.__qualname__}"


def _order(value: Any) -> str:
    """Return a sort key for items of sets and keys of dicts, the same in any process."""
    return repr(value if type(value) in (str, int) else _Encoder().encode_whole(value))


def _cell(cell: Any) -> Any:
    try:
        return [cell.cell_contents]
    except ValueError:  # nothing in it (yet)
        return []


def file_hashes(name: str, value: Any) -> Any:
    """Return the SHA-256 of the file or files that a tokenizer will read, otherwise the value."""
    if name.endswith("name_or_path") and isinstance(value, str | os.PathLike):
        path = Path(value).expanduser()
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        if files:
            return [hash_file(file) for file in files]
    return value


def _is_callback(value: Any) -> bool:
    """Return whether it is a callback of skorch, which need not be imported for that."""
    names = ((base.__module__, base.__qualname__) for base in type(value).__mro__)
    return ("skorch.callbacks.base", "Callback") in names


_ANY_MODULE = frozenset(vars(nn.Module()))


def _module_attributes(module: nn.Module) -> dict[str, Any]:
    """Return a module's attributes; hooks by their order, not by PyTorch's running numbers.

    Whether it is in training mode makes no difference to a fit, which puts it there.
    """
    attributes = {k: v for k, v in vars(module).items() if k not in _ANY_MODULE or v}
    attributes.pop("training", None)
    hooks = {k: v for k, v in attributes.items() if k in _ANY_MODULE and "hooks" in k}
    numbers = sorted({number for some in hooks.values() for number in some})
    for name, some in hooks.items():
        attributes[name] = {numbers.index(number): hook for number, hook in some.items()}
    return attributes
