"""What functions and classes are: a library's by name and version, one's own by what they do.

What a piece of code does depends on its bytecode and on all that its global names stand for;
`uses` finds those, in nested functions and comprehensions too. Whose it is, `origin` says.
"""

from __future__ import annotations

import dis
import hashlib
import importlib.metadata
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache, lru_cache
from importlib.metadata import Distribution, PackageNotFoundError
from inspect import isclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from torch.autograd import Function

__all__ = [
    "Import",
    "code_digest",
    "find",
    "import_own",
    "installed",
    "members",
    "name_in_library",
    "origin",
    "own_content",
    "uses",
]

_PYTHON = f"Python {sys.version_info.major}.{sys.version_info.minor}"
_PYTHONS_FOLDERS = (
    sysconfig.get_path("stdlib"),
    sysconfig.get_path("platstdlib"),
    os.path.dirname(os.__file__),
    os.path.join(sys.base_prefix, "DLLs"),
)
_OUR_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SITES = ("dist-packages", "site-packages")
_DISTRIBUTIONS = {"sklearn": "scikit-learn"}  # others than that are found by name, or slowly

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made at run time, as `class` does
_BOOKKEEPING = {"__dict__", "__weakref__", "_abc_impl", "_sklearn_auto_wrap_output_keys"}
_OF_FUNCTIONS = {"_backward_cls"}  # has a number: the how manieth of the process it is

_OF_GLOBALS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_OF_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD")
_PLAIN = (type(None), type(...), bool, int, float, complex, str, bytes, slice)


# Whose something is


def origin(module: str) -> str | None:
    """Return whose a module is, with the version; None if it is the user's own.

    What counts is its file: a ``code.py`` of one's own is not Python's, and a package in
    site-packages that no distribution has put there has no version to be known by.

    Examples
    --------
    >>> origin("snn_estimators.nn"), origin("__main__")
    ('snn_estimators', None)
    >>> origin("torch.nn.functional").split()[0]
    'torch'
    """
    package = module.partition(".")[0]
    if package == "__main__":
        return None
    file = _file_of(module) or _file_of(package)
    return _origin(package, file)


def _file_of(module: str) -> str | None:
    if module in sys.modules:
        return getattr(sys.modules[module], "__file__", None)
    try:
        spec = None if "." in module else importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return spec.origin if spec is not None and spec.has_location else None


@cache
def _origin(package: str, file: str | None) -> str | None:
    if file is None:  # a part of the interpreter
        return _PYTHON if package in sys.stdlib_module_names else None
    if _lies_in(file, _OUR_FOLDER):
        return "snn_estimators"
    in_site = any(part in _SITES for part in Path(file).parts)
    if not in_site and any(_lies_in(file, folder) for folder in _PYTHONS_FOLDERS):
        return _PYTHON
    for distribution in _distributions(package):
        found = _Installed.of(distribution)
        if found.has(file) or (in_site and not found.files):
            return found.told
    return None


def _lies_in(file: str, folder: str) -> bool:
    return file.startswith(folder.rstrip(os.sep) + os.sep)


def _distributions(package: str) -> Iterator[Distribution]:
    """Yield what may have installed a package, likely ones first."""
    with suppress(PackageNotFoundError):
        yield importlib.metadata.distribution(_DISTRIBUTIONS.get(package, package))
    for name in set(_names_by_package().get(package, ())):
        yield importlib.metadata.distribution(name)


@cache
def _names_by_package() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()  # half a second, in a large environment


class _Installed(NamedTuple):
    """What was installed, and where."""

    told: str
    """Name, version and a hash: a version of one's own may be installed twice, and differ."""
    folder: str
    files: frozenset[str]
    """Relative to the folder. An editable installation has no sources there."""

    @classmethod
    def of(cls, distribution: Distribution) -> _Installed:
        return _read_record(distribution.metadata["Name"])

    def has(self, file: str) -> bool:
        return os.path.relpath(file, self.folder).replace(os.sep, "/") in self.files


@cache
def _read_record(name: str) -> _Installed:
    distribution = importlib.metadata.distribution(name)
    lines = (distribution.read_text("RECORD") or "").splitlines()
    contents = sorted(
        line for line in lines if ",sha256=" in line and "-info/" not in line and line[0] != "."
    )
    total = hashlib.sha256("\n".join(contents).encode()).hexdigest()[:16] if contents else ""
    told = f"{name} {distribution.version} {total}".rstrip()
    files = frozenset(line.split(",", 1)[0].strip('"') for line in contents)
    return _Installed(told, str(distribution.locate_file("")), files)


@cache
def installed(distribution: str) -> str | None:
    """Return the version of what is installed, None if it is not."""
    try:
        return importlib.metadata.version(distribution)
    except PackageNotFoundError:
        return None


