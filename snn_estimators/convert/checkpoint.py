"""What stands around and between the weights of a checkpoint, and loading those into a module."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from snn_estimators._torch_files import check_storages
from snn_estimators._warnings import warn
from snn_estimators.nn.outline import BeyondError, outline

__all__ = ["Checkpoint", "check_system", "fill", "find_tensors", "nearest"]

ENVELOPES = ("state_dict", "model_state_dict", "model", "weights", "module", "params", "net")
"""Keys of a state dict beside a trainer's other things, the usual first."""

_DEEPEST = 4  # envelopes in envelopes
_WRAPPERS = frozenset(
    {"module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
)
"""Parts that DataParallel, torch.compile, trainers, FSDP and checkpointed activations add to names,
at the front or, around single blocks, within; neither reference system has any of them."""

_PLAIN_PREFIXES = re.compile(r"(?:(?:model|net|network|_model)\.)*")
"""Attributes that trainers keep the trained model under; others, such as ema_model, hold copies."""

_MEANINGLESS = re.compile(
    r"(?:^|\.)(?:num_batches_tracked|n_averaged|position_ids|masked_bias|(?:\w+_)?mask|"
    r"total_(?:ops|params)|_extra_state)$"
)
"""Names of counters and constants that trainers, profilers and attention layers leave behind."""

Module = TypeVar("Module", bound=nn.Module)


class Checkpoint(NamedTuple):
    """A reference system's tensors under its own names."""

    tensors: dict[str, Tensor]
    taken_off: list[str]
    """What stood around them, in words."""


def find_tensors(content: Any, anchor: str) -> Checkpoint:
    """Find the state dict in a checkpoint, and take wrappers' prefixes off its names.

    Parameters
    ----------
    content : mapping
        A state dict, or a mapping that holds one at any key, beside other things.
    anchor : str
        Name of a tensor that every state dict of the reference system has.

    Raises
    ------
    TypeError
        If it is no mapping.
    ValueError
        If it holds several models, and it is not clear which one is meant; if a tensor is larger
        than the numbers that it holds.
    """
    if not isinstance(content, Mapping):
        raise TypeError(
            f"state_dict must map names to tensors, got a {type(content).__name__}: give "
            "model.state_dict()."
        )
    where, state_dict = _open_envelope(content, anchor)
    taken_off = []
    if where:
        beside = _listed(key for key in content if key != where[0])
        also = f" (it also holds {beside})" if beside else ""
        taken_off.append(f"the envelope {_path(where)}{also}")
    tensors = {k: v for k, v in state_dict.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if others := _listed(name for name in state_dict if name not in tensors):
        taken_off.append(f"entries that are no tensors ({others})")
    bare_names, said = _bare_names(tensors, anchor)
    tensors = {bare: tensors[name] for name, bare in bare_names.items()}
    check_storages(tensors)
    return Checkpoint(tensors, taken_off + said)


def _bare_names(names: Collection[str], anchor: str) -> tuple[dict[str, str], list[str]]:
    """Return the names of one model without what wrappers add, and what that was, in words."""
    unwrapped = {name: _unwrapped(name) for name in names}
    prefix, copies = _prefixes(unwrapped.values(), anchor)
    left_out = [name for name in names if copies and unwrapped[name].startswith(copies)]
    kept: dict[str, str] = {}
    added = set()
    for name in names:
        if name in left_out:
            continue
        bare = unwrapped[name].removeprefix(prefix)
        if bare in kept:
            raise ValueError(
                f"The checkpoint holds {bare} twice, once as {name}: give the state dict of one "
                "model."
            )
        kept[bare] = name
        if bare != name:
            added.add(name.removesuffix(bare) if name.endswith(bare) else _inner(name))
    said = [f"what wrappers add to names ({_listed(sorted(added))})"] if added else []
    if left_out:
        said.append(f"a second copy of the weights ({_listed(left_out)})")
    return {name: bare for bare, name in kept.items()}, said


def check_system(checkpoint: Checkpoint, anchor: str, system: str) -> None:
    """Raise ValueError, with names that are there, unless a checkpoint is of a reference system."""
    if anchor not in checkpoint.tensors:
        held = _listed(checkpoint.tensors) or "no tensors"
        raise ValueError(
            f"{anchor} is missing in the checkpoint, which holds {held}: is it one of {system}'s?"
        )


def fill(
    make: Callable[[], Module],
    checkpoint: Checkpoint,
    hint: str,
    named: Callable[[str], str],
) -> Module:
    """Build a module and load a checkpoint's tensors, in its precision; warn of what is left out.

    `named` gives a tensor of the module its name in the checkpoint. Shapes may differ by
    dimensions of size 1. Whether all fits is known before the module is built.

    Raises
    ------
    ValueError
        For a tensor that is missing, unknown, or does not fit, named with the `hint`.
    """
    tensors, taken_off = dict(checkpoint.tensors), list(checkpoint.taken_off)
    expected = _expected_shapes(make, tensors, hint, named)
    for name in expected:
        if name not in tensors and name.endswith("num_batches_tracked"):  # PyTorch before 0.4.1
            tensors[name] = torch.zeros(expected[name][1], dtype=torch.long)
    extra = [n for n in tensors if n not in expected and _is_meaningless(n, tensors[n])]
    if extra:
        taken_off.append(f"buffers that mean nothing here ({_listed(extra)})")
        tensors = {name: tensor for name, tensor in tensors.items() if name not in extra}
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors:
            near = nearest(name, tensors.keys() - expected.keys(), "the nearest there are")
            raise ValueError(f"{name} is missing in the checkpoint{near}; {hint}")
        if name not in expected:
            near = nearest(name, expected.keys() - tensors.keys() or expected, "which knows")
            raise ValueError(f"{name} is in the checkpoint, but missing in the model{near}; {hint}")
        _check_shape(name, tensors[name], expected[name][1], hint)
    module = make()
    own = module.state_dict()
    loaded = {}
    for name, (ours, shape) in expected.items():
        _check_numbers(name, tensors[name], own[ours])
        loaded[ours] = tensors[name].reshape(shape)
    if narrowed := [n for n, (ours, _) in expected.items() if _narrows(tensors[n], own[ours])]:
        taken_off.append(f"digits beyond {torch.get_default_dtype()} ({_listed(narrowed)})")
    if taken_off:
        warn("Taken off the checkpoint: " + "; ".join(taken_off) + ".")
    module.load_state_dict(loaded)
    return module.eval()


def _expected_shapes(
    make: Callable[[], nn.Module],
    tensors: Mapping[str, Tensor],
    hint: str,
    named: Callable[[str], str],
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the module's tensors by their names in the checkpoint: own names and shapes."""
    try:
        shapes = outline(make, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    except BeyondError as error:
        raise ValueError(f"The tensors are not those of the model: {error}; {hint}") from error
    assert shapes is not None  # our modules read no numbers
    return {named(name): (name, shape) for name, shape in shapes.items()}


def _open_envelope(content: Mapping[Any, Any], anchor: str) -> tuple[tuple[str, ...], Any]:
    """Return the keys that lead to the state dict, and it."""
    found = dict(_mappings(content, (), set()))
    holding = [where for where, mapping in found.items() if _holds(mapping, anchor)]
    if () in holding:
        return (), content
    if len(holding) > 1:
        ranks = {where: _rank(where) for where in holding}
        best = [where for where in holding if ranks[where] == min(ranks.values())]
        if len(best) > 1:
            paths = " and ".join(map(_path, holding))
            raise ValueError(f"The checkpoint holds several models, at {paths}: give one of them.")
        holding = best
    if not holding:  # what is there is shown by the error for what is missing
        holding = [max(found, key=lambda where: _n_tensors(found[where]))]
    return holding[0], found[holding[0]]


def _rank(where: tuple[str, ...]) -> tuple[bool, int, int]:
    """Return what is lower for a more usual place of the trained weights; alike if none is."""
    if where[-1] not in ENVELOPES:
        return (True, 0, 0)
    return (False, len(where), ENVELOPES.index(where[-1]))


def _path(where: tuple[str, ...]) -> str:
    return "".join(f"[{key!r}]" for key in where)


def _mappings(
    content: Mapping[Any, Any], where: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[tuple[str, ...], Mapping[Any, Any]]]:
    """Walk through mappings within mappings, each once: a pickle may refer to itself."""
    seen.add(id(content))
    yield where, content
    if len(where) < _DEEPEST:
        for key, value in content.items():
            if isinstance(value, Mapping) and isinstance(key, str) and id(value) not in seen:
                yield from _mappings(value, (*where, key), seen)


def _holds(mapping: Mapping[Any, Any], anchor: str) -> bool:
    return any(
        isinstance(name, str)
        and f".{_unwrapped(name)}".endswith(f".{anchor}")
        and isinstance(value, Tensor)
        for name, value in mapping.items()
    )


def _n_tensors(mapping: Mapping[Any, Any]) -> int:
    return sum(isinstance(value, Tensor) for value in mapping.values())


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _inner(name: str) -> str:
    return ".".join(part for part in name.split(".") if part in _WRAPPERS) + "."


def _prefixes(names: Collection[str], anchor: str) -> tuple[str, tuple[str, ...]]:
    """Return the prefix of the model's names, and those of further copies of it."""
    found = sorted({n.removesuffix(anchor) for n in names if f".{n}".endswith(f".{anchor}")})
    plain = [prefix for prefix in found if _PLAIN_PREFIXES.fullmatch(prefix)]
    if not found:
        return "", ()
    if len(found) > 1 and len(plain) != 1:
        raise ValueError(
            f"The checkpoint holds several models, under the prefixes {_listed(found)}: give the "
            "tensors of one of them."
        )
    prefix = plain[0] if len(found) > 1 else found[0]
    return prefix, tuple(other for other in found if other != prefix)


def _is_meaningless(name: str, tensor: Tensor) -> bool:
    """Return whether a buffer that the model lacks is a counter or a constant of attention."""
    return bool(_MEANINGLESS.search(name)) or _is_causal_mask(tensor)


def _is_causal_mask(tensor: Tensor) -> bool:
    """Return whether it separates the past from the future, whatever its name and values."""
    size = tensor.shape[-1] if tensor.dim() > 1 else 0
    if size < 2 or tensor.shape[-2] != size or tensor.numel() != size**2 or not _is_plain(tensor):
        return False
    visible = torch.ones(size, size, dtype=torch.bool).tril()
    square = tensor.reshape(size, size).cpu()
    before, after = square[visible], square[~visible]
    alike = (before == before[0]).all() and (after == after[0]).all()
    return bool(alike and before[0] != after[0])


def _check_shape(name: str, tensor: Tensor, wanted: tuple[int, ...], hint: str) -> None:
    found = tuple(tensor.shape)
    if [n for n in found if n != 1] != [n for n in wanted if n != 1]:
        raise ValueError(
            f"{name} has shape {found} in the checkpoint, but should have {wanted}; {hint}"
        )


def _check_numbers(name: str, tensor: Tensor, own: Tensor) -> None:
    is_real = tensor.is_floating_point() or not (tensor.is_complex() or own.is_floating_point())
    if not (_is_plain(tensor) and is_real):
        raise ValueError(
            f"{name} is a {tensor.layout} tensor of {tensor.dtype} on {tensor.device} in the "
            "checkpoint, but should hold real numbers: save the weights dense, in floating point."
        )


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and not (tensor.is_quantized or tensor.is_meta)


def _narrows(tensor: Tensor, own: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.element_size() > own.element_size()


def nearest(name: str, names: Collection[str], introduction: str) -> str:
    """Return the names nearest to one that is not known, in parentheses; nothing if none is."""
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.7)
    return f" ({introduction} {', '.join(near)})" if near else ""


def _listed(names: Any) -> str:
    """List the first few names."""
    listed = [repr(name) for name in names]
    more = f", ... {len(listed)} in all" if len(listed) > 4 else ""
    return ", ".join(listed[:3] if more else listed) + more
