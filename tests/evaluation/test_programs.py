import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.metrics

from raeg_jax.adversarial.losses import margin
from raeg_jax.data.decode import encode_png
from raeg_jax.evaluation import programs
from raeg_jax.evaluation.programs import noise_control, pgd_control
from raeg_jax.networks.classifiers import FrozenClassifier, as_pytree
from raeg_jax.networks.weights import load_weights
from tests.evaluation.evaluation_toys import Brightness, flat_images, shift
from tests.networks import tiny_published

LABELS = np.zeros(2, np.int32)


def test_protect_rounds_and_clips_as_a_file_does():
    images = np.full((1, 12, 12, 3), 250, np.uint8)
    protected, outside, _ = programs.protect(shift(7.6), images, LABELS[:1])
    assert protected.dtype == jnp.uint8
    assert set(np.unique(protected)) == {250, 255}
    np.testing.assert_allclose(outside, [0.5])


def test_values_that_rounding_brings_back_do_not_count_as_outside():
    images = np.full((1, 12, 12, 3), 255, np.uint8)
    _, outside, _ = programs.protect(shift(0.4), images, LABELS[:1])
    np.testing.assert_allclose(outside, [0.0])


def test_recover_undoes_protect():
    images = flat_images([60, 120])
    protected, _, side_info = programs.protect(shift(8), images, LABELS)
    assert np.any(np.asarray(protected) != images)
    np.testing.assert_array_equal(programs.recover(shift(8), protected, side_info), images)


def test_compare_agrees_with_scikit_image():
    rng = np.random.default_rng(1)
    originals = rng.integers(0, 256, (2, 20, 24, 3), dtype=np.uint8)
    images = originals.copy()
    # One sample each of these pixels: the whole pixel counts as changed.
    images[0, :, :10, 1] ^= 3
    measured = programs.compare(images, originals)
    expected = skimage.metrics.peak_signal_noise_ratio(originals[0], images[0], data_range=255)
    np.testing.assert_allclose(measured["psnr"], [expected, np.inf], rtol=1e-5)
    np.testing.assert_allclose(measured["equal"], [14 / 24, 1], rtol=1e-6)
    np.testing.assert_array_equal(measured["exact"], [False, True])
    norm = np.linalg.norm(images[0].astype(float) - originals[0].astype(float))
    np.testing.assert_allclose(measured["distance"], [norm, 0], rtol=1e-5)
    assert measured["ssim"][0] < measured["ssim"][1]


def test_one_wrong_sample_among_many_is_not_exact():
    originals = np.zeros((1, 600, 600, 3), np.uint8)
    images = originals.copy()
    images[0, 599, 599, 2] = 1
    assert not programs.compare(images, originals)["exact"][0]


def test_pgd_leads_published_targets_away_from_what_they_read(tmp_path, monkeypatch):
    tiny_published.register(monkeypatch)
    network = tiny_published.write(tmp_path / "tiny.safetensors", num_classes=5)
    classifier = FrozenClassifier(network.module, load_weights(tmp_path / "tiny.safetensors")[1])
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    read = np.asarray(programs.classify({"tiny": classifier}, images)["tiny"])
    distance = np.full(2, 300.0, np.float32)
    goals = programs.labels_of_attack((classifier,), images, (read + 1) % 5)
    assert goals.tolist() == read.tolist()
    attacked = pgd_control((classifier,), images, goals, distance, 3)
    assert np.all(programs.classify({"tiny": classifier}, attacked)["tiny"] != read)
    # Whole images of any size, through the published preprocessing.
    large = np.random.default_rng(1).integers(0, 256, (3, 90, 50, 3)).astype(np.uint8)
    seen = np.stack([network.preprocessing.fit(image) for image in large])
    expected = programs.classify({"tiny": classifier}, seen)["tiny"]
    found = programs.labels_of_attack((classifier,), large, np.arange(3))
    np.testing.assert_array_equal(found, expected)
    assert programs.labels_of_attack((), images, LABELS).tolist() == LABELS.tolist()


def test_a_frozen_classifier_reads_its_statistics_only():
    module = Brightness()
    variables = module.init(jax.random.key(0), jnp.zeros((1, 12, 12, 3)), train=False)
    before = jax.tree.map(np.array, variables)
    fns = {"frozen": FrozenClassifier(module, variables)}
    classes = programs.classify(fns, flat_images([60, 180, 120]))
    np.testing.assert_array_equal(classes["frozen"], [0, 2, 1])
    jax.tree.map(np.testing.assert_array_equal, before, variables)


def test_plain_functions_serve_as_classifiers_too():
    fn = as_pytree(lambda x: jnp.stack([x.mean((1, 2, 3)), jnp.full(len(x), 90.0)], -1))
    np.testing.assert_array_equal(programs.classify({"f": fn}, flat_images([60, 120]))["f"], [1, 0])
    assert as_pytree(fn) is fn


def test_other_weights_need_no_other_compilation():
    module, images = Brightness(), flat_images([60])
    variables = module.init(jax.random.key(0), jnp.zeros((1, 12, 12, 3)), train=False)
    programs.classify({"a": FrozenClassifier(module, variables)}, images)
    compilations = programs.classify._cache_size()
    moved = {**variables, "params": {"offset": jnp.float32(-60)}}
    classes = programs.classify({"a": FrozenClassifier(Brightness(), moved)}, images)
    assert int(classes["a"][0]) == 1
    assert programs.classify._cache_size() == compilations


@pytest.mark.parametrize("count", [1, 8])
def test_copies_on_every_device_become_one_bound_to_none(count):
    mesh = jax.make_mesh(
        (count,), ("batch",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:count]
    )
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    tree = jax.device_put({"a": jnp.arange(8.0), "b": jnp.ones(3)}, everywhere) | {"c": np.ones(2)}
    one = programs.on_one_device(tree)
    assert all(x.devices() == {jax.devices()[0]} and not x.committed for x in one.values())
    jax.tree.map(np.testing.assert_array_equal, one, tree)
    assert programs.on_one_device(one)["a"] is one["a"]


