from __future__ import annotations

import warnings

import pytest
from tiny_language_model import TEXTS, tiny_model


@pytest.mark.slow
def test_a_warning_points_to_the_users_line(tmp_path) -> None:
    model = tiny_model(max_epochs=1, random_state=None, memory=tmp_path)
    with pytest.warns(UserWarning, match="random_state=None") as caught:
        model.fit(TEXTS)
    assert {warning.filename for warning in caught} == {__file__}


@pytest.mark.slow
def test_it_is_shown_for_each_of_them(tmp_path) -> None:
    model = tiny_model(max_epochs=1, random_state=None, memory=tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")  # once a line
        model.fit(TEXTS)
        model.fit(TEXTS)
    assert len({warning.lineno for warning in caught}) == 2
