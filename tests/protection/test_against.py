"""Generators against files of weights and JAX functions, without a run."""

import jax.numpy as jnp
import numpy as np
import pytest

import raeg_jax
from raeg_jax.errors import UserError
from raeg_jax.generator.build import sees_photographs
from raeg_jax.protection.against import generator_against
from raeg_jax.protection.loaded_generator import load_generator, save_generator
from tests.networks import tiny_published
from tests.payload.payloads import KEY
from tests.protection.generators import photographs

QUICK = {"image_size": 32, "rounds": 3, "attack_steps": 2}
WEIGHTS = np.random.default_rng(0).normal(0, 0.2, (4 * 4 * 3, 3)).astype(np.float32)


def coarse(variables, images):
    """Logits linear in the means of 16 parts, of images of any size."""
    B, H, W, _ = images.shape
    images = images[:, : H // 4 * 4, : W // 4 * 4]
    parts = jnp.mean(images.reshape(B, 4, H // 4, 4, W // 4, 3), axis=(2, 4))
    return (parts.reshape(B, -1) - 127) @ variables["w"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    tiny_published.register(monkeypatch)
    tiny_published.write(tmp_path / "one.safetensors")
    return tmp_path


@pytest.mark.parametrize("loss", ["untargeted", "features"])
def test_a_function_is_attacked_and_images_come_back(loss):
    generator = generator_against([(coarse, {"w": WEIGHTS})], ("a", "b", "c"), loss=loss, **QUICK)
    assert not generator.portable
    images = photographs(2, 40, 36)
    protected = raeg_jax.protect(images, generator, KEY, batch_size=2)
    recovered = raeg_jax.recover(
        [each.pixels for each in protected], generator, KEY, [each.blob for each in protected]
    )
    for image, each, back in zip(images, protected, recovered, strict=True):
        np.testing.assert_array_equal(back.pixels, image)
        logits, after = (
            np.asarray(coarse({"w": WEIGHTS}, np.float32(x[None])))[0] for x in (image, each.pixels)
        )
        # What the function reads on an image of the size that it is fitted to.
        assert each.label == back.label == logits.argmax()
        if loss == "untargeted":
            assert after[each.label] - logits[each.label] < -1
        else:
            cosine = after @ logits / np.linalg.norm(after) / np.linalg.norm(logits)
            assert cosine < 0.95


def test_files_are_attacked_in_fixed_point_as_from_a_generator_file(folder):
    generator = generator_against(
        [folder / "one.safetensors"], psnr=30.0, views=("crop", "whole"), attack_steps=2
    )
    assert generator.portable
    assert (len(generator.class_names), generator.labels_are_readings) == (1000, True)
    assert generator.config.generator.gradient.target_psnr == 30.0
    save_generator(folder / "one.raeg", generator)
    assert load_generator(folder / "one.raeg").id == generator.id
    both = generator_against(
        [str(folder / "one.safetensors"), (lambda v, x: jnp.zeros((len(x), 1000)), {})]
    )
    assert not both.portable
    assert tuple(both.config.classifiers.targets) == ("one.safetensors", "function_1")


def test_files_are_seen_as_photographs_unless_settings_say_otherwise(folder):
    target = [folder / "one.safetensors"]
    default = generator_against(target)
    assert sees_photographs(default.config.generator.gradient)
    assert generator_against(target, arithmetic="fixed", loss="untargeted").id == default.id
    for settings in ({"views": ("identity",)}, {"arithmetic": "float"}, {"loss": "targeted"}):
        tiles = generator_against(target, **settings)
        assert not sees_photographs(tiles.config.generator.gradient)


def test_the_id_depends_on_variables_and_settings(tmp_path):
    def make(weights=WEIGHTS, **settings):
        return generator_against([(coarse, {"w": weights})], **QUICK | settings)

    ids = {make().id, make(WEIGHTS + 1).id, make(psnr=36.0).id, make(loss="features").id}
    assert len(ids) == 4
    assert make().id in ids
    with pytest.raises(UserError, match=r"function_0 is a function.*generator_against"):
        save_generator(tmp_path / "file.raeg", make())


def zeros(*shape):
    return lambda variables, images: jnp.zeros((len(images), *shape))


@pytest.mark.parametrize(
    ("targets", "settings", "message"),
    [
        ([], {}, "targets is empty"),
        (["one.pth"], {}, r"'one.pth' isn't named \*\.safetensors"),
        (["gone.safetensors"], {}, "no file of weights"),
        ([(zeros(), {})], {}, r"makes \(2,\) of images \[2, 32, 32, 3\]: it must"),
        ([(zeros(1), {})], {}, r"makes \(2, 1\) of images"),
        ([(zeros(3), {}), (zeros(4), {})], {}, "different classes .*'function_1': 4"),
        ([(zeros(3), {})], {"class_names": ["a"]}, "1 class_names, and the targets have 3"),
        ([(zeros(3), {})], {"psnr": 2.0}, "target_psnr=2.0 is impossible"),
        ([(zeros(3), {})], {"step_size": 1}, "step_size is no setting of config.generator.grad"),
        ([(zeros(3), {})], {"loss": "hinge"}, "loss='hinge' is impossible: .*features"),
        ([(zeros(3), {})], {"views": ("fog:1",)}, "'fog:1' is unknown"),
        (
            [(zeros(3), {})],
            {"arithmetic": "fixed"},
            "'function_0' can't compute in fixed",
        ),
        (["{0}/one.safetensors", "{0}/one.safetensors"], {}, "two files one.safetensors"),
    ],
)
def test_impossible_targets_and_settings(folder, targets, settings, message):
    targets = [x.format(folder) if isinstance(x, str) else x for x in targets]
    with pytest.raises(UserError, match=message):
        generator_against(targets, **QUICK | settings)