def test_a_stopwatch_counts_all_but_compilation():
    watch = programs.Stopwatch()
    for _ in range(2):
        with watch:
            time.sleep(0.05)
    assert watch.seconds >= 0.1
    compiled = programs.Stopwatch()
    started = time.perf_counter()
    with compiled:
        # New to JAX, and nested.
        jax.jit(lambda x: jax.jit(lambda y: jnp.linalg.svd(y)[0])(x).sum())(jnp.ones((7, 7)))
    whole = time.perf_counter() - started
    assert 0 <= compiled.seconds < whole


def test_a_stopwatch_runs_once_at_a_time():
    watch = programs.Stopwatch()
    with watch, pytest.raises(RuntimeError, match="is running already"), watch:
        pass
    with watch:
        pass


def test_roundtrip_keeps_every_sample():
    images = np.random.default_rng(0).integers(0, 256, (3, 9, 7, 3), dtype=np.uint8)
    again, sizes = programs.png_roundtrip(images)
    np.testing.assert_array_equal(again, images)
    assert again.dtype == np.uint8
    assert list(sizes) == [len(encode_png(image)) for image in images]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((1, 4, 4, 3), np.float32), "a PNG takes uint8"),
        (np.zeros((1, 4, 4), np.uint8), "a PNG takes uint8"),
        (np.zeros((1, 4, 4, 4), np.uint8), "a PNG takes uint8"),
        (np.zeros((0, 4, 4, 3), np.uint8), "empty batch"),
    ],
    ids=["float", "grey", "alpha", "empty"],
)
def test_other_arrays_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        programs.png_roundtrip(images)


def distances(images, originals):
    difference = np.asarray(images).astype(float) - np.asarray(originals).astype(float)
    return np.linalg.norm(difference.reshape(len(difference), -1), axis=1)


def logits(images):
    """Two classes: is the left half brighter than the right one?"""
    middle = images.shape[2] // 2
    lead = images[:, :, :middle].mean((1, 2, 3)) - images[:, :, middle:].mean((1, 2, 3))
    return jnp.stack([lead, -lead], axis=-1)


@pytest.mark.parametrize("level", [4, 128, 251], ids=["dark", "grey", "white"])
def test_noise_in_the_file_is_as_strong_as_asked_also_where_clipping_eats_it(level):
    originals = flat_images([level] * 3, size=24)
    wanted = np.array([100.0, 200.0, 400.0], np.float32)
    noisy = noise_control(0, np.arange(3), originals, wanted)
    assert noisy.dtype == jnp.uint8
    np.testing.assert_allclose(distances(noisy, originals), wanted, rtol=0.02)


def test_no_distance_is_no_noise():
    originals = flat_images([90, 128, 128], size=24)
    noisy = noise_control(0, np.arange(3), originals, np.array([0, 150, 150], np.float32))
    np.testing.assert_array_equal(noisy[0], originals[0])
    assert distances(noisy, originals)[1] > 100


def test_noise_depends_on_seed_and_image_number_only():
    originals = flat_images([100, 100, 100], size=24)
    wanted = np.full(3, 150, np.float32)
    noisy = noise_control(0, np.arange(3), originals, wanted)
    order = np.array([2, 0, 1])
    moved = noise_control(0, order, originals[order], wanted)
    np.testing.assert_array_equal(moved, noisy[order])
    other = noise_control(1, np.arange(3), originals, wanted)
    assert np.any(np.asarray(other) != np.asarray(noisy))


def test_pgd_misleads_its_target_within_the_distance_up_to_rounding():
    originals = flat_images([100, 140], size=16, spread=0)
    originals[:, :, :8] += 4
    labels = np.array([0, 0], np.int32)
    fn = as_pytree(logits)
    wanted = np.array([200.0, 200.0], np.float32)
    attacked = pgd_control((fn,), originals, labels, wanted, 20)
    assert attacked.dtype == jnp.uint8
    assert np.all(np.asarray(margin(logits(originals.astype(np.float32)), labels)) > 0)
    assert np.all(np.asarray(margin(logits(attacked.astype(jnp.float32)), labels)) < 0)
    np.testing.assert_allclose(distances(attacked, originals), wanted, rtol=0.05)


@pytest.mark.parametrize("goals", [[0, 2], [2, 0]])
def test_targeted_pgd_goes_to_the_class_it_is_given(goals):
    def three(images):
        """Classes by mean brightness: nearest of 60, 120 and 180."""
        return -((jnp.mean(images, axis=(1, 2, 3))[:, None] - jnp.array([60.0, 120, 180])) ** 2)

    originals = flat_images([120, 120], spread=0)
    # Enough to change every sample by 40.
    wanted = np.full(2, 40 * np.sqrt(originals[0].size), np.float32)
    labels = np.array(goals, np.int32)
    attacked = pgd_control((as_pytree(three),), originals, labels, wanted, 10, targeted=True)
    np.testing.assert_array_equal(jnp.argmax(three(attacked.astype(jnp.float32)), -1), goals)
    np.testing.assert_allclose(distances(attacked, originals), wanted, rtol=0.05)


def test_noise_of_the_same_distance_does_not_mislead_where_pgd_does():
    originals = flat_images([100] * 3, size=24, spread=0)
    originals[:, :, :12] += 4
    noisy = noise_control(0, np.arange(3), originals, np.full(3, 300, np.float32))
    assert np.all(np.asarray(logits(noisy.astype(jnp.float32)))[:, 0] > 0)
