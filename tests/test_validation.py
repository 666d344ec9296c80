"""Unknown names are answered with what is most like them, wherever they are given."""

from __future__ import annotations

import pytest

from snn_estimators import SpikeDecoderLM, SpikingDecoder, load_corpus
from snn_estimators._validation import check_choices, suggest
from snn_estimators.energy.profiles import resolve_profile
from snn_estimators.estimators import language_model_class
from snn_estimators.text import make_tokenizer

MANY = [f"parameter_{i}" for i in range(50)]


def test_of_many_names_three_are_shown() -> None:
    message = suggest("paramter_7", MANY)
    assert "'parameter_7'" in message
    assert message.count("'") == 6
    assert suggest("zzz", MANY).count("'") == 6  # even if none is like it


def test_a_short_list_is_shown_whole_after_what_is_like_the_name() -> None:
    names = ["lif", "plif", "none"]
    assert suggest("lif2", names).startswith("did you mean 'lif'")
    assert suggest("lif2", names).endswith(f"Choose one of {names}.")
    assert suggest("zzz", names) == f"choose one of {names}."
    assert suggest(3, [1, 2]) == "choose one of [1, 2]."
    assert suggest("zzz", []) == "there is none."


def test_a_long_value_does_not_fill_the_screen() -> None:
    with pytest.raises(ValueError, match="neuron='aaa") as caught:
        check_choices({"neuron": ["lif", *MANY]}, neuron="a" * 10**6)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("give", "nearest"),
    [
        (lambda: SpikeDecoderLM(module__timestep=2), "timesteps"),
        (lambda: SpikeDecoderLM(timestep=2), "module__timesteps"),
        (lambda: SpikeDecoderLM().set_params(timestep=2), "module__timesteps"),
        (lambda: SpikeDecoderLM().set_params(module__timestep=2), "timesteps"),
        (lambda: SpikeDecoderLM().set_params(optimiser__lr=2), "optimizer__lr"),
        (lambda: SpikeDecoderLM.from_preset("spikdecoder"), "spikedecoder"),
        (lambda: language_model_class("spikgpt"), "spikegpt"),
        (lambda: load_corpus("python-doc"), "python-docs"),
        (lambda: make_tokenizer("chars"), "char"),
        (lambda: resolve_profile("45nm_sram"), "45nm-sram"),
        (lambda: SpikingDecoder(8, 8, neuron="lifs"), "lif"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(give, nearest) -> None:
    with pytest.raises((TypeError, ValueError), match=f"did you mean .*'{nearest}'") as caught:
        give()
    assert len(str(caught.value)) < 400
