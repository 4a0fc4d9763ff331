"""A network that trains in seconds, on noise instead of flames."""

import numpy as np
import pytest

TINY = {
    "data": {"n_flames": 40, "size": 32},
    "network": {"architecture": "test_vit", "image_size": 32, "width": 64, "n_registers": 1},
    "head": {"hidden": 16, "bottleneck": 8, "prototypes": 12},
    "optimizer": {"steps": 4, "batch_size": 6, "warmup": 0.3, "freeze_last_layer": 0.3},
    "stages": [
        {"until": 0.5, "global_size": 16, "local_size": 8, "n_local": 1},
        {"until": 1.0, "global_size": 24, "local_size": 16, "n_local": 2},
    ],
    "watch": {"every": 2, "n_flames": 8},
}


def to_toml(record):
    """Write the few kinds of values that a preset holds."""

    def lines(section):
        for key, value in section.items():
            if isinstance(value, bool):
                shown = str(value).lower()
            elif isinstance(value, str):
                shown = f'"{value}"'
            else:
                shown = value
            yield f"{key} = {shown}"

    parts = []
    for name, section in record.items():
        for entry in section if isinstance(section, list) else [section]:
            parts.append(f"[[{name}]]" if isinstance(section, list) else f"[{name}]")
            parts.extend(lines(entry))
    return "\n".join(parts)


@pytest.fixture
def write_preset(tmp_path):
    """Write the tiny preset with some keys changed, as section__key=value."""

    def write(**changes):
        record = {
            name: [dict(entry) for entry in section] if name == "stages" else dict(section)
            for name, section in TINY.items()
        }
        for path, value in changes.items():
            section, _, key = path.partition("__")
            if key:
                record.setdefault(section, {})[key] = value
            else:
                record[section] = value
        path = tmp_path / "tiny.toml"
        path.write_text(to_toml(record))
        return path

    return write


class NoiseDataset:
    """Stands in for flames: noise that depends on seed and index."""

    def __init__(self, n, *, size=96, seed=0, **_):
        self.n, self.size, self.seed = n, size, seed

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        rng = np.random.default_rng([self.seed, index])
        shape = (self.size, self.size)
        log_n = 22 + rng.normal(0, 1) + rng.normal(0, 0.5, shape)
        return np.stack((log_n, rng.normal(0, 1, shape), rng.gamma(3, 0.2, shape))).astype("f4")


@pytest.fixture
def noise(monkeypatch):
    train = pytest.importorskip("stellarssl.pretrain.training")
    monkeypatch.setattr(train, "FlameDataset", NoiseDataset)
    return NoiseDataset
