"""The encoder: the contract of the weights, and what the features do not depend on."""

import copy
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from stellarssl.encoder import (
    DEFAULT_ENCODER,
    SHIPPED,
    Encoder,
    EncoderSpec,
    Scaling,
    block_names,
    build_model,
    weights,
)
from stellarssl.exceptions import InputError, OutputExistsError


def make_maps(n=3, seed=0):
    rng = np.random.default_rng(seed)
    maps = np.empty((n, 3, 64, 64), dtype=np.float32)
    maps[:, 0] = rng.normal(22.0, 0.7, (n, 64, 64))
    maps[:, 1] = rng.normal(0.0, 0.5, (n, 64, 64))
    maps[:, 2] = rng.gamma(2.0, 0.3, (n, 64, 64))
    return maps


@pytest.fixture(scope="module")
def encoder():
    return Encoder.random(seed=1, device="cpu", dtype="float32")


def test_scaling_by_hand():
    """At log N = 23, v = -2 and sigma = 0.352, hypot(0.352, 0.19) = 0.4 and its log is -0.39794."""
    maps = torch.tensor([23.0, -2.0, (0.4**2 - 0.19**2) ** 0.5]).reshape(1, 3, 1, 1)
    expected = [1.0, -2.0, (np.log10(0.4) + 0.4) / 0.3]
    np.testing.assert_allclose(Scaling()(maps).ravel(), expected, atol=1e-6)


def test_scaling_clips_at_four_units():
    maps = torch.tensor([30.0, -9.0, 1000.0]).reshape(1, 3, 1, 1)
    assert Scaling()(maps).ravel().tolist() == [4.0, -4.0, 4.0]


def test_minmax_scaling_forgets_amplitudes():
    maps = torch.from_numpy(make_maps(1))
    scaling = Scaling(kind="minmax")
    torch.testing.assert_close(scaling(maps), scaling(3 * maps + 5), atol=1e-5, rtol=0)
    assert scaling(maps).amin() == 0
    assert scaling(maps).amax() == 1


def test_blocks_cover_the_features_once(encoder):
    features = encoder.embed(make_maps(2), blocks=block_names(0.125, 0.5), n_views=1)
    assert features.array.shape == (2, 2 * 6 * 192)
    assert features.array.dtype == np.float32
    columns = [np.arange(2 * 6 * 192)[block] for block in features.blocks.values()]
    np.testing.assert_array_equal(np.concatenate(columns), np.arange(2 * 6 * 192))
    names = ("cls", "mean", "centre", "ring1", "ring2", "ring3")
    assert list(features.blocks) == [f"{name}@{w}" for w in ("0.125", "0.5") for name in names]


def test_pooling_by_hand(encoder):
    """Of 8 x 8 patches the zones hold 4, 12, 20 and 28; together they are the mean."""
    maps = make_maps(2)
    tokens = encoder.patch_tokens(maps)
    features = encoder.embed(maps, blocks=block_names(0.5), n_views=1)
    np.testing.assert_allclose(
        features.select("centre@0.5"), tokens[:, 3:5, 3:5].mean((1, 2)), atol=1e-5
    )
    np.testing.assert_allclose(features.select("mean@0.5"), tokens.mean((1, 2)), atol=1e-5)
    inner = tokens[:, 2:6, 2:6].sum((1, 2)) - tokens[:, 3:5, 3:5].sum((1, 2))
    np.testing.assert_allclose(features.select("ring1@0.5"), inner / 12, atol=1e-5)
    zones = [features.select(f"{name}@0.5") for name in ("centre", "ring1", "ring2", "ring3")]
    total = sum(n * zone for n, zone in zip((4, 12, 20, 28), zones, strict=True)) / 64
    np.testing.assert_allclose(total, features.select("mean@0.5"), atol=1e-5)


def test_only_the_named_blocks_are_computed(encoder, monkeypatch):
    maps = make_maps(3)
    everything = encoder.embed(maps, blocks=block_names(0.125, 0.5), n_views=2)
    model, shown = encoder._model, []

    def forward_features(images):
        shown.append(len(images))
        return type(model).forward_features(model, images)

    monkeypatch.setattr(model, "forward_features", forward_features)
    names = ("ring2@0.5", "centre@0.125", "cls@0.5")
    some = encoder.embed(maps, blocks=names, n_views=2)
    assert sum(shown) == 3 * 2 * 2  # tiles, widths, orientations
    assert list(some.blocks) == list(names)
    np.testing.assert_array_equal(some.array, everything.select(*names))
    shown.clear()
    encoder.embed(maps, blocks=["centre@0.125"], n_views=2)
    assert sum(shown) == 3 * 2


