"""Make ``results/README.md`` from the files of the result folders.

A folder is a section: its ``notes.md`` (title and findings), the command and the machine of its
``run.json``, its pictures that are named here, and its ``results.md``. With ``--check``, change
nothing and fail if the committed file is not what this makes.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

RESULTS = Path(__file__).parent
PICTURES = {  # of each folder, in the order of the sections; folders without pictures may follow
    "sweep": ("effects", "pareto"),
    "recipes": ("pareto",),
    "spikedecoder_spikegpt": ("fronts", "pareto"),
    "beyond_bigrams": ("pareto",),
    "context_costs": ("pareto",),
    "distillation": ("pareto",),
    "conversion": ("pareto",),
    "context_ablation": ("pareto",),
    "spikegpt_quality": ("pareto",),
    "movie_reviews": (),
    "timesteps_heads_encoding": ("effects", "pareto"),
    "embeddings": ("pareto",),
    "spike_degree": ("pareto",),
    "faults": (),
}
HEAD = """# Results

Made by `python results/make_readme.py` from the files beside it: do not edit. Each section names
the command that writes its folder: `results.csv` (full precision), `results.md` and `run.json`
(every parameter, the hash of the text, versions and machine).

Perplexity and bits/char are on held-out text, "±" is the standard deviation over folds and seeds.
*Energy* is synaptic energy at 45 nm; *total* has norms, neurons, residual sums, biases and
functions too; *with memory* all reads and writes; *% of ANN* is relative to the non-spiking twin.
✓ marks the Pareto front of perplexity and energy with memory. Tables without the column *with
memory* are older: their totals are norms, neurons and synapses, their front that of synaptic
energy. *War and Peace* is a text file of the English translation; any other text will do
(`--corpus NAME or PATH`).

"""


def readme() -> str:
    """Return the whole file."""
    found = sorted(path.parent.name for path in RESULTS.glob("*/results.md"))
    names = [name for name in PICTURES if name in found]
    names += [name for name in found if name not in names]
    contents = "\n".join(f"* [{title(name)}](#{anchor(title(name))})" for name in names)
    return HEAD + contents + "\n\n" + "\n".join(map(section, names))


def title(name: str) -> str:
    """Return the title of a folder, its name if it has no notes."""
    notes = RESULTS / name / "notes.md"
    return notes.read_text("utf-8").splitlines()[0].lstrip("# ") if notes.is_file() else name


def anchor(heading: str) -> str:
    """Return the fragment by which GitHub links a heading."""
    kept = "".join(letter for letter in heading.lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")


def section(name: str) -> str:
    """Render a folder."""
    folder = RESULTS / name
    notes = folder / "notes.md"
    prose = notes.read_text("utf-8").split("\n", 1)[1].strip() if notes.is_file() else ""
    pictures = [f"![{picture}]({name}/{picture}.png)" for picture in PICTURES.get(name, ())]
    table = (folder / "results.md").read_text("utf-8").strip()
    parts = [f"## {title(name)}", prose, origin(folder / "run.json"), *pictures, table]
    return "\n\n".join(filter(None, parts)) + "\n"


def origin(file: Path) -> str:
    """Say in a line how a result was made."""
    run = json.loads(file.read_text("utf-8"))
    machine = run["machine"]
    where = machine["gpu"] or f"{machine['processor']}, {machine['cores']} cores"
    seconds = run["duration_seconds"]
    duration = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
    return f"`{run['command']}`: {duration} on {where}."


def main() -> None:
    """Write the file, or check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, fail on a difference")
    options = parser.parse_args()
    file, text = RESULTS / "README.md", readme()
    if not options.check:
        file.write_text(text, "utf-8")
    elif not file.is_file() or file.read_text("utf-8") != text:
        sys.exit("results/README.md is out of date: run python results/make_readme.py")


if __name__ == "__main__":
    main()
