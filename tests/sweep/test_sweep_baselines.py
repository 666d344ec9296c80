"""What a sweep sets beside its candidates: n-grams, and twins without spikes."""

from __future__ import annotations

import shutil
from functools import partial

import numpy as np
import pytest
from no_plots import skip_plots
from tiny_sweep import TALE, TINY

from snn_estimators import NGramLM, SpikeDecoderLM, WindowKFold, split_windows
from snn_estimators.model_selection import plot_pareto
from snn_estimators.model_selection.baselines import largest_twin_within
from snn_estimators.sweep import Sweep, baselines, prepare_text, sweep_model

pytestmark = pytest.mark.slow
GRID = {"heads": [1, 2], "levels": [4]}


SPIKING = {"neuron": "graded", "timesteps": 1}


@pytest.fixture
def spiking():
    return sweep_model(**TINY | SPIKING)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """The folder and the result of a sweep with baselines, which tests never change."""
    output = tmp_path_factory.mktemp("compared")
    with pytest.MonkeyPatch.context() as patch:
        skip_plots(patch)
        options = {"estimator": sweep_model(**TINY | SPIKING), "length": 16, "n_jobs": 1}
        return output, Sweep(GRID, TALE, baselines=True, output=output, **options).run()


@pytest.fixture
def two_shapes(monkeypatch):
    """Choose the twin of the same cost among two."""
    few = partial(largest_twin_within, shapes=[(1, 8), (1, 16)])
    monkeypatch.setattr(baselines, "largest_twin_within", few)


def rows_of(table):
    return table.dropna(subset="baseline").set_index("baseline")


def test_n_grams_and_twins_stand_in_the_table(compared):
    _, result = compared
    baselines, candidates = rows_of(result.table), result.table[result.table["baseline"].isna()]
    assert set(baselines.index) == {"bigram", "trigram", "twin of its size", "twin of its cost"}
    assert len(candidates) == 2
    assert baselines[["heads", "levels"]].isna().all(axis=None)
    assert result.table["rank"].tolist() == [1, 2, 3, 4, 5, 6]
    best = candidates.iloc[0]
    assert baselines.loc["twin of its size", "n_parameters"] == best["ann_n_parameters"]
    cost = "energy_with_memory_per_token_nj"
    assert baselines.loc["twin of its cost", cost] <= best[cost]
    assert baselines[["spike_rate"]].isna().all(axis=None)
    assert isinstance(result.best, SpikeDecoderLM)
    assert result.best.get_params()["module__neuron"] == "graded"
    assert result.run["candidates"] == {"done": 2, "planned": 2}
    assert result.complete


def test_n_grams_are_counted_on_the_folds_of_the_candidates(compared, tiny):
    _, result = compared
    (text,) = TALE.values()
    windows = split_windows(prepare_text(text), 17)
    perplexities = []
    for train, test in WindowKFold(2, length=17).split(windows):
        model = NGramLM(2, tokenizer=tiny.tokenizer).fit([windows[i] for i in train])
        perplexities.append(model.perplexity([windows[i] for i in test]))
    assert rows_of(result.table).loc["bigram", "perplexity"] == pytest.approx(np.mean(perplexities))


def test_a_finished_sweep_trains_no_twin_again(compared, make, spiking, steps, tmp_path):
    folder, first = compared
    output = shutil.copytree(folder, tmp_path / "out")
    again = make(GRID, estimator=spiking, baselines=True, output=output).run()
    assert not steps
    assert again.run["fits"] == {"done": 8, "taken_over": 8}
    assert again.table["perplexity"].tolist() == first.table["perplexity"].tolist()


def test_a_spent_budget_leaves_them_for_the_next_run(make, spiking, two_shapes, tmp_path):
    options = {"estimator": spiking, "baselines": True, "output": tmp_path}
    result = make(GRID, budget=4, **options).run()
    assert not result.complete
    assert make(GRID, **options).run().complete


def test_what_does_not_spike_has_no_twin(make, spiking):
    spiking.set_params(module__spike_degree=0)
    table = make({"heads": [1, 2]}, estimator=spiking, baselines=True).run().table
    assert set(rows_of(table).index) == {"bigram", "trigram"}


def test_seeds_compare_candidates_alone(make, spiking, two_shapes):
    table = make(GRID, estimator=spiking, baselines=True, seeds=2).run().table
    assert rows_of(table)["p_value"].isna().all()
    assert table["difference"].notna().sum() == 2


def test_the_plot_shows_the_line_of_the_twins(compared):
    legend = plot_pareto(compared[1].table).axes[0].get_legend().get_texts()
    assert {text.get_text() for text in legend} == {"non-spiking twins", "bigram", "trigram"}


def test_it_takes_a_truth_value(make):
    with pytest.raises(ValueError, match="baselines"):
        make(GRID, baselines="no").run()
