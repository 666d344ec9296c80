from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from snn_estimators.model_selection import plot_effects, plot_pareto, results_table


def draw(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


@pytest.mark.slow
def test_every_front_point_is_numbered_and_listed(big_results):
    table = results_table(big_results)
    axes = plot_pareto(table).axes[0]
    texts = [text.get_text() for text in axes.texts]
    front = int(table["pareto"].sum())
    assert texts[:-1] == [str(number) for number in range(1, front + 1)]
    assert len(texts[-1].splitlines()) == 2 + front + 2
    header, *rows = [line.split() for line in texts[-1].splitlines()[1 : 2 + front]]
    assert header == ["timesteps", "heads", "encoding", "detach_reset"]
    chosen = (
        table[table["pareto"]].sort_values("energy_with_memory_per_token_nj")[header].astype(str)
    )
    assert [row[1:] for row in rows] == chosen.to_numpy().tolist()
    assert axes.get_yscale() == "log"


def test_narrow_ranges_stay_linear():
    table = pd.DataFrame(
        {"heads": [1, 2], "perplexity": [8.0, 9.0], "energy_with_memory_per_token_nj": [3.0, 2.0]}
    ).assign(pareto=True)
    axes = plot_pareto(table).axes[0]
    assert axes.get_xscale() == axes.get_yscale() == "linear"


@pytest.mark.slow
def test_effects_has_a_panel_for_each_parameter_and_metric(big_results):
    figure = plot_effects(results_table(big_results))
    assert len(figure.axes) == 4 * 2
    assert [axes.get_xlabel() for axes in figure.axes if axes.get_xlabel()] == [
        "timesteps",
        "heads",
        "encoding",
        "detach_reset",
    ]
    limits = {axes.get_ylim() for axes in figure.axes[:4]}
    assert len(limits) == 1


@pytest.mark.slow
def test_effects_wrap_after_four_parameters():
    rng = np.random.default_rng(0)
    runs = [
        {
            **{f"p{i}": int(rng.integers(3)) for i in range(6)},
            "test_neg_perplexity": [-rng.random()],
        }
        for _ in range(30)
    ]
    figure = plot_effects(results_table(runs))
    assert len(figure.axes) == 6
    assert draw(figure)


@pytest.mark.slow
def test_candidates_without_a_parameter_are_a_dash_at_the_end(one_at_a_time):
    table = results_table(one_at_a_time)
    ticks = {
        axes.get_xlabel(): [label.get_text() for label in axes.get_xticklabels()]
        for axes in plot_effects(table).axes
    }
    assert ticks["token_shift"] == ["0", "1", "2"]
    assert ticks["attention_decay"] == ["learned", "none"]
    assert ticks["float_embedding (others vary)"] == ["False", "-"]
    assert "nan" not in plot_pareto(table).axes[0].texts[-1].get_text()


@pytest.mark.slow
@pytest.mark.parametrize("plot", [plot_pareto, plot_effects])
def test_failures_and_gaps_do_not_hinder(plot, failing_search):
    assert draw(plot(results_table(failing_search)))
    nothing = pd.DataFrame({"heads": [1, 2], "perplexity": [np.nan, np.nan]})
    assert draw(plot(nothing))
    mixed = pd.DataFrame({"a": [1, "x", np.nan], "perplexity": [1.0, np.inf, 3.0]})
    assert draw(plot(mixed))


@pytest.mark.slow
def test_the_same_table_gives_the_same_plot(big_results):
    table = results_table(big_results)
    assert draw(plot_pareto(table)) == draw(plot_pareto(table.copy()))


def test_another_cost_has_a_front_of_its_own():
    table = pd.DataFrame(
        {
            "heads": [1, 2],
            "perplexity": [8.0, 9.0],
            "energy_per_token_nj": [1.0, 2.0],
            "energy_with_memory_per_token_nj": [3.0, 2.0],
            "pareto": [True, True],
        }
    )
    axes = plot_pareto(table, cost="synaptic").axes[0]
    assert axes.get_xlabel() == "energy (nJ/token)"
    assert [text.get_text() for text in axes.texts[:-1]] == ["1"]  # the other one costs more
    assert plot_pareto(table).axes[0].get_xlabel() == "with memory (nJ/token)"
