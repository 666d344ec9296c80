"""Parts registered from outside of the package work in a grid, the energy table and saved files."""

from __future__ import annotations

import pytest
import torch
from published import published_decoder
from sklearn.model_selection import GridSearchCV
from tiny_language_model import TEXTS, tiny_model
from torch import nn

from snn_estimators import SpikeDecoderLM, language_model_scores
from snn_estimators.energy import (
    COUNTERS,
    HOROWITZ_45NM,
    FoldedNormCounter,
    Operations,
    measure,
    register_counter,
)
from snn_estimators.model_selection.grids import check_grid
from snn_estimators.nn import (
    ENCODINGS,
    NEURONS,
    NORMALIZATIONS,
    POSITION_ENCODINGS,
    READOUTS,
    SURROGATES,
    Code,
    Neuron,
    UpdateCost,
    register_encoding,
    register_neuron,
    register_normalization,
    register_position_encoding,
    register_readout,
    register_surrogate,
)
from snn_estimators.ops import LIFParameters, lif, spike
from snn_estimators.persistence.cache_key import parameter_keys

REGISTRIES = (
    *(ENCODINGS, NEURONS, NORMALIZATIONS, POSITION_ENCODINGS, READOUTS, SURROGATES, COUNTERS),
)


class Memoryless(Neuron):
    """Fires where its current reaches the threshold: a comparison, no membrane."""

    def __init__(self, threshold):
        super().__init__()
        self.threshold = threshold

    def forward(self, x):
        return spike(x - self.threshold)

    def update_cost(self):
        return UpdateCost(accumulates=1)


class Thermometer(Code):
    """Ones up to the id."""

    binary = True

    def __init__(self, options):
        super().__init__(options)
        self.width = options.size

    def forward(self, ids):
        return (torch.arange(self.width) <= ids[..., None]).float()


