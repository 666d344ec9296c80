"""The loop of a sweep, with an executor that completes tasks in any order or loses them."""

from __future__ import annotations

import time
from contextlib import contextmanager

import pytest
from sklearn.exceptions import FitFailedWarning
from tiny_sweep import TALE, TINY

from snn_estimators.model_selection.scoring import SCORES
from snn_estimators.sweep import Sweep, SweepInterrupted, runner, sweep_model
from snn_estimators.sweep.budget import Budget
from snn_estimators.sweep.executors import base
from snn_estimators.sweep.executors.base import (
    Completed,
    Executor,
    Task,
    TaskNotStartedError,
    WorkerDiedError,
    WorkersLostError,
    pull,
)
from snn_estimators.sweep.worker import FitResult

FIGURES = dict.fromkeys(SCORES, -3.0)


class Fake(Executor):
    """Completes the newest task first, in this process; `events` are the calls."""

    def __init__(self, slots=2, errors=None):
        self.n_slots = slots
        self.errors = dict(errors or {})
        self.tasks = []
        self.events = []

    def slots(self):
        if isinstance(self.n_slots, Exception):
            raise self.n_slots
        return self.n_slots

    def submit(self, number, function, *args):
        self.events.append(f"submit {number}")
        if isinstance(self.errors.get(number), TypeError):
            raise self.errors[number]
        self.tasks.append(Task(number, function, args))

    def wait(self, timeout):
        if not self.tasks:
            time.sleep(timeout)
            return []
        number, function, args = self.tasks.pop()
        self.events.append(f"complete {number}")
        error = self.errors.get(number)
        if error is not None:
            return [Completed(number, error=error)]
        return [Completed(number, function(*args))]

    def cancel(self):
        self.events.append("cancel")


def tasks(count):
    return [Task(number, abs, (-number,)) for number in range(count)]


# The loop itself


def test_a_task_is_submitted_when_there_is_a_slot_and_not_before():
    fake = Fake()
    assert [one.result for one in pull(fake, tasks(4))] == [1, 2, 3, 0]
    assert " ".join(fake.events) == (
        "submit 0 submit 1 complete 1 submit 2 complete 2 submit 3 complete 3 complete 0 cancel"
    )


def test_workers_that_join_late_get_tasks():
    fake = Fake(slots=1)
    results = pull(fake, tasks(5))
    assert next(results).number == 0
    fake.n_slots = 3
    assert next(results).number == 3
    assert fake.events == [
        *("submit 0", "complete 0", "submit 1", "submit 2", "submit 3", "complete 3"),
    ]


def test_results_that_come_together_leave_no_slot_empty():
    class Both(Fake):
        def wait(self, timeout):
            return [one for _ in range(len(self.tasks)) for one in super(Both, self).wait(timeout)]

    fake = Both()
    results = pull(fake, tasks(4))
    next(results), next(results)
    assert "submit 2" in fake.events


def test_a_loop_that_is_left_cancels_what_is_pending():
    fake = Fake()
    results = pull(fake, tasks(9))
    next(results)
    results.close()
    assert fake.events[-1] == "cancel"
    assert "submit 3" not in fake.events


def test_a_task_that_cannot_be_sent_is_completed_with_its_error():
    fake = Fake(errors={1: TypeError("cannot pickle"), 2: TypeError("cannot pickle")})
    done = {one.number: one for one in pull(fake, tasks(4))}
    assert [str(done[number].error) for number in (1, 2)] == ["cannot pickle"] * 2
    assert [done[number].result for number in (0, 3)] == [0, 3]


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(base, "PATIENCE", 0.1)
    monkeypatch.setattr(base, "LOOK_EVERY", 0.02)


@pytest.mark.parametrize("slots", [0, OSError("the scheduler is dead")])
def test_a_cluster_without_workers_gets_one_task_and_some_time(impatient, slots):
    class Waiting(Fake):
        def wait(self, timeout):
            time.sleep(timeout)
            return []

    fake = Waiting(slots)
    with pytest.raises(WorkersLostError) as error:
        next(pull(fake, tasks(9)))
    assert error.value.numbers == [0]
    assert error.value.__cause__ is (slots or None)
    assert fake.events == ["submit 0", "cancel"]


def test_workers_that_come_back_in_time_are_waited_for(impatient):
    class Back(Fake):
        def wait(self, timeout):
            if not self.n_slots:
                self.n_slots = 1
                return []
            return super().wait(timeout)

    assert [one.result for one in pull(Back(slots=0), tasks(2))] == [0, 1]


def test_a_lost_scheduler_is_an_error_of_all_that_is_pending():
    fake = Fake(slots=3, errors={2: WorkersLostError()})
    with pytest.raises(WorkersLostError) as error:
        list(pull(fake, tasks(9)))
    assert error.value.numbers == [0, 1, 2]


# The runner


