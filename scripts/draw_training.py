"""Draw how a training run went, from the log and the model card beside its weights.

python scripts/draw_training.py WEIGHTS [--output docs/_static/training_curves.png]
"""

import argparse
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

PANELS = (
    (("dino", "ibot"), "loss"),
    (("koleo",), "koleo"),
    (("probe_entropy", "probe_feature_std"), "entropy, spread"),
    (("probe_effective_rank",), "effective rank"),
    (("probe_neighbor",), "own crop is nearest"),
    (("probe_amplitude",), "amplitude: R$^2$"),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path, help="a .safetensors file of stellarssl export")
    parser.add_argument("--output", type=Path, default=Path("docs/_static/training_curves.png"))
    options = parser.parse_args()
    log = np.genfromtxt(options.weights.with_suffix(".csv"), delimiter=",", names=True)
    card = options.weights.with_suffix(".md").read_text(encoding="utf-8")
    batch = int(re.search(r"\| steps \|.*batch (\d+)", card).group(1))
    seen = (log["step"] + 1) * batch / 1000
    figure, axes = plt.subplots(2, 3, figsize=(9, 4.5), sharex=True, layout="constrained")
    for panel, (names, label) in zip(axes.flat, PANELS, strict=True):
        for name in (each for each in names if each in log.dtype.names):
            fresh = np.diff(log[name], prepend=np.nan) != 0  # a row repeats the probes before it
            taken = np.isfinite(log[name]) & fresh
            style = ".-" if name.startswith("probe_") else "-"
            panel.plot(seen[taken], log[name][taken], style, lw=1, label=name.split("_")[-1])
        if len(names) > 1:
            panel.legend(frameon=False)
        panel.set_ylabel(label)
    axes[-1, 1].set_xlabel("thousand flames seen")
    figure.savefig(options.output, dpi=100)


if __name__ == "__main__":
    main()
