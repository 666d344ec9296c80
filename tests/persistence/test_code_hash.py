"""User-defined code: what changes its key, in any process; and which code is a library's."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import user_code
from joblib.externals.loky.backend.reduction import dumps
from tiny_language_model import TEXTS, tiny_model
from torch import nn
from user_code import DIFFERENT, SAME, USER_MODULE, define, value_key

from snn_estimators.persistence.code_hash import library_name, library_of
from snn_estimators.persistence.stable_hash import canonical


@pytest.fixture
def import_source(tmp_path, monkeypatch):
    """Write a module, and import it from scratch."""
    former = {}
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def imported(name, source, folder="."):
        path = tmp_path / folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
        monkeypatch.syspath_prepend(str(path.parent))
        former.setdefault(name, sys.modules.pop(name, None))
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield imported
    for name, before in former.items():
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before


@pytest.mark.slow
@pytest.mark.parametrize("case", DIFFERENT)
def test_code_that_does_something_else(case, import_source):
    found = []
    for v, w in ((2, 3), (3, 2), (2, 3)):
        name = f"user_{case.replace(' ', '_').replace(chr(39), '')}"
        import_source(name, USER_MODULE.format(v=v))
        found.append(value_key(define(DIFFERENT[case].format(v=v, w=w, user=name))))
    assert found[0] != found[1]
    assert found[0] == found[2]


@pytest.mark.parametrize("case", SAME)
def test_code_that_does_the_same(case):
    one, other = SAME[case]
    assert value_key(define(one)) == value_key(define(other))


def can_be_sent(thing):
    try:
        dumps(thing)
    except Exception:  # a cached function, a class of a library's name
        return False
    return True


@pytest.mark.slow
def test_another_process_finds_the_same_keys():
    """Of what it defines, of what joblib sends it, and of a fit with a user-defined module."""
    sources = {name: text for name, text in DIFFERENT.items() if "{user}" not in text}
    del sources["in a class within"]  # cloudpickle sends no global that only its body reads
    things = [define(source.format(v=2, w=3)) for source in sources.values()]
    things = [*filter(can_be_sent, things)]
    assert len(things) > 30
    scaled = define(
        "from snn_estimators.nn import SpikingDecoder\nA = [0.5]\n"
        "def scaled(x):\n    return x * A[0]\n"
        "class thing(SpikingDecoder):\n"
        "    def forward(self, tokens):\n"
        "        return (lambda y: scaled(y))(SpikingDecoder.forward(self, tokens))\n"
    )
    fit = partial(tiny_model(module=scaled, memory="never")._key_of_fit, TEXTS, None, {})
    ran = subprocess.run(
        [sys.executable, user_code.__file__],
        input=dumps((things, fit)),
        env={**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"},
        capture_output=True,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    here = [user_code.keys_of_sources(), [*map(value_key, things)], fit()]
    assert json.loads(ran.stdout) == here


PACKAGE = {
    "relative": "def thing(x):\n    from . import other\n    return other.scale(x)",
    "a relative name": "def thing(x):\n    from .other import scale\n    return scale(x)",
    "absolute": "def thing(x):\n    import pack.other\n    return pack.other.scale(x)",
    "at the top": "import pack.other\ndef thing(x):\n    return pack.other.scale(x)",
    "of an object": "from pack import other as o\ndef thing(x):\n    return o.held.scale(x)",
    "made when asked for": "from . import other\ndef thing(x):\n    return other.lazy(x)",
}
OTHER = """
import types
def scale(x):
    return x * {v}
held = types.SimpleNamespace(scale=lambda x: x + {v})
def __getattr__(name):
    return lambda x: x * {v}
"""


@pytest.mark.parametrize("case", PACKAGE)
def test_modules_of_a_package(case, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "pack").mkdir()
    found = []
    for v in (2, 3, 2):
        for name in ("pack", "pack.one", "pack.other"):
            sys.modules.pop(name, None)
        (tmp_path / "pack" / "one.py").write_text(PACKAGE[case])
        (tmp_path / "pack" / "other.py").write_text(OTHER.format(v=v))
        importlib.invalidate_caches()
        found.append(value_key(importlib.import_module("pack.one").thing))
    assert found[0] == found[2] != found[1]


# Libraries


@pytest.mark.parametrize("name", ["token", "profile"])
def test_a_users_file_is_not_pythons(name, import_source):
    source = "class A:\n    a = {}"
    found = [value_key(import_source(name, source.format(v)).A) for v in (2, 3)]
    assert found[0] != found[1]
    assert library_of(name) is None


def test_what_no_distribution_installed_is_user_defined(import_source):
    found = [
        value_key(import_source("loose", f"class A:\n    a = {v}", "site-packages").A)
        for v in (2, 3)
    ]
    assert found[0] != found[1]


@pytest.mark.parametrize("content", ["sha256=aaaa,9", "sha256=bbbb,9"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_what_was_installed_is_known_by_version_and_content(
    content, version, import_source, tmp_path
):
    about = tmp_path / "site-packages" / f"theirs{version[-1]}{content[7]}-{version}.dist-info"
    about.mkdir(parents=True)
    name = about.name.partition("-")[0]
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (about / "RECORD").write_text(f"{name}.py,{content}\n{about.name}/RECORD,,\n")
    import_source(name, "class A:\n    pass", "site-packages")
    (library,) = canonical(sys.modules[name].A).values()
    assert library[0] == f"{name}.A"
    assert library[1].startswith(f"{name} {version} ")
    assert len(library[1].split()) == 3


def test_libraries_are_known_by_name():
    from sklearn.metrics import f1_score

    for value in (nn.Linear, nn.functional.relu, f1_score, json.dumps, Path, int, OSError):
        assert library_name(value) is not None
        assert list(canonical(value)) == ["library"]
    assert library_name(f1_score)[1].startswith("scikit-learn ")


def test_what_cannot_be_hashed_is_named():
    thing = define("import threading\nA = threading.Lock()\ndef thing(x):\n    A.acquire()")
    with pytest.raises(TypeError, match=r"a lock cannot be hashed .* \(it is used as __main__:A\)"):
        canonical(thing)


def test_many_things_that_use_each_other_take_no_time():
    n = 60
    names = ", ".join(f"f{i}" for i in range(n))
    lines = [f"def f{i}(x):\n    return [{names}, {i}]" for i in range(n)]
    thing = define("\n".join(lines) + "\nthing = f0")
    assert len(json.dumps(canonical(thing))) < 1_000_000