def test_narrow_views_see_the_center_only(encoder):
    maps = make_maps(1)
    changed = maps.copy()
    changed[..., :24, :] += 1
    a, b = (encoder.embed(m, blocks=block_names(0.125, 0.5), n_views=1) for m in (maps, changed))
    np.testing.assert_array_equal(a.select("cls@0.125"), b.select("cls@0.125"))
    assert np.abs(a.select("cls@0.5") - b.select("cls@0.5")).max() > 1e-3


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_features_of_a_turned_tile_are_the_same(encoder, turn, mirrored):
    maps = make_maps(1)
    turned = np.rot90(maps[..., ::-1] if mirrored else maps, turn, axes=(2, 3))
    a, b = (encoder.embed(m, blocks=block_names(0.25)).array for m in (maps, turned))
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_fewer_views_are_not_invariant(encoder):
    maps = make_maps(1)
    a, b = (
        encoder.embed(m, blocks=block_names(0.5), n_views=4).array for m in (maps, maps[..., ::-1])
    )
    assert np.abs(a - b).max() > 1e-3


def test_features_do_not_depend_on_the_batch(encoder):
    maps = make_maps(5)
    whole = encoder.embed(maps, blocks=block_names(0.5), n_views=2).array
    pieces = encoder.embed(maps, blocks=block_names(0.5), n_views=2, batch_size=2).array
    np.testing.assert_allclose(whole, pieces, atol=1e-5)
    np.testing.assert_allclose(
        encoder.patch_tokens(maps), encoder.patch_tokens(maps, batch_size=2), atol=1e-5
    )


def test_no_tiles_give_no_rows(encoder):
    assert encoder.embed(make_maps(0), blocks=block_names(0.5)).array.shape == (0, 6 * 192)
    assert encoder.patch_tokens(make_maps(0)).shape == (0, 8, 8, 192)


def test_input_of_another_byte_order_and_strides(encoder):
    maps = make_maps(1)
    odd = np.asfortranarray(maps.astype(">f8"))
    a, b = (encoder.embed(m, blocks=block_names(0.5), n_views=1).array for m in (maps, odd))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (3, 64, 64), (1, 2, 64, 64), (1, 64, 64, 3)])
def test_other_shapes_are_refused(encoder, shape):
    with pytest.raises(InputError, match=r"maps: must have the shape \(n, 3, 64, 64\)"):
        encoder.embed(np.zeros(shape))


def test_missing_values_are_refused(encoder):
    maps = make_maps(1)
    maps[0, 1, 5, 5] = np.nan
    with pytest.raises(InputError, match="maps: must be finite everywhere"):
        encoder.embed(maps)


def test_maps_that_are_read_only(encoder):
    maps = make_maps(1)
    expected = encoder.embed(maps, blocks=block_names(0.5), n_views=1).array
    maps.flags.writeable = False
    np.testing.assert_array_equal(
        encoder.embed(maps, blocks=block_names(0.5), n_views=1).array, expected
    )


def test_options_that_cannot_be(encoder):
    with pytest.raises(InputError, match="n_views: must be 1, 2, 4 or 8; got 3"):
        encoder.embed(make_maps(1), n_views=3)
    for width in ("1", "0", "-0.1", "nan", "inf", "0.001"):
        with pytest.raises(InputError, match=r"blocks: must have a width above 0 and at most 0.5"):
            encoder.embed(make_maps(1), blocks=[f"cls@{width}"])
    for name in ("centre", "centre@", "centre@wide", "center@0.5", "@0.5", ""):
        with pytest.raises(InputError, match=f"blocks: must be one of cls, .*; got '{name}'"):
            encoder.embed(make_maps(1), blocks=[name])
    with pytest.raises(InputError, match="blocks: must name at least one block of features"):
        encoder.embed(make_maps(1), blocks=[])
    with pytest.raises(InputError, match="dtype: must be one of float32, bfloat16; got 'int8'"):
        Encoder.random(dtype="int8")
    with pytest.raises(InputError, match="device: must be 'auto' or a torch device"):
        Encoder.random(device="abacus")
    with pytest.raises(InputError, match="architecture: must be a vision transformer"):
        Encoder.random(architecture="resnet18")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there():
    with pytest.raises(InputError, match="device: is not available on this machine; got 'cuda'"):
        Encoder.random(device="cuda")


