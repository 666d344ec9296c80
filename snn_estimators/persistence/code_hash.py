"""Which code is a library's, known by name and version, and hashes of user-defined code.

What a piece of code does depends on its bytecode and on the values of its globals; `references`
finds those, in nested functions and comprehensions too.
"""

from __future__ import annotations

import dis
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

from snn_estimators.persistence.hashing import hash_bytes, hash_file

__all__ = [
    "Import",
    "class_members",
    "find",
    "hash_code",
    "import_user_module",
    "installed",
    "library_name",
    "library_of",
    "module_members",
    "references",
]

_PYTHON = f"Python {sys.version_info.major}.{sys.version_info.minor}"
_STDLIB_FOLDERS = (
    sysconfig.get_path("stdlib"),
    sysconfig.get_path("platstdlib"),
    os.path.dirname(os.__file__),
    os.path.join(sys.base_prefix, "DLLs"),
)
_PACKAGE_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SITE_FOLDERS = ("dist-packages", "site-packages")
_DISTRIBUTIONS = {"sklearn": "scikit-learn"}  # all others are found by name, or slowly

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made at run time, as `class` does
_BOOKKEEPING = {"__dict__", "__weakref__", "_abc_impl", "_sklearn_auto_wrap_output_keys"}
_FUNCTION_BOOKKEEPING = {"_backward_cls"}  # has a running number of the process

_GLOBAL_OPS = ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS")
_ATTRIBUTE_OPS = ("LOAD_ATTR", "LOAD_METHOD")
_PLAIN = (type(None), type(...), bool, int, float, complex, str, bytes, slice)


# Libraries


def library_of(module: str) -> str | None:
    """Return the library that a module belongs to, with its version; None if it is user-defined.

    What counts is its file: a user's ``code.py`` is not Python's, and a package in site-packages
    that no distribution has installed has no version.
    """
    package = module.partition(".")[0]
    if package == "__main__":
        return None
    file = _file_of(module) or _file_of(package)
    return _library_of(package, file)


def _file_of(module: str) -> str | None:
    if module in sys.modules:
        return getattr(sys.modules[module], "__file__", None)
    try:
        spec = None if "." in module else importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return spec.origin if spec is not None and spec.has_location else None


@cache
def _library_of(package: str, file: str | None) -> str | None:
    if file is None:  # a part of the interpreter
        return _PYTHON if package in sys.stdlib_module_names else None
    if _lies_in(file, _PACKAGE_FOLDER):
        return "snn_estimators"
    in_site = any(part in _SITE_FOLDERS for part in Path(file).parts)
    if not in_site and any(_lies_in(file, folder) for folder in _STDLIB_FOLDERS):
        return _PYTHON
    for distribution in _distributions(package):
        label, root, files = _installation(distribution.metadata["Name"])
        relative = os.path.relpath(file, root).replace(os.sep, "/")
        if relative in files or (in_site and not files):
            return label
    return None


def _lies_in(file: str, folder: str) -> bool:
    return file.startswith(folder.rstrip(os.sep) + os.sep)


def _distributions(package: str) -> Iterator[Distribution]:
    """Yield the distributions that may have installed a package, likely ones first."""
    with suppress(PackageNotFoundError):
        yield importlib.metadata.distribution(_DISTRIBUTIONS.get(package, package))
    for name in set(_names_by_package().get(package, ())):
        yield importlib.metadata.distribution(name)


@cache
def _names_by_package() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()  # half a second, in a large environment


@cache
def _installation(name: str) -> tuple[str, str, frozenset[str]]:
    """Return name, version and hash of a distribution, its folder, and its files relative to that.

    A user's version may be installed twice, and differ: hence the hash. An editable installation
    has no sources there.
    """
    distribution = importlib.metadata.distribution(name)
    lines = (distribution.read_text("RECORD") or "").splitlines()
    contents = sorted(
        line for line in lines if ",sha256=" in line and "-info/" not in line and line[0] != "."
    )
    content_hash = hash_bytes("\n".join(contents).encode())[:16] if contents else ""
    files = frozenset(line.split(",", 1)[0].strip('"') for line in contents)
    label = f"{name} {distribution.version} {content_hash}".rstrip()
    return label, str(distribution.locate_file("")), files


