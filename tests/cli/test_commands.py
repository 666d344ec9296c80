"""All commands but ``sweep``."""

from __future__ import annotations

import pytest

from snn_estimators.cli.options import LanguageModelName
from snn_estimators.estimators import LANGUAGE_MODELS

TINY_FIT = ["--steps=3", "--length=16", "--set=blocks=1", "--set=timesteps=1", "--set=heads=1"]
BPE = ["--set=tokenizer=bpe", "--set=tokenizer__vocab_size=270"]


@pytest.mark.slow
def test_fit_score_generate_energy(run, tale, tmp_path):
    model = tmp_path / "model"
    code, output, errors = run("fit", tale, "--output", model, "--clean", *TINY_FIT)
    assert code == 0, errors
    assert "perplexity" in output

    code, output, errors = run("score", model, tale)
    assert code == 0, errors
    assert [line.split("  ")[0] for line in output.splitlines()] == [
        "perplexity", "bits per character", "accuracy",
    ]  # fmt: skip

    code, output, errors = run("generate", model, "the cat", "--tokens=12", "--seed=1")
    assert code == 0, errors
    assert output.startswith("the cat")
    assert len(output) == len("the cat") + 12 + 1
    assert run("generate", model, "The\tCat", "--tokens=12", "--seed=1")[1] == output

    code, output, errors = run("energy", model, tale)
    assert code == 0, errors
    assert "nJ per token" in output
    assert "energy_pj" in output


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", [["--set=tokenizer=word"], ["--set=tokenizer=char"], BPE])
def test_models_of_cleaned_text_clean_whatever_they_are_given(run, tale, tmp_path, tokenizer):
    model = tmp_path / "model"
    code, _, errors = run("fit", tale, "--output", model, "--clean", *tokenizer, *TINY_FIT)
    assert code == 0, errors
    clean = tmp_path / "clean.txt"
    clean.write_text("the cat. the dog. " * 9)
    raw = tmp_path / "raw.txt"
    raw.write_text("THE CAT!\nThe;Dog? " * 9)
    assert run("score", model, raw) == run("score", model, clean)
    assert run("energy", model, raw) == run("energy", model, clean)
    output = run("generate", model, "The CAT!", "--tokens=5", "--seed=1")[1]
    assert output.startswith("the cat. ")
    assert output == run("generate", model, "the cat. ", "--tokens=5", "--seed=1")[1]


@pytest.mark.slow
def test_models_of_raw_text_take_it_as_it_is(run, tale, tmp_path):
    model = tmp_path / "model"
    code, _, errors = run("fit", tale, "--output", model, "--raw", *BPE, *TINY_FIT)
    assert code == 0, errors
    assert run("generate", model, "The CAT!", "--tokens=5")[1].startswith("The CAT!")


@pytest.mark.slow
def test_a_word_model_sets_its_words_apart_from_the_prompt(run, tale, tmp_path):
    model = tmp_path / "model"
    code, _, errors = run("fit", tale, "--output", model, "--set=tokenizer=word", *TINY_FIT)
    assert code == 0, errors
    for prompt in ("The cat", "The cat "):
        output = run("generate", model, prompt, "--tokens=3", "--seed=1")[1]
        assert output.startswith("The cat ")
        assert len(output.split()) == 2 + 3
        assert "  " not in output


@pytest.mark.slow
def test_parameters_of_another_tokenizer_are_known(run, tale, tmp_path):
    from snn_estimators import SpikeDecoderLM

    for options in (["--clean"], ["--raw"]):
        code, _, errors = run(
            "fit", tale, "--output", tmp_path / "model", *options, *TINY_FIT,
            "--set=tokenizer__min_frequency=2", "--set=tokenizer=word",
        )  # fmt: skip
        assert code == 0, errors
    model = SpikeDecoderLM.from_pretrained(tmp_path / "model")
    assert model.tokenizer_.min_frequency == 2