def test_random_weights_follow_the_seed_and_leave_torch_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    a, b, c = Encoder.random(seed=2), Encoder.random(seed=2), Encoder.random(seed=3)
    assert torch.rand(1) == expected
    assert a.sha256 == b.sha256 != c.sha256
    assert (a.name, c.name) == ("random-2", "random-3")


def test_frozen(encoder):
    assert not encoder._model.training
    assert not any(parameter.requires_grad for parameter in encoder._model.parameters())


def test_dtypes_are_told_apart(encoder):
    low = encoder.astype("bfloat16")
    maps = make_maps(1)
    a, b = (e.embed(maps, blocks=block_names(0.5), n_views=1) for e in (encoder, low))
    assert (a.dtype, b.dtype) == ("float32", "bfloat16")
    assert a.encoder_sha256 == b.encoder_sha256 == encoder.sha256
    assert b.array.dtype == np.float32
    assert 0 < np.abs(a.array - b.array).max() < 0.2


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))])  # noqa: S301
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_encoder_can_be_copied_and_pickled(duplicate, dtype):
    """Before and after it was used, and the copies can be copied as well."""
    options = {"architecture": "test_vit", "width": 64, "n_registers": 0}
    encoder = Encoder.random(**options, device="cpu", dtype=dtype)
    maps, blocks = make_maps(2), ["centre@0.125"]
    unused = duplicate(encoder)
    expected = encoder.embed(maps, blocks=blocks)
    for twin in (unused, duplicate(encoder), duplicate(duplicate(encoder))):
        features = twin.embed(maps, blocks=blocks)
        np.testing.assert_array_equal(features.array, expected.array)
        assert (features.dtype, features.encoder_sha256) == (dtype, encoder.sha256)
        assert twin.spec == encoder.spec
        assert twin._model is not encoder._model


NO_MODELS = (
    "hf-hub:someone/vit_tiny_patch16_224",
    "local-dir:/tmp/vit_tiny_patch16_224",
    "vit_of_nowhere",
    "",
)


@pytest.mark.parametrize("name", NO_MODELS)
def test_architectures_are_models_of_timm(name):
    """Others would be followed to a repository or a folder, and run what its config names."""
    message = f"architecture: must be the name of a timm model, .*; got '{name}'"
    with pytest.raises(InputError, match=message):
        EncoderSpec("some", architecture=name)
    with pytest.raises(InputError, match=message):
        Encoder.random(architecture=name)
    record = json.loads(EncoderSpec("some").to_json()) | {"architecture": name}
    with pytest.raises(InputError, match=message):
        EncoderSpec.from_json(json.dumps(record))


@pytest.mark.parametrize("name", NO_MODELS)
def test_weights_of_other_architectures_are_refused(tmp_path, encoder, name):
    path = tmp_path / "some.safetensors"
    encoder.write(path)
    record = json.loads(encoder.spec.to_json()) | {"architecture": name}
    rewrite(path, metadata={"encoder_spec": json.dumps(record)})
    with pytest.raises(InputError, match="architecture: must be the name of a timm model"):
        Encoder.from_pretrained(path)


def test_a_name_with_the_tag_of_its_weights_is_an_architecture():
    spec = EncoderSpec("some", architecture="vit_tiny_patch16_224.augreg_in21k", width=192)
    assert build_model(spec).embed_dim == 192


