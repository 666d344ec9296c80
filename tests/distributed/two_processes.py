"""What two processes do together for `test_two_processes`; a launcher starts it, once a process.

    torchrun --nproc-per-node 2 two_processes.py FOLDER [SCENARIO]

Each writes what became of the scenarios into a file of the folder.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skorch.callbacks import Callback, Checkpoint, EarlyStopping, Freezer
from skorch.dataset import ValidSplit
from tiny_language_model import TEXTS
from tiny_language_model import tiny_model as any_tiny_model

from snn_estimators import (
    DataParallel,
    SpikeDecoderClassifier,
    SpikeDecoderLM,
    SpikeGPTClassifier,
    SpikeGPTLM,
)

# Batch norm would count within each process.
tiny_model = partial(any_tiny_model, module__normalization="layer")
RANK = int(os.environ.get("RANK", 0))
MANY_TEXTS = [f"{text}{'!' * i}" for text in TEXTS for i in range(3)]
LABELS = ["dog" if text.endswith("!") else "cat" for text in MANY_TEXTS]
GPT = {"module__n_layer": 2, "module__n_embd": 16, "module__dropout": 0.0}
DECODER = {k: v for k, v in tiny_model().get_params().items() if k.startswith("module__")}
KINDS = ("decoder", "gpt", "decoder classifier", "gpt classifier")


def model_of(kind: str, batch_size: int) -> Any:
    """Return an estimator without dropout, whose batches have padding and a ragged end."""
    common: dict[str, Any] = {"batch_size": batch_size, "max_epochs": 3, "random_state": 0}
    if kind == "decoder":
        split = {"train_split": ValidSplit(10), "evaluate_every_n_steps": 2}
        return tiny_model(**common, **split, warmup_tokens=100)
    if kind == "gpt":
        return SpikeGPTLM(**GPT, **common, lr=1e-2, steps_per_epoch=5, module__ctx_len=8)
    common["batch_size"] //= 2  # 12 documents, 8 of them to train on: the last batch has one
    common["train_split"] = ValidSplit(4, stratified=True)
    if kind == "decoder classifier":
        return SpikeDecoderClassifier(**DECODER, **common)
    weight = torch.tensor([1.0, 3.0])
    return SpikeGPTClassifier(**GPT, **common, decision="last", criterion__weight=weight)


def fit(model: Any, kind: str = "decoder") -> Any:
    return model.fit(MANY_TEXTS, *([LABELS] if "classifier" in kind else []))


def outcome(model: Any) -> dict[str, Any]:
    """Return what has to be the same in all processes."""
    rows = model.history_.to_list()
    return {
        "class": type(getattr(model, "estimator_", model)).__qualname__,
        "weights": {name: value.clone() for name, value in model.module_.state_dict().items()},
        "history": [{k: v for k, v in row.items() if k != "dur"} for row in rows],
        "interrupted": model.interrupted_,
        "n_steps": model.n_steps_,
    }


class InProcess1(Callback):
    """Does something in one process alone, at the end of its third step."""

    def __init__(self, action: Callable[[Any], Any]) -> None:
        self.action = action

    def on_batch_end(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        if training and RANK == 1 and net._position.steps == 3:
            self.action(net)


class StopInProcess1(Callback):
    """Stops the training in one process alone, after two epochs."""

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        if RANK == 1 and len(net.history) == 2:
            raise KeyboardInterrupt


class FailBetweenInProcess1(Callback):
    """Fails between two steps, before the pass forward in which DDP arranges its gradients."""

    def on_batch_begin(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        if training and RANK == 1 and net._position.steps == 1:
            raise OSError("the disk is full")


class Thaw(Callback):
    """Keeps the head frozen in all epochs but one."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        for name, parameter in net.module_.named_parameters():
            parameter.requires_grad_(len(net.history) == self.epoch or not name.startswith("head"))


class Masks(Callback):
    """Keeps what a dropout lets through."""

    not_resumed = ("masks_",)

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        self.masks_: list[torch.Tensor] = []
        layer = next(m for m in net.module_.modules() if isinstance(m, torch.nn.Dropout) and m.p)
        layer.register_forward_hook(lambda _, __, out: self.masks_.append((out != 0).float()))


def poison(net: Any) -> None:
    net.criterion_.register_forward_hook(lambda _, __, loss: loss * float("nan"))


def fail(net: Any) -> None:
    raise OSError("the disk is full")


def fail_backward(net: Any) -> None:
    def hook(gradient: torch.Tensor) -> None:
        raise MemoryError("too much")

    next(net.module_.parameters()).register_hook(hook)


def exit_early(net: Any) -> None:
    raise SystemExit("enough")


def interrupt(net: Any) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def interrupt_once(net: Any) -> None:
    if not Path(sys.argv[1], "interrupted").exists():
        Path(sys.argv[1], "interrupted").touch()
        interrupt(net)


# Scenarios


def frozen(batch_size: int) -> Any:
    return model_of("decoder", batch_size).set_params(callbacks=[Freezer("head*")])


def thawed(batch_size: int) -> Any:
    return model_of("decoder", batch_size).set_params(callbacks=[Thaw(2)])


def frozen_then_thawed(batch_size: int, wrap: Callable[[Any], Any]) -> Any:
    """Train three epochs, and go on with that model, whose head is still frozen at first."""
    part = fit(wrap(model_of("decoder", batch_size).set_params(callbacks=[Thaw(5)])))
    return part.partial_fit(MANY_TEXTS)


def best(batch_size: int, folder: Path) -> Any:
    """Return a model that gets worse, and is to end as it was at its best."""
    keep = Checkpoint(monitor="valid_loss_best", load_best=True, dirname=folder)
    return model_of("decoder", batch_size).set_params(lr=0.3, max_epochs=4, callbacks=[keep])


