"""Every registered classifier: contract, published sizes, and that the small ones learn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from raeg_jax.errors import UserError
from raeg_jax.networks.architectures import VGG
from raeg_jax.networks.classifiers import (
    CLASSIFIERS,
    FrozenClassifier,
    as_pytree,
    attack_labels,
    build_classifier,
    mean_reading,
)
from raeg_jax.networks.layers import network_input, preprocessing_of
from raeg_jax.networks.preprocessing import PUBLISHED, Preprocessing

SMALL = [name for name in CLASSIFIERS if name.endswith("_small")]

# num_params in torchvision's model table, and timm's of EfficientNet-Lite; 1000 classes.
PUBLISHED_PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
    "densenet121": 7_978_856,
    "densenet169": 14_149_480,
    "efficientnet_lite0": 4_652_008,
    "efficientnet_lite1": 5_416_680,
    "efficientnet_lite2": 6_092_072,
    "efficientnet_lite3": 8_197_096,
    "efficientnet_lite4": 13_006_568,
}
# They have parameters only.
WITHOUT_NORM = ("vgg16", "vgg19")
# Others differ from these in their depth only, or in the stem, which ResNet has too.
KINDS = [*SMALL, "resnet18", "resnet50", "vgg16", "vgg16_bn", "efficientnet_lite0"]


def images_of(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(0, 255, shape), jnp.float32)


@functools.cache
def variables_of(name, num_classes, shape):
    """Shapes of variables, traced without computing anything."""
    module = build_classifier(name, num_classes)
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), images)


@functools.cache
def shapes(name, num_classes, shape):
    """Shapes of variables, logits and updates, traced without computing anything."""
    module, variables = build_classifier(name, num_classes), variables_of(name, num_classes, shape)
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    evaluated = jax.eval_shape(lambda v, x: module.apply(v, x, train=False), variables, images)
    trained = jax.eval_shape(
        lambda v, x: module.apply(v, x, train=True, mutable=["batch_stats"]), variables, images
    )
    return variables, evaluated, trained


class Learner:
    """A small classifier of four classes with its first variables; compiled once for all tests."""

    def __init__(self, name):
        module = build_classifier(name, 4)
        self.optimizer = optax.adam(3e-3)

        @jax.jit
        def start(key):
            variables = module.init(key, jnp.zeros((1, 32, 32, 3)), train=False)
            return variables, self.optimizer.init(variables["params"])

        @jax.jit
        def evaluate(variables, images):
            return module.apply(variables, images, train=False, mutable=["batch_stats"])

        @jax.jit
        def step(variables, opt_state, images, labels):
            def loss(params, images):
                logits, updates = module.apply(
                    {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
                )
                each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
                return jnp.mean(each), updates

            gradients, updates = jax.grad(loss, argnums=(0, 1), has_aux=True)(
                variables["params"], images
            )
            change, opt_state = self.optimizer.update(gradients[0], opt_state)
            params = optax.apply_updates(variables["params"], change)
            return {**updates, "params": params}, opt_state, gradients

        # The rbg generator compiles several times faster.
        self.evaluate, self.step = evaluate, step
        self.variables, self.opt_state = start(jax.random.key(0, impl="rbg"))


@pytest.fixture(scope="module", params=SMALL)
def learner(request):
    return Learner(request.param)


def stripes(rng, size=16):
    """Four classes of oriented, randomly shifted and noisy stripes."""
    labels = rng.integers(0, 4, size)
    angle, phase = labels * np.pi / 4, rng.uniform(0, 2 * np.pi, size)
    rows, columns = np.mgrid[:32, :32]
    along = np.cos(angle)[:, None, None] * rows + np.sin(angle)[:, None, None] * columns
    wave = np.sin(0.8 * along + phase[:, None, None])
    noise = rng.normal(0, 30, (size, 32, 32, 3))
    return np.clip(128 + 50 * wave[..., None] + noise, 0, 255).astype(np.float32), labels


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("shape", [(2, 32, 32, 3), (1, 45, 67, 3)])
def test_logits_and_collections(name, shape):
    variables, logits, (train_logits, updates) = shapes(name, 7, shape)
    statistics = set() if name in WITHOUT_NORM else {"batch_stats"}
    assert set(variables) == {"params", *statistics}
    for each in (logits, train_logits):
        assert (each.shape, each.dtype) == ((shape[0], 7), jnp.float32)
    assert jax.tree.map(jnp.shape, updates) == {
        name: jax.tree.map(jnp.shape, variables[name]) for name in statistics
    }
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", KINDS)
def test_parameters_do_not_depend_on_image_size(name):
    square, oblong = (variables_of(name, 7, shape) for shape in ((2, 32, 32, 3), (1, 45, 67, 3)))
    assert jax.tree.map(jnp.shape, square) == jax.tree.map(jnp.shape, oblong)


@pytest.mark.parametrize("name", PUBLISHED_PARAMETERS)
def test_size_is_the_published_one(name):
    variables = variables_of(name, 1000, (1, 32, 32, 3))
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == PUBLISHED_PARAMETERS[name]


def test_every_large_classifier_has_a_published_size():
    assert set(PUBLISHED_PARAMETERS) == set(CLASSIFIERS) - set(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_small_ones_are_cheap(name):
    """At most 25 million multiplications for a forward pass of a 64-pixel image."""
    module = build_classifier(name, 10)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    variables = variables_of(name, 10, images.shape)
    lowered = jax.jit(lambda v, x: module.apply(v, x, train=False)).lower(variables, images)
    assert lowered.cost_analysis()["flops"] / 2 < 25e6


def test_evaluation_mode_changes_nothing_and_looks_at_one_image_at_a_time(learner):
    images = images_of((16, 32, 32, 3))
    logits, updates = learner.evaluate(learner.variables, images)
    jax.tree.map(
        np.testing.assert_array_equal, updates["batch_stats"], learner.variables["batch_stats"]
    )
    exchanged, _ = learner.evaluate(learner.variables, images.at[:2].set(0))
    np.testing.assert_allclose(logits[2:], exchanged[2:], rtol=1e-4, atol=1e-4)
    assert np.all(np.any(np.asarray(logits[:2] != exchanged[:2]), axis=1))


def test_one_training_step_reaches_everything(learner):
    """Every running statistic moves, every parameter and every image gets a gradient."""
    # Blocks start as the identity and let nothing through to their inside: open them.
    before = {
        **learner.variables,
        "params": jax.tree.map(lambda leaf: leaf + 0.1, learner.variables["params"]),
    }
    images = images_of((16, 32, 32, 3))
    after, _, (for_params, for_images) = learner.step(
        before, learner.opt_state, images, np.arange(16) % 4
    )
    for path, leaf in jax.tree_util.tree_leaves_with_path(for_params):
        assert np.all(np.isfinite(leaf)), path
        # Batch norm takes the convolution's own bias away again.
        if not (path[-2].key.startswith("Conv") and path[-1].key == "bias"):
            assert np.any(np.asarray(leaf) != 0), path
    assert np.all(np.isfinite(for_images))
    assert np.all(np.any(np.asarray(for_images) != 0, axis=(1, 2, 3)))
    moved = jax.tree.map(
        lambda a, b: bool(np.any(a != b)), before["batch_stats"], after["batch_stats"]
    )
    assert all(jax.tree.leaves(moved))
    # Momentum 0.9 from variance 1: at least nine tenths of the old one are left.
    for path, leaf in jax.tree_util.tree_leaves_with_path(after["batch_stats"]):
        if path[-1].key == "var":
            assert np.all(np.asarray(leaf) >= 0.9 - 1e-6), path


def test_small_ones_learn_within_thirty_steps(learner):
    """Tested in evaluation mode: the running statistics must have settled too."""
    rng = np.random.default_rng(0)
    test_images, test_labels = stripes(rng, 64)
    variables, opt_state = learner.variables, learner.opt_state

    def accuracy(variables):
        logits, _ = learner.evaluate(variables, test_images)
        return np.mean(np.argmax(logits, axis=-1) == test_labels)

    assert accuracy(variables) < 0.6
    for _ in range(30):
        variables, opt_state, _ = learner.step(variables, opt_state, *stripes(rng))
    assert accuracy(variables) >= 0.9


def test_unknown_name_lists_the_known():
    with pytest.raises(UserError, match=r"'resnet_smal'.*resnet_small.*vgg_small"):
        build_classifier("resnet_smal", 7)


@pytest.mark.parametrize("num_classes", [-1, 0, 1])
def test_too_few_classes(num_classes):
    with pytest.raises(UserError, match=f"two classes, not {num_classes}"):
        build_classifier("resnet_small", num_classes)


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("shape", [(32, 32, 3), (1, 32, 32, 1), (1, 16, 32, 3)])
def test_bad_images_are_named(name, shape):
    with pytest.raises(ValueError, match=r"a classifier takes images .*not"):
        shapes(name, 7, shape)


def test_published_networks_are_known_by_their_preprocessing():
    preprocessing = PUBLISHED["efficientnet_lite0"]
    published = build_classifier("efficientnet_lite0", 7, preprocessing)
    assert preprocessing_of(published) == preprocessing
    assert preprocessing_of(build_classifier("efficientnet_lite0", 7)) is None


def constant(*logits):
    """A classifier that reads the same in all images."""
    return lambda images: jnp.broadcast_to(jnp.array(logits), (len(images), len(logits)))


@functools.cache
def frozen(seed, preprocessing=None):
    module = VGG(5, ((8,), (8,)), (), 1, preprocessing=preprocessing)
    init = jax.jit(module.init, static_argnames="train")
    variables = init(jax.random.key(seed, impl="rbg"), jnp.zeros((1, 32, 32, 3)), train=False)
    return FrozenClassifier(module, variables)


def test_the_mean_of_probabilities_decides_not_that_of_logits():
    # Probabilities .11 .79 .11 and .49 .02 .49; the mean of the logits is largest for class 0.
    images = jnp.zeros((2, 32, 32, 3))
    sure, unsure = constant(0.0, 2.0, 0.0), constant(33.0, 30.0, 33.0)
    np.testing.assert_array_equal(mean_reading([sure, unsure], images), [1, 1])
    assert mean_reading([unsure], images).dtype == jnp.int32
    np.testing.assert_array_equal(mean_reading([unsure], images), [0, 0])


def test_an_attack_leads_away_from_the_true_class_or_from_what_published_targets_read():
    images, labels = images_of((4, 32, 32, 3)), jnp.array([4, 3, 2, 1], jnp.int32)
    assert attack_labels([constant(0.0, 1.0), frozen(0)], images, labels) is labels
    targets = [frozen(seed, Preprocessing(40, 32)) for seed in (0, 1)]
    readings, expected = jax.jit(lambda *args: (attack_labels(*args), mean_reading(*args[:2])))(
        targets, images, labels
    )
    np.testing.assert_array_equal(readings, expected)
    assert np.any(readings != labels)


def test_a_frozen_classifier_takes_images_of_any_size():
    own, published = frozen(0), frozen(0, Preprocessing(80, 70))
    images = images_of((2, 20, 24, 3))
    enlarged = jnp.repeat(jnp.repeat(images, 4, axis=1), 4, axis=2)
    read = jax.jit(FrozenClassifier.__call__)
    np.testing.assert_allclose(read(own, images), read(own, network_input(images, None)), rtol=1e-5)
    # Their weights are equal, and their scales.
    np.testing.assert_allclose(read(published, images), read(own, enlarged), rtol=1e-4, atol=1e-5)
    assert np.any(np.abs(read(published, images) - read(own, images)) > 1e-3)


def test_a_frozen_classifier_and_a_function_are_arguments_of_programs():
    classifier = frozen(0)
    assert as_pytree(classifier) is classifier
    wrapped = as_pytree(constant(0.0, 1.0))
    assert as_pytree(wrapped) is wrapped
    images = images_of((1, 32, 32, 3))
    read = jax.jit(lambda classifier, images: classifier(images))
    np.testing.assert_array_equal(read(wrapped, images), [[0, 1]])
    # The program has no weights in it: those of another classifier give other logits.
    assert np.any(np.abs(read(classifier, images) - read(frozen(1), images)) > 1e-3)