def test_repositories_and_folders_are_not_fetched(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("timm was called")

    monkeypatch.setattr(weights.timm, "create_model", refuse)
    for name in NO_MODELS[:3]:
        with pytest.raises(InputError, match=r"must be a shipped name .* or a timm model"):
            Encoder.from_pretrained(name)


def test_select_and_rows(encoder):
    features = encoder.embed(make_maps(3), blocks=block_names(0.5), n_views=1)
    both = features.select("mean@0.5", "cls@0.5")
    np.testing.assert_array_equal(both[:, :192], features.select("mean@0.5"))
    np.testing.assert_array_equal(both[:, 192:], features.select("cls@0.5"))
    assert len(features[1:]) == 2
    np.testing.assert_array_equal(
        features[np.array([False, True, False])].array, features.array[1:2]
    )
    with pytest.raises(InputError, match=r"block: must be one of cls@0.5, .*; got 'cls'"):
        features.select("cls")
    with pytest.raises(InputError, match="rows: must be a slice"):
        features[1]


@pytest.mark.parametrize("half", [True, False])
def test_written_weights_come_back(tmp_path, encoder, half):
    path = tmp_path / "some.safetensors"
    assert encoder.write(str(path), half=half) == path
    back = Encoder.from_pretrained(path, device="cpu", dtype="float32")
    again = Encoder.from_pretrained(path, device="cpu", dtype="float32")
    assert replace(back.spec, sha256="") == replace(encoder.spec, sha256="")
    assert back.sha256 == again.sha256
    assert (back.sha256 == encoder.sha256) is not half
    maps = make_maps(1)
    a, b, c = (
        e.embed(maps, blocks=block_names(0.5), n_views=1).array for e in (encoder, back, again)
    )
    np.testing.assert_array_equal(b, c)
    np.testing.assert_allclose(a, b, atol=0.02 if half else 0)
    with pytest.raises(OutputExistsError, match=r"exists and is not replaced \(overwrite=\)"):
        encoder.write(path)


def rewrite(path, *, change=lambda _: None, metadata=None):
    with safe_open(path, framework="pt") as file:
        kept = file.metadata()
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata=kept if metadata is None else metadata)


def test_damaged_weights_are_refused(tmp_path, encoder):
    path = tmp_path / "some.safetensors"
    encoder.write(path)
    rewrite(path, change=lambda tensors: tensors["norm.weight"].mul_(1.01))
    with pytest.raises(InputError, match=r"weights in some.safetensors: must have the sha256"):
        Encoder.from_pretrained(path)


def test_a_flipped_byte_is_refused(tmp_path, encoder):
    path = tmp_path / "some.safetensors"
    encoder.write(path)
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="must have the sha256"):
        Encoder.from_pretrained(path)


def test_files_that_are_no_weights(tmp_path, encoder):
    path = tmp_path / "some.safetensors"
    with pytest.raises(InputError, match="name_or_path: must be a file that exists"):
        Encoder.from_pretrained(path)
    path.write_bytes(b"short")
    with pytest.raises(InputError, match="name_or_path: must be a whole safetensors file"):
        Encoder.from_pretrained(path)
    encoder.write(path, overwrite=True)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match="name_or_path: must be a whole safetensors file"):
        Encoder.from_pretrained(path)
    encoder.write(path, overwrite=True)
    rewrite(path, metadata={})
    with pytest.raises(InputError, match="must carry an encoder_spec"):
        Encoder.from_pretrained(path)
    rewrite(path, metadata={"encoder_spec": "{}"})
    with pytest.raises(InputError, match="encoder_spec: must hold the fields of EncoderSpec"):
        Encoder.from_pretrained(path)
    with pytest.raises(InputError, match=r"path: must end in .safetensors"):
        encoder.write(tmp_path / "some.pt")


def test_weights_of_another_network_are_refused(tmp_path, encoder):
    path = tmp_path / "some.safetensors"
    encoder.write(path, half=False)
    record = json.loads(encoder.spec.to_json()) | {"n_registers": 0}
    rewrite(path, metadata={"encoder_spec": json.dumps(record)})
    with pytest.raises(InputError, match="must be those of vit_tiny_patch16_224"):
        Encoder.from_pretrained(path)


def test_the_shipped_weights_are_those_of_their_card():
    encoder = Encoder.from_pretrained(device="cpu")
    assert encoder.name == DEFAULT_ENCODER
    assert encoder.sha256 in (SHIPPED / f"{DEFAULT_ENCODER}.md").read_text()
    assert encoder.spec.scaling == Scaling()


def test_names_that_nobody_has():
    with pytest.raises(InputError, match=r"must be a shipped name .* or a timm model"):
        Encoder.from_pretrained("no-such-weights")
    with pytest.raises(InputError, match="name_or_path: must be a vision transformer"):
        Encoder.from_pretrained("resnet18")


def test_no_network_is_one_sentence(monkeypatch):
    def refuse(name, *, pretrained=False, **_):
        if pretrained:
            raise OSError("no route to host")
        return original(name, num_classes=0)

    original = weights.timm.create_model
    monkeypatch.setattr(weights.timm, "create_model", refuse)
    with pytest.raises(InputError, match="weights must be reachable over the network; got 'vit_t"):
        Encoder.from_pretrained("vit_tiny_patch16_224")


def test_the_spec_survives_json():
    spec = EncoderSpec("some", image_size=336, scaling=Scaling(kind="minmax"))
    assert EncoderSpec.from_json(spec.to_json()) == spec