@pytest.fixture
def make(monkeypatch):
    """Make a sweep whose fits take no time, on a fake executor."""

    def make(fake, grid=None, result=None, **options):
        opened = []

        @contextmanager
        def open_executor(*args, **kwargs):
            opened.append((args, kwargs))
            yield fake

        def fit_and_score(number, fit, text, context):
            fake.contexts.append(context)
            return FitResult(1.0, FIGURES) if result is None else result(fit)

        fake.contexts, fake.opened = [], opened
        monkeypatch.setattr(runner, "open_executor", open_executor)
        monkeypatch.setattr(runner, "fit_and_score", fit_and_score)
        options = {"estimator": sweep_model(**TINY), "length": 16, "n_jobs": 2} | options
        return Sweep({"heads": [1, 2]} if grid is None else grid, TALE, baselines=False, **options)

    return make


def test_results_are_noted_as_they_come(make):
    seen = []

    def result(fit):
        seen.append((fit.model.module__heads, fit.fold))
        return FitResult(1.0, FIGURES)

    swept = make(Fake(), result=result).run()
    assert seen == [(1, 1), (2, 0), (2, 1), (1, 0)]
    assert swept.fits[["heads", "fold"]].to_numpy().tolist() == [[1, 0], [1, 1], [2, 0], [2, 1]]


def test_all_rungs_of_a_sweep_share_one_executor(make):
    fake = Fake()
    swept = make(fake, halving=2).run()
    assert len(fake.opened) == 1
    assert swept.run["fits"]["done"] == 6


@pytest.mark.parametrize(("budget", "done"), [(1, 1), (3, 3), (4, 4), (9, 4)])
def test_a_budget_is_kept_whatever_the_number_of_slots(make, budget, done):
    fake = Fake(slots=8)
    swept = make(fake, budget=budget).run()
    assert swept.run["fits"]["done"] == done
    assert len([one for one in fake.events if one.startswith("submit")]) == done


def test_time_that_is_spent_starts_no_fit(make, monkeypatch):
    fake, now = Fake(slots=1), [0.0]
    monkeypatch.setattr("snn_estimators.sweep.budget.time.monotonic", lambda: now[0])

    def result(fit):
        now[0] += 20.0
        return FitResult(1.0, FIGURES)

    assert Budget("30s").take()
    swept = make(fake, result=result, budget="30s").run()
    assert swept.run["fits"]["done"] == 2
    assert not swept.complete


def test_a_lost_task_is_a_result(make):
    errors = {0: WorkerDiedError(), 1: TypeError("cannot pickle"), 2: RuntimeError("it broke")}
    with pytest.warns(FitFailedWarning, match="3 of 4 fits failed"):
        swept = make(Fake(errors=errors)).run()
    failures = swept.fits["failure"].tolist()
    assert failures[0].startswith("the process of this fit died")
    assert failures[1:3] == ["TypeError: cannot pickle", "RuntimeError: it broke"]
    assert swept.complete


@pytest.mark.parametrize("budget", [None, 1])
@pytest.mark.parametrize("reason", [None, "Traceback\n  ...\nImportError: it is not there\n"])
def test_processes_that_never_start_a_fit_end_the_sweep(make, tmp_path, budget, reason):
    error = TaskNotStartedError()
    error.__cause__ = RuntimeError("the pool broke")
    error.__cause__.__cause__ = None if reason is None else RuntimeError(reason)
    options = {"budget": budget, "memory": tmp_path / "memory", "fresh": True}
    with pytest.raises(RuntimeError) as raised:
        make(Fake(slots=1, errors={0: error}), **options).run()
    message = str(raised.value)
    cause = "the pool broke" if reason is None else "ImportError: it is not there"
    assert f"end before they start tale,heads=1,seed=0,fold=0 ({cause})" in message
    assert "0 of 4 fits are done and kept" in message
    assert "move user-defined classes and functions to a module" in message
    assert "or set n_jobs=1, and run the same again without fresh to resume" in message


def test_a_lost_cluster_ends_the_sweep_with_the_names_of_what_is_pending(make):
    fake = Fake(errors={2: WorkersLostError()})
    with pytest.raises(
        ConnectionError, match=r"has no workers.* 1 of 4 fits are done and lost"
    ) as e:
        make(fake).run()
    assert "tale,heads=1,seed=0,fold=0 and tale,heads=2,seed=0,fold=0 pending" in str(e.value)
    assert fake.events[-1] == "cancel"


def test_ctrl_c_cancels_what_is_pending(make):
    def result(fit):
        if fit.model.module__heads == 2:
            raise KeyboardInterrupt
        return FitResult(1.0, FIGURES)

    fake = Fake()
    with pytest.raises(SweepInterrupted, match="1 of 4 fits done"):
        make(fake, result=result).run()
    assert fake.events[-1] == "cancel"


def test_ctrl_c_that_a_worker_notices_first_ends_the_sweep(make):
    with pytest.raises(SweepInterrupted, match="1 of 4 fits done"):
        make(Fake(errors={2: KeyboardInterrupt()})).run()


@pytest.mark.parametrize("engine", ["loky", "dask"])
def test_engines_of_this_machine_start_one_process_a_gpu(make, engine, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(runner, "_gpus", lambda estimator: (3, True))
    fake, seen = Fake(), []

    def result(fit):
        seen.append(fake.contexts[-1].gpu_locks.is_dir())
        return FitResult(1.0, FIGURES)

    make(fake, result=result, engine=engine, n_jobs=None).run()
    (((_, n_jobs), _),) = fake.opened
    assert n_jobs == 3
    assert seen == [True] * 4
    assert {context.gpus for context in fake.contexts} == {3}