@pytest.mark.slow
def test_models_of_token_ids_are_errors(run, tale, tmp_path):
    from snn_estimators import SpikeDecoderLM

    sizes = {"max_len": 4, "blocks": 1, "heads": 1, "timesteps": 1}
    model = SpikeDecoderLM(
        tokenizer=None, max_steps=1, **{f"module__{name}": size for name, size in sizes.items()}
    )
    model.fit([[0, 1, 2, 0, 1, 2]]).save_pretrained(tmp_path / "ids")
    for command in (["score", tmp_path / "ids", tale], ["generate", tmp_path / "ids"]):
        code, output, errors = run(*command)
        assert code == 2
        assert "token ids" in errors
        assert output == ""


@pytest.mark.slow
def test_nothing_is_printed_before_an_error(run, tale, tmp_path):
    model = tmp_path / "model"
    assert run("fit", tale, "--output", model, *TINY_FIT)[0] == 0
    for option in ("--top-p=2", "--seed=-1"):
        code, output, errors = run("generate", model, "the", option)
        assert code == 2
        assert output == ""
        assert errors.startswith("error: ")


@pytest.mark.slow
def test_a_fit_that_was_interrupted_is_saved_and_scored(run, tale, tmp_path, monkeypatch):
    from snn_estimators import SpikeDecoderLM

    steps = []
    real = SpikeDecoderLM.train_step

    def train_step(self, *args, **kwargs):
        steps.append(1)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return real(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(SpikeDecoderLM, "train_step", train_step)
        with pytest.warns(UserWarning, match="interrupted"):
            code, output, errors = run("fit", tale, "--output", tmp_path / "model", *TINY_FIT)
    assert code == 0, errors
    assert "perplexity" in output
    assert run("score", tmp_path / "model", tale)[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("done", [0, 2])
def test_a_fit_that_diverges_keeps_what_it_learned(run, tale, tmp_path, monkeypatch, done):
    from snn_estimators import SpikeDecoderLM

    model, steps = tmp_path / "model", []
    real = SpikeDecoderLM.get_loss

    def get_loss(self, *args, **kwargs):
        steps.append(1)
        return real(self, *args, **kwargs) * (float("nan") if len(steps) > done else 1.0)

    monkeypatch.setattr(SpikeDecoderLM, "get_loss", get_loss)
    code, _, errors = run("fit", tale, "--output", model, *TINY_FIT)
    assert code == 2
    assert "error: The loss or its gradient is not finite" in errors
    assert (f"saved in {model}" in errors) == (done > 0)
    assert model.exists() == (done > 0)
    if done:
        monkeypatch.undo()
        assert run("score", model, tale)[0] == 0


@pytest.mark.parametrize(("text", "tokenizer"), [("abcdefghij", "char"), ("a b " * 4, "word")])
def test_a_short_text_is_fitted_without_a_score(run, tmp_path, text, tokenizer):
    (tmp_path / "short.txt").write_text(text)
    code, output, errors = run(
        "fit", tmp_path / "short.txt", "--output", tmp_path / "model",
        f"--set=tokenizer={tokenizer}", *TINY_FIT,
    )  # fmt: skip
    assert code == 0, errors
    assert "saved in" in output
    assert "too little to score" in output


def test_a_folder_that_cannot_be_saved_in_is_an_error_before_training(run, tale, monkeypatch):
    from snn_estimators import SpikeDecoderLM

    monkeypatch.setattr(SpikeDecoderLM, "fit", lambda *_: pytest.fail("a fit was started"))
    for output, message in (
        (tale, "holds no model"),
        (tale / "below", "cannot write into"),
        ("some/where", "no model name"),
    ):
        code, _, errors = run("fit", tale, "--output", output)
        assert code == 2
        assert message in errors


def test_missing_models_are_errors(run, tale, tmp_path):
    for command in (["score", tmp_path / "none", tale], ["generate", tmp_path / "none"]):
        code, _, errors = run(*command)
        assert code == 2
        assert "none" in errors
        assert "Traceback" not in errors


def test_corpora_are_listed(run):
    code, output, _ = run("corpora")
    assert code == 0
    assert "python-docs" in output


def test_help_names_every_command(run):
    code, output, _ = run("--help")
    assert code == 0
    for command in ("sweep", "fit", "models", "score", "generate", "energy", "corpora"):
        assert command in output


@pytest.mark.slow
def test_a_named_fit_is_resumed(run, tale, tmp_path, home):
    command = ["fit", tale, "--name", "GPT-1", "--save-every=2", *TINY_FIT]
    code, output, errors = run(*command)
    assert code == 0, errors
    assert f"saved in {home / 'GPT-1'}" in output
    assert run("score", "GPT-1", tale)[0] == 0
    code, _, errors = run(*command)
    assert code == 2
    assert "'GPT-1' is taken" in errors
    again = run(*command, "--resume", "--output", tmp_path / "model")
    assert again[0] == 0
    assert output.splitlines()[1:] == again[1].splitlines()[1:]
    assert run("score", tmp_path / "model", tale)[1] == run("score", "GPT-1", tale)[1]
    code, _, errors = run(*command, "--resume", "--steps=4")
    assert code == 2
    assert "max_steps (saved 3, given 4)" in errors


@pytest.mark.slow
def test_a_spikegpt_is_trained_and_used(run, tale, home):
    size = ["--model=spikegpt", "--steps=2", "--length=16", "--set=n_layer=1", "--set=n_embd=8"]
    code, _, errors = run("fit", tale, "--name=GPT-2", *size)
    assert code == 0, errors
    code, output, errors = run("generate", "GPT-2", "the", "--tokens=4", "--seed=1")
    assert code == 0, errors
    assert len(output) == len("the") + 4 + 1


@pytest.mark.slow
def test_what_is_saved_is_listed(run, tale, home):
    assert "nothing is saved" in run("models")[1]
    assert run("fit", tale, "--name=GPT-1", *TINY_FIT)[0] == 0
    assert run("fit", tale, "--output=cats", *TINY_FIT)[0] == 0
    (home / "cats" / "model.safetensors").write_bytes(b"cut")
    code, output, errors = run("models")
    assert code == 0, errors
    lines = {line.split()[0]: line for line in output.splitlines() if line.strip()}
    assert "finished" in lines["GPT-1"]
    assert "damaged" in lines["cats"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--output FOLDER, or --name NAME"),
        (["--name=a/b"], "name must be None or"),
        (["--output=a", "--resume"], "resume=True needs a name"),
    ],
)
def test_names_that_make_no_sense(run, tale, home, options, message):
    code, _, errors = run("fit", tale, *options, *TINY_FIT)
    assert code == 2
    assert message in errors
    assert not home.exists() or not any(home.iterdir())


@pytest.mark.slow
def test_classifiers_are_errors(run, tale, tmp_path):
    from snn_estimators import SpikeGPTClassifier

    model = SpikeGPTClassifier(module__n_layer=1, module__n_embd=4, max_steps=1, device="cpu")
    model.fit(["good", "bad"] * 4, [1, 0] * 4).save_pretrained(tmp_path / "judge")
    for command in ("score", "energy", "generate"):
        code, _, err = run(command, tmp_path / "judge", tale)
        assert code == 2
        assert "is a SpikeGPTClassifier, not a language model" in err


def test_one_place_is_not_given_twice(run, tale, home):
    code, _, err = run("fit", tale, "--name", "GPT-1", "--output", "GPT-1", "--steps", "1")
    assert code == 2
    assert "leave --output out" in err


def test_the_models_of_the_command_line_are_the_librarys():
    assert [*LanguageModelName] == [*LANGUAGE_MODELS]


def test_a_device_that_is_not_there(run, tale, tmp_path):
    model = tmp_path / "model"
    for command in (["fit", tale, "--output", model], ["score", model, tale], ["sweep", tale]):
        code, _, errors = run(*command, "--device=cuda:99")
        assert code == 2
        assert errors.startswith("error: device='cuda:99' is not there, ")
        assert 'device="cpu"' in errors
    assert not model.exists()
