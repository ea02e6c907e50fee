"""The patch discriminator: shapes, patches, spectral norm, and that it can tell images apart."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from raeg_jax.networks.discriminator import NORMS, Discriminator


def images_of(shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(0, 255, shape), jnp.float32)


@pytest.fixture(params=NORMS)
def norm(request):
    return request.param


@functools.cache
def build(norm):
    module = Discriminator(width=8, layers=2, norm=norm)
    init = jax.jit(module.init, static_argnames="train")
    # The rbg generator compiles several times faster.
    key = jax.random.key(0, impl="rbg")
    return module, init(key, jnp.zeros((1, 32, 32, 3)), train=False)


@functools.cache
def spectral_step():
    """One training-mode pass of the spectral discriminator: variables, images -> updates."""
    module, _ = build("spectral")
    return jax.jit(lambda v, x: module.apply(v, x, train=True, mutable=["batch_stats"])[1])


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("shape", [(2, 32, 32, 3), (1, 45, 30, 3)])
def test_one_logit_a_patch(norm, layers, shape):
    module = Discriminator(width=8, layers=layers, norm=norm)
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    logits, variables = jax.eval_shape(
        lambda x: module.init_with_output(jax.random.key(0), x, train=False), images
    )
    assert set(variables) == ({"params", "batch_stats"} if norm == "spectral" else {"params"})
    assert logits.shape == (shape[0], shape[1] // 2**layers - 2, shape[2] // 2**layers - 2, 1)
    assert logits.dtype == jnp.float32


def test_receptive_field():
    """With two layers an inner logit's gradient covers 34 x 34 pixels."""
    module, variables = build("spectral")
    images = images_of((1, 96, 96, 3))
    gradient = jax.jit(jax.grad(lambda x: module.apply(variables, x, train=False)[0, 9, 9, 0]))(
        images
    )
    touched = np.any(np.asarray(gradient) != 0, axis=(0, 3))
    assert touched.any(axis=0).sum() == touched.any(axis=1).sum() == 34


def test_spectral_kernels_have_norm_one():
    """After some power iterations the kernels used are the stored ones divided by their norm."""
    module, variables = build("spectral")
    images = images_of((2, 32, 32, 3))
    for _ in range(60):
        variables = {**variables, **spectral_step()(variables, images)}
    sigmas = {
        path[-1].key: leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables["batch_stats"])
        if path[-1].key.endswith("sigma")
    }
    assert len(sigmas) == 4  # two layers of stride 2, one of stride 1, the last
    for path, sigma in sigmas.items():
        kernel = np.asarray(variables["params"][path.split("/")[0]]["kernel"])
        largest = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)[0]
        np.testing.assert_allclose(sigma, largest, rtol=1e-2)
    # So the size of the stored kernels does not matter (the biases are still zero).
    evaluate = jax.jit(functools.partial(module.apply, train=False))
    doubled = {**variables, "params": jax.tree.map(lambda leaf: 2 * leaf, variables["params"])}
    np.testing.assert_allclose(
        evaluate(doubled, images),
        evaluate(variables, images),
        rtol=1e-4,
        atol=1e-5,
    )


def test_evaluation_changes_nothing_and_training_moves_spectral_vectors():
    module, variables = build("spectral")
    images = images_of((2, 32, 32, 3))
    evaluate = jax.jit(lambda v, x: module.apply(v, x, train=False, mutable=["batch_stats"])[1])
    still = evaluate(variables, images)
    jax.tree.map(np.testing.assert_array_equal, still["batch_stats"], variables["batch_stats"])
    moved = spectral_step()(variables, images)
    # The vectors only: flax divides the first kernels by their first estimate, so that sigma stays.
    for path, leaf in jax.tree_util.tree_leaves_with_path(moved["batch_stats"]):
        if path[-1].key.endswith("/u"):
            before = variables["batch_stats"][path[0].key][path[1].key]
            assert np.any(np.asarray(leaf != before)), path


def test_spectral_vectors_depend_on_the_kernels_only():
    """So they stay equal on all devices, whatever images each one sees."""
    _, variables = build("spectral")
    one, other = (spectral_step()(variables, images_of((2, 32, 32, 3), seed)) for seed in (0, 1))
    jax.tree.map(np.testing.assert_array_equal, one["batch_stats"], other["batch_stats"])


def hinge(logits):
    return jnp.maximum(0, 1 - logits)


def test_it_learns_to_tell_noisy_images(norm):
    module, variables = build(norm)
    optimizer = optax.adam(2e-3)
    opt_state = optimizer.init(variables["params"])

    def batch(seed):
        """Sloping planes, and the same with noise."""
        rng = np.random.default_rng(seed)
        slope = rng.uniform(-2, 2, (2, 8, 1, 1, 3))
        rows, columns = (axis[None, ..., None] for axis in np.mgrid[-16:16, -16:16])
        real = rng.uniform(100, 150, (8, 1, 1, 3)) + slope[0] * rows + slope[1] * columns
        return np.float32(real), np.float32(real + rng.normal(0, 40, real.shape))

    @jax.jit
    def step(variables, opt_state, real, fake):
        def loss(params):
            logits, updates = module.apply(
                {**variables, "params": params},
                jnp.concatenate([real, fake]),
                train=True,
                mutable=["batch_stats"],
            )
            return jnp.mean(hinge(logits[:8]) + hinge(-logits[8:])), updates

        gradient, updates = jax.grad(loss, has_aux=True)(variables["params"])
        change, opt_state = optimizer.update(gradient, opt_state)
        params = optax.apply_updates(variables["params"], change)
        return {**variables, **updates, "params": params}, opt_state

    for seed in range(100):
        variables, opt_state = step(variables, opt_state, *batch(seed))
    evaluate = jax.jit(lambda x: module.apply(variables, x, train=False))
    real, fake = map(evaluate, batch(1000))
    assert np.mean(np.asarray(real) > 0) > 0.9
    assert np.mean(np.asarray(fake) < 0) > 0.9