def saved_by_one() -> None:
    """Leave one process alone with what all have to do."""
    model = fit(DataParallel(tiny_model()))
    if RANK == 0:
        model.save_pretrained(Path(sys.argv[1]) / "alone")


def train(**parameters: Any) -> dict[str, Any]:
    return outcome(fit(DataParallel(tiny_model(**parameters))))


def trained(kind: str) -> Callable[[], dict[str, Any]]:
    return lambda: outcome(fit(DataParallel(model_of(kind, 4)), kind))


def afterwards() -> dict[str, Any]:
    """Save, copy, train further together, then alone."""
    model = fit(DataParallel(tiny_model()))
    folder = model.save_pretrained(Path(sys.argv[1]) / "saved")
    again = pickle.loads(pickle.dumps(model))
    further = DataParallel(SpikeDecoderLM.from_pretrained(folder)).partial_fit(MANY_TEXTS)
    alone = outcome(again.estimator_.partial_fit(MANY_TEXTS)) if RANK == 0 else None
    return {"score": model.score(TEXTS), "further": outcome(further), "alone": alone}


def dropped_out() -> dict[str, Any]:
    masks = Masks()
    model = fit(DataParallel(tiny_model(module__mlp_dropout=0.5, callbacks=[masks])))
    kept = next(cb for _, cb in model.callbacks_ if isinstance(cb, Masks)).masks_
    return {**outcome(model), "masks": [mask.flatten()[:100] for mask in kept]}


def drop_out(**parameters: Any) -> dict[str, Any]:
    callbacks = [InProcess1(interrupt_once)]
    settings = {"module__mlp_dropout": 0.2, "max_epochs": 3, "callbacks": callbacks}
    return train(**settings, **parameters)


def named_and_watched() -> dict[str, Any]:
    """Tell which files a process writes."""
    written = []

    def watch(event: str, arguments: Any) -> None:
        if event == "open" and isinstance(arguments[1], str) and arguments[1][0] in "wax":
            written.append(str(arguments[0]))

    sys.addaudithook(watch)
    done = drop_out(name="shared", save_every_n_steps=2)
    return {**done, "written": [path for path in written if "shared" in path]}


SCENARIOS: dict[str, Callable[[], Any]] = {
    **{kind: trained(kind) for kind in KINDS},
    "afterwards": afterwards,
    "one window": lambda: outcome(DataParallel(tiny_model(batch_size=1)).fit(["abc"])),
    "dropout": dropped_out,
    "dropout again": dropped_out,
    "unseeded": lambda: train(random_state=None),
    "batch norm": lambda: train(module__normalization="batch", train_split=ValidSplit(4)),
    "max_steps": lambda: train(max_steps=7),
    "early stopping": lambda: train(
        train_split=ValidSplit(4),
        lr=0.5,
        max_epochs=30,
        callbacks=[EarlyStopping(patience=2, threshold=9)],
    ),
    "one stops": lambda: train(max_epochs=5, callbacks=[StopInProcess1()]),
    "one is interrupted": lambda: train(callbacks=[InProcess1(interrupt)]),
    "one fails": lambda: train(callbacks=[InProcess1(fail)]),
    "one fails in between": lambda: train(callbacks=[FailBetweenInProcess1()]),
    "one exits": lambda: train(callbacks=[InProcess1(exit_early)]),
    "frozen": lambda: outcome(fit(DataParallel(frozen(4)))),
    "thawed": lambda: outcome(fit(DataParallel(thawed(4)))),
    "frozen, then thawed": lambda: outcome(frozen_then_thawed(4, DataParallel)),
    "best": lambda: outcome(fit(DataParallel(best(4, Path(sys.argv[1], "best"))))),
    "one has no number": lambda: train(callbacks=[InProcess1(poison)]),
    "one has no data": lambda: DataParallel(tiny_model()).fit(TEXTS if RANK else []),
    "other data": lambda: DataParallel(tiny_model()).fit(TEXTS[:: 1 - 2 * RANK]),
    "other text": lambda: DataParallel(tiny_model()).fit([t.title() for t in TEXTS][RANK:]),
    "other sides": lambda: train(train_split=ValidSplit(0.3)),
    "other parameters": lambda: train(lr=0.1 + RANK),
    "memory": lambda: train(memory="kept"),
    "named, cut off": named_and_watched,
    "named, taken": lambda: drop_out(name="shared"),
    "named, resumed": lambda: drop_out(name="shared", resume=True),
    "named, finished": lambda: drop_out(name="shared", resume=True),
    "not named": drop_out,
    # After these the processes cannot meet any more.
    "saved by one": saved_by_one,
    "in the backward pass": lambda: train(callbacks=[InProcess1(fail_backward)]),
}


def main(folder: str, *names: str) -> None:
    told: dict[str, Any] = {}
    for name in names or [name for name in SCENARIOS if "backward" not in name]:
        try:
            told[name] = SCENARIOS[name]()
        except (Exception, SystemExit) as error:
            if names:
                raise
            notes = getattr(error, "__notes__", [])
            told[name] = " ".join([f"{type(error).__name__}: {error}", *notes])
        Path(folder, f"{RANK}.pickle").write_bytes(pickle.dumps(told))


def fork() -> None:
    """Go on in a child: a launcher that forks keeps its own process until all are done."""
    child = os.fork()
    if child:
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    code = 1
    try:
        main(*sys.argv[1:])
        code = 0
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # not those of a launcher that forks
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    np.random.seed()  # noqa: NPY002 - forks draw the same, interpreters do not
    torch.set_num_threads(1)
    gc.freeze()  # a model that is wrapped or unwrapped has garbage collected: not in all modules
    fork() if RANK == 1 else main(*sys.argv[1:])
