"""Presets: read as they stand, and refused with the key that is wrong."""

import pytest

from stellarssl.exceptions import InputError
from stellarssl.pretrain import PRESETS, read_preset


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_whole(name):
    preset = read_preset(name)
    assert preset.name == name
    assert preset.stages[-1].until == 1.0


def test_the_published_run():
    """ViT-L/16, 336 px, a million color flames, batch 1024, 100 epochs of which 10 warm up."""
    preset = read_preset("paper")
    assert (preset.network.patch_size, preset.network.width) == (16, 1024)
    assert (preset.network.image_size, preset.data.size, preset.data.kind) == (336, 336, "rgb")
    assert preset.effective_batch == 1024
    assert preset.views.recipe == "imagenet"
    epochs = preset.optimizer.steps * preset.effective_batch / preset.data.n_flames
    assert epochs == pytest.approx(100, rel=0.01)
    assert preset.optimizer.warmup == pytest.approx(0.1)


def test_the_shipped_run_sees_enough():
    preset = read_preset("cpu-tiny")
    assert preset.optimizer.steps * preset.effective_batch >= 600_000
    assert preset.data.n_flames >= 300_000


def test_stages_follow_each_other(write_preset):
    preset = read_preset(write_preset())
    assert [preset.stage_at(step).global_size for step in range(5)] == [16, 16, 24, 24, 24]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer__learnin_rate": 0.1}, r"\[optimizer\]: has keys steps, .* no others; got"),
        ({"optimiser": {"steps": 3}}, r"preset: has sections data, .*no others; got \['optimis"),
        ({"data": {"size": 96}}, r"\[data\]: must give n_flames"),
        ({"optimizer__steps": 2.5}, r"\[optimizer\] steps: must be a whole number; got 2.5"),
        ({"loss__koleo": "much"}, r"\[loss\] koleo: must be a number; got 'much'"),
        ({"views__snr": [1.0, 2.0, 3.0]}, r"\[views\] snr: must be two numbers; got"),
        ({"loss__centering": "none"}, r"\[loss\] centering: must be sinkhorn or softmax"),
        (
            {"loss__dropped_patches": 0.5},
            r"\[loss\] dropped_patches: must be .* with ibot.*; got 0.5",
        ),
        ({"loss__dropped_patches": 1.0, "loss__ibot": 0.0}, r"dropped_patches: must .* got 1.0"),
        ({"views__recipe": "jpeg"}, r"\[views\] recipe: must be physical or imagenet; got 'jpeg'"),
        ({"views__recipe": "imagenet"}, r"\[views\] recipe: imagenet is for .* rgb; got 'moments'"),
        ({"stages": []}, r"\[\[stages\]\]: must be given at least once"),
        (
            {"stages": [{"until": 1.0, "global_size": 30, "local_size": 8}]},
            "must be multiples of patch 8; got 30",
        ),
        (
            {"stages": [{"until": 0.9, "global_size": 32, "local_size": 8}]},
            r"\[\[stages\]\] until: must ascend to 1; got \[0.9\]",
        ),
    ],
)
def test_what_is_wrong_is_named(write_preset, changes, message):
    with pytest.raises(InputError, match=message):
        read_preset(write_preset(**changes))


def test_files_that_are_no_presets(tmp_path):
    with pytest.raises(InputError, match="preset: must be one of cpu-tiny, flames-300k, "):
        read_preset("huge")
    path = tmp_path / "bad.toml"
    path.write_text("[data\n")
    with pytest.raises(InputError, match=r"preset bad.toml: must be TOML"):
        read_preset(path)
