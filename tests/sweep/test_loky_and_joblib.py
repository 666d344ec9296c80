from __future__ import annotations

import joblib
import pytest

from snn_estimators.sweep.executors import open_executor
from snn_estimators.sweep.executors.base import Task, pull


@pytest.mark.slow
def test_joblib_works_after_a_sweep_of_several_processes() -> None:
    with open_executor("loky", 2) as executor:
        done = list(pull(executor, [Task(number, abs, (-number,)) for number in range(3)]))
    assert sorted(one.result for one in done) == [0, 1, 2]
    assert joblib.Parallel(2)(joblib.delayed(abs)(-number) for number in range(3)) == [0, 1, 2]