def name_in_library(value: Any) -> list[str] | None:
    """Return the name and the origin of a library's class or function, None for one's own.

    A name counts if it leads to this very object: `functools.wraps` and decorators give away the
    names of others.

    Examples
    --------
    >>> from torch import nn
    >>> name_in_library(nn.Linear)[0], name_in_library(lambda: 0)
    ('torch.nn.modules.linear.Linear', None)
    """
    module = value.__module__ if isinstance(value.__module__, str) else ""
    whose = origin(module)
    if whose is None:
        return None
    static = isclass(value) and not value.__flags__ & _HEAP_TYPE
    if not static and find(sys.modules.get(module), value.__qualname__) is not value:
        return None
    if isinstance(value, FunctionType) and origin(value.__globals__.get("__name__", "")) is None:
        return None  # put there by the user
    return [f"{module}.{value.__qualname__}", whose]


def find(owner: Any, path: str) -> Any:
    """Return what a dotted name leads to, None if it leads nowhere."""
    for name in path.split("."):
        owner = vars(owner).get(name) if isclass(owner) else getattr(owner, name, None)
        owner = owner.__func__ if isinstance(owner, classmethod | staticmethod) else owner
    return owner


# What code is, and what it uses


@lru_cache(maxsize=10_000)
def code_digest(code: CodeType) -> str:
    """Return the SHA-256 of what a piece of code does with what it is given.

    Examples
    --------
    >>> one, same, other = ((lambda x: x + 1), (lambda x: x + 1), (lambda x: x + True))
    >>> code_digest(one.__code__) == code_digest(same.__code__) != code_digest(other.__code__)
    True
    """
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    told = code.co_code, code.co_exceptiontable, counts, names, _constant(code.co_consts)
    return hashlib.sha256(repr(told).encode("utf-8", "backslashreplace")).hexdigest()


def _constant(value: Any) -> str:
    if isinstance(value, CodeType):
        return code_digest(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(_constant, value))})"
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(map(_constant, value)))}}}"
    if not isinstance(value, _PLAIN):
        raise TypeError(f"nobody can tell a {type(value).__name__} among the constants of code")
    return f"{type(value).__name__} {value!r}"


class Import(NamedTuple):
    """An import within a function."""

    level: int
    """The number of leading dots."""
    module: str
    names: tuple[str, ...]
    """After ``from ... import``; empty for a plain import."""


@lru_cache(maxsize=10_000)
def uses(code: CodeType) -> tuple[tuple[tuple[str, ...], ...], tuple[Import, ...]]:
    """Return the global names that code reads, with the attributes it asks of them, and imports.

    Examples
    --------
    >>> def f(x):
    ...     from math import pi
    ...     return [np.sin.at(y, SHIFT) for y in x]
    >>> uses(f.__code__)
    ((('SHIFT',), ('np', 'sin', 'at')), (Import(level=0, module='math', names=('pi',)),))
    """
    names: set[tuple[str, ...]] = set()
    imports: set[Import] = set()
    arguments: list[Any] = [None, None]  # of the instructions before
    path: tuple[str, ...] = ()
    for instruction in dis.get_instructions(code):
        name, argument = instruction.opname, instruction.argval
        if name == "EXTENDED_ARG":
            continue
        if name in _OF_ATTRIBUTES and path:
            path = (*path, argument)
            continue
        if path:
            names.add(path)
        path = (argument,) if name in _OF_GLOBALS else ()
        if name == "IMPORT_NAME":
            imports.add(Import(arguments[-2] or 0, argument, tuple(arguments[-1] or ())))
        arguments = [arguments[-1], argument]
    for part in code.co_consts:
        if isinstance(part, CodeType):
            names_within, imports_within = uses(part)
            names.update(names_within)
            imports.update(imports_within)
    return tuple(sorted(names)), tuple(sorted(imports))


def import_own(name: str, package: str | None = None, level: int = 0) -> ModuleType | str:
    """Return a module of the user's own that a function imports, of others what tells them."""
    try:
        full = importlib.util.resolve_name("." * level + name, package) if level else name
        whose = origin(full)
        return importlib.import_module(full) if whose is None else f"{full} {whose}"
    except Exception:  # whatever a module may raise; the function's own affair
        return f"{name} is missing"


def own_content(module: ModuleType) -> dict[str, Any] | str:
    """Return what is in a module of the user's own; of a compiled one, the SHA-256 of its file."""
    file = getattr(module, "__file__", None)
    if file and not file.endswith((".py", ".pyc")) and Path(file).is_file():
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    return {
        name: value
        for name, value in vars(module).items()
        if not _is_dunder(name) or isinstance(value, FunctionType)
    }


def members(kind: type) -> dict[str, Any]:
    """Return what a class of the user's own defines, without what Python notes in it."""
    noted = _BOOKKEEPING | (_OF_FUNCTIONS if issubclass(kind, Function) else set())
    return {
        name: member
        for name, member in vars(kind).items()
        if name not in noted
        and (not _is_dunder(name) or callable(member) or isinstance(member, classmethod))
    }


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")