class Scale(nn.Module):
    """One trained factor a feature: a MAC a value."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x, valid=None):
        return self.weight * x


class ScaleCounter(FoldedNormCounter):
    def observe(self, which, args, output, tokens, sources):
        super().observe(which, args, output, tokens, sources)

    def normalization(self):
        return Operations(macs=self.stream.size)


@pytest.fixture
def registered():
    """Registries with the parts above, and as they were afterwards."""
    before = [dict(registry) for registry in REGISTRIES]
    register_neuron("memoryless", lambda options: Memoryless(options.v_threshold))
    register_encoding("thermometer", Thermometer)
    register_position_encoding("thermometer", Thermometer)
    register_normalization("scale", Scale)
    register_counter(Scale, lambda norm, around: ScaleCounter(norm=norm))
    register_readout("any", lambda x: x.amax(0), additive=False)
    register_surrogate("box", lambda u, alpha: (u.abs() < 0.5 / alpha).to(u.dtype))
    yield
    for registry, old in zip(REGISTRIES, before, strict=True):
        registry.clear()
        registry.update(old)


PARTS = {
    "module__neuron": "memoryless",
    "module__encoding": "thermometer",
    "module__normalization": "scale",
    "module__v_threshold": 0.1,
    "module__heads": 1,
    "module__float_embedding": False,
}
SEARCHED = {
    "module__neuron": ["lif", "memoryless"],
    "module__encoding": ["learned", "thermometer"],
    "module__normalization": ["layer", "scale"],
}


@pytest.mark.slow
@pytest.mark.usefixtures("registered")
def test_a_grid_finds_them():
    model = tiny_model(module__heads=1, max_epochs=1)
    assert check_grid(model, SEARCHED) == 8
    search = GridSearchCV(
        model, SEARCHED, cv=2, scoring=language_model_scores, refit=False, error_score="raise"
    )
    search.fit(TEXTS)
    scores = search.cv_results_["mean_test_neg_perplexity"]
    assert len(set(scores)) == 8  # each of them acts


@pytest.mark.slow
@pytest.mark.usefixtures("registered")
def test_the_energy_table_counts_them():
    model = tiny_model(**PARTS).fit(TEXTS)
    module, table = model.module_, model.energy(TEXTS).set_index("layer")
    width, timesteps = model.vocab_size_ + 2, 2
    assert module.width == width

    # id + 1 ones of each token; neither column of the positions 0 and 1 is negative.
    row = measure(module, torch.tensor([[3, 0]])).set_index("layer").loc["encoding"]
    assert row["spike_rate"] == pytest.approx((3 + 1 + 0 + 1 + 2 * 2) / (2 * width))

    neurons = table[table["kind"] == "neuron"]
    updates = {"blocks.0.feed_forward.expand.neuron": 4 * width}
    for layer, found in neurons.iterrows():
        expected = timesteps * updates.get(layer, width)
        assert found["n_values"] == pytest.approx(expected)
        assert found["neuron_pj"] == pytest.approx(HOROWITZ_45NM.pj_per_ac * expected)
    assert len(neurons) == 8 and neurons["spike_rate"].max() > 0

    query = table.loc["blocks.0.attention.query.norm"]
    assert query["normalization_pj"] == pytest.approx(HOROWITZ_45NM.pj_per_mac * timesteps * width)


@pytest.mark.slow
@pytest.mark.usefixtures("registered")
def test_a_saved_model_has_them(tmp_path):
    model = tiny_model(**PARTS).fit(TEXTS)
    again = SpikeDecoderLM.from_pretrained(model.save_pretrained(tmp_path / "model"))
    assert isinstance(again.module_.head.neuron, Memoryless)
    assert again.score_samples(TEXTS).tolist() == model.score_samples(TEXTS).tolist()
    NEURONS.pop("memoryless")
    with pytest.raises(ValueError, match="neuron='memoryless' is unknown"):
        SpikeDecoderLM.from_pretrained(tmp_path / "model")


@pytest.mark.slow
@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("option", "register", "before", "after"),
    [
        ("neuron", register_neuron, lambda o: Memoryless(1.0), lambda o: Memoryless(2.0)),
        ("normalization", register_normalization, Scale, nn.LayerNorm),
        ("readout", register_readout, lambda x: x.amax(0), lambda x: x.amin(0)),
    ],
)
def test_a_cached_fit_is_known_by_the_code(option, register, before, after):
    model, other = tiny_model(**{f"module__{option}": "changing"}), tiny_model()
    others = parameter_keys(other)
    register("changing", before)
    first = parameter_keys(model)
    assert parameter_keys(model) == first
    register("changing", after, replace=True)
    assert parameter_keys(model) != first
    assert parameter_keys(other) == others  # it does not use what was registered


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("neuron", "memoryless"),
        ("encoding", "thermometer"),
        ("position_encoding", "thermometer"),
        ("normalization", "scale"),
        ("readout", "any"),
        ("surrogate", "box"),
    ],
)
def test_an_unknown_name_gives_the_registered_ones(option, name):
    with pytest.raises(ValueError, match=f"{option}='none such' is unknown; .*'{name}'"):
        published_decoder(11, 8, **{option: "none such"})
    logits = published_decoder(11, 8, heads=1, **{option: name})(torch.arange(8)[None])
    assert logits.shape == (1, 8, 11)


@pytest.mark.usefixtures("registered")
def test_names_are_taken_once():
    with pytest.raises(ValueError, match="neuron 'lif' is registered already"):
        register_neuron("lif", lambda options: Memoryless(1.0))
    register_normalization("scale", nn.LayerNorm, replace=True)
    assert NORMALIZATIONS["scale"] is nn.LayerNorm
    with pytest.raises(ValueError, match="name='' must be"):
        register_encoding("", Thermometer)
    with pytest.raises(ValueError, match="Scale has a counter already"):
        register_counter(Scale, lambda norm, around: FoldedNormCounter(norm=norm))


@pytest.mark.usefixtures("registered")
def test_neurons_must_declare_their_cost():
    register_neuron("identity", lambda options: nn.Identity())
    with pytest.raises(TypeError, match="neuron='identity' makes Identity, which is no Neuron"):
        published_decoder(11, 8, neuron="identity")
    register_neuron("nameless", lambda options: Neuron())
    with pytest.raises(NotImplementedError, match="Neuron must define update_cost"):
        published_decoder(11, 8, neuron="nameless").head.neuron.update_cost()


@pytest.mark.usefixtures("registered")
def test_a_surrogate_without_a_compiled_form_differentiates_by_the_reference():
    x, parameters = torch.rand(4, 5).requires_grad_(), LIFParameters(surrogate="box")
    found, expected = (
        torch.autograd.grad(lif(x, parameters, backend=backend).spikes.sum(), x)[0]
        for backend in ("auto", "reference")
    )
    assert torch.equal(found, expected) and found.any()
    with pytest.raises(ValueError, match="backend='numba' has no form of surrogate='box'"):
        lif(x, parameters, backend="numba")


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("spiking", [True, False])
def test_readouts_that_are_no_sums_are_counted_behind(spiking):
    torch.manual_seed(0)
    options = {"heads": 1, "blocks": 1, "timesteps": 3, "readout": "any", "v_threshold": 0.3}
    module = published_decoder(11, 8, spiking_head=spiking, **options).eval()
    tokens = torch.arange(8)[None]
    row = measure(module, tokens).set_index("layer").loc["head.linear"]
    read = module.features(tokens).sum().item() if spiking else 0
    assert row["accumulates"] == pytest.approx(read * 11 / 8)
    assert row["macs"] == (0 if spiking else module.n_features * 11)
    assert not spiking or read > 0


def test_codes_that_are_added_must_be_of_one_width():
    class Narrow(Code):
        binary = False

        def __init__(self, options):
            super().__init__(options)
            self.width = 3

    register_encoding("narrow", Narrow)
    try:
        with pytest.raises(ValueError, match=r"encoding='narrow' is 3 wide .* 30"):
            published_decoder(5, encoding="narrow", combine_position=True, token_dim=30, heads=1)
    finally:
        del ENCODINGS["narrow"]


@pytest.mark.parametrize(
    "flag",
    [
        *("combine_position", "float_embedding", "first_block_spiking_residual", "spiking_head"),
        *("float_readout", "learnable_threshold", "detach_reset", "signed"),
    ],
)
def test_a_flag_is_true_or_false(flag):
    with pytest.raises(ValueError, match=f"{flag}='no' must be True or False"):
        published_decoder(5, **{flag: "no"})