@cache
def installed(distribution: str) -> str | None:
    """Return the version of a distribution, None if it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except PackageNotFoundError:
        return None


def library_name(value: Any) -> list[str] | None:
    """Return the name and the library of a class or function, None if it is user-defined.

    The name must lead to this very object: `functools.wraps` and decorators copy names.
    """
    module = value.__module__ if isinstance(value.__module__, str) else ""
    library = library_of(module)
    if library is None:
        return None
    static = isclass(value) and not value.__flags__ & _HEAP_TYPE
    if not static and find(sys.modules.get(module), value.__qualname__) is not value:
        return None
    if (
        isinstance(value, FunctionType)
        and library_of(value.__globals__.get("__name__", "")) is None
    ):
        return None  # the user patched the library
    return [f"{module}.{value.__qualname__}", library]


def find(owner: Any, path: str) -> Any:
    """Return the object of a dotted name, None if there is none."""
    for name in path.split("."):
        owner = vars(owner).get(name) if isclass(owner) else getattr(owner, name, None)
        owner = owner.__func__ if isinstance(owner, classmethod | staticmethod) else owner
    return owner


# User-defined code


@lru_cache(maxsize=10_000)
def hash_code(code: CodeType) -> str:
    """Return the SHA-256 of bytecode, names and constants, without line numbers.

    Examples
    --------
    >>> one, same, other = ((lambda x: x + 1), (lambda x: x + 1), (lambda x: x + True))
    >>> hash_code(one.__code__) == hash_code(same.__code__) != hash_code(other.__code__)
    True
    """
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    content = code.co_code, code.co_exceptiontable, counts, names, _constant(code.co_consts)
    return hash_bytes(repr(content).encode("utf-8", "backslashreplace"))


def _constant(value: Any) -> str:
    if isinstance(value, CodeType):
        return hash_code(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(_constant, value))})"
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(map(_constant, value)))}}}"
    if not isinstance(value, _PLAIN):
        raise TypeError(f"a {type(value).__name__} among the constants of code cannot be hashed")
    return f"{type(value).__name__} {value!r}"


class Import(NamedTuple):
    """An import within a function."""

    level: int
    """The number of leading dots."""
    module: str
    names: tuple[str, ...]
    """After ``from ... import``; empty for a plain import."""


@lru_cache(maxsize=10_000)
def references(code: CodeType) -> tuple[tuple[tuple[str, ...], ...], tuple[Import, ...]]:
    """Return the globals that code reads, with the attributes it uses of them, and its imports.

    Examples
    --------
    >>> def f(x):
    ...     from math import pi
    ...     return [np.sin.at(y, SHIFT) for y in x]
    >>> references(f.__code__)
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
        if name in _ATTRIBUTE_OPS and path:
            path = (*path, argument)
            continue
        if path:
            names.add(path)
        path = (argument,) if name in _GLOBAL_OPS else ()
        if name == "IMPORT_NAME":
            imports.add(Import(arguments[-2] or 0, argument, tuple(arguments[-1] or ())))
        arguments = [arguments[-1], argument]
    for part in code.co_consts:
        if isinstance(part, CodeType):
            names_within, imports_within = references(part)
            names.update(names_within)
            imports.update(imports_within)
    return tuple(sorted(names)), tuple(sorted(imports))


def import_user_module(name: str, package: str | None = None, level: int = 0) -> ModuleType | str:
    """Return a user-defined module that a function imports; of others, name and library."""
    try:
        full = importlib.util.resolve_name("." * level + name, package) if level else name
        library = library_of(full)
        return importlib.import_module(full) if library is None else f"{full} {library}"
    except Exception:  # a module may raise anything: calling the function will show it
        return f"{name} is missing"


def module_members(module: ModuleType) -> dict[str, Any] | str:
    """Return what a user-defined module holds; of a compiled one, the SHA-256 of its file."""
    file = getattr(module, "__file__", None)
    if file and not file.endswith((".py", ".pyc")) and Path(file).is_file():
        return hash_file(Path(file))
    return {
        name: value
        for name, value in vars(module).items()
        if not _is_dunder(name) or isinstance(value, FunctionType)
    }


def class_members(kind: type) -> dict[str, Any]:
    """Return what a user-defined class defines, without what Python and others add to it."""
    added = _BOOKKEEPING | (_FUNCTION_BOOKKEEPING if issubclass(kind, Function) else set())
    return {
        name: member
        for name, member in vars(kind).items()
        if name not in added
        and (not _is_dunder(name) or callable(member) or isinstance(member, classmethod))
    }


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")
