import json
import pathlib
import shutil

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import base
from raeg_jax.errors import UserError
from raeg_jax.workdir import processes as state_lib
from raeg_jax.workdir.checkpoint import FOLDER, Checkpoints, TrainState

POSITION = {"batches": 7, "seed": 0}


def make_state(step=0, width=4, gan=True):
    kernel = np.random.RandomState(step).randn(3, width).astype(np.float32)
    params = {"block_0": {"kernel": jnp.asarray(kernel), "bias": jnp.ones(width)}}
    disc = {"params": {"w": jnp.full(2, 0.5)}, "batch_stats": {"u": jnp.ones(1)}} if gan else {}
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))
    return TrainState(
        step=jnp.int32(step),
        params=params,
        ema=jax.tree.map(lambda x: x / 2, params),
        opt_state=optimizer.init(params),
        disc=disc,
        disc_opt_state=optimizer.init(disc["params"]) if gan else (),
    )


@pytest.fixture
def config():
    return base.get_config()


@pytest.fixture
def open_checkpoints(tmp_path, config):
    opened = []

    def function(workdir=tmp_path, **changes):
        config.train.update(changes)
        opened.append(Checkpoints(workdir, config.train))
        return opened[-1]

    yield function
    for checkpoints in opened:
        checkpoints.close()


def assert_equal_states(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("gan", [False, True])
def test_everything_comes_back_bit_for_bit(open_checkpoints, config, gan):
    state = make_state(3, gan=gan)
    open_checkpoints().save(state, POSITION, config)
    shapes = jax.eval_shape(lambda: make_state(3, gan=gan))
    restored, position = open_checkpoints().restore(shapes)
    assert_equal_states(restored, state)
    assert position == POSITION
    assert restored.step.dtype == jnp.int32


@pytest.mark.parametrize(("saved_on", "restored_on"), [(1, 8), (8, 1), (8, 2)])
def test_number_of_devices_may_change(open_checkpoints, config, saved_on, restored_on):
    devices = jax.devices()
    state = state_lib.replicate(make_state(1), devices[:saved_on])
    open_checkpoints().save(state, POSITION, config)
    restored, _ = open_checkpoints().restore(make_state(1), devices=devices[:restored_on])
    assert_equal_states(restored, state)
    for array in jax.tree.leaves(restored):
        assert array.sharding.device_set == set(devices[:restored_on])
        assert array.sharding.is_fully_replicated


def test_averaged_parameters_can_be_loaded_alone(open_checkpoints, config):
    state = make_state(5)
    open_checkpoints().save(state, POSITION, config)
    shapes = jax.eval_shape(lambda: state.params)
    ema = open_checkpoints().restore_ema(shapes, "latest")
    jax.tree.map(np.testing.assert_array_equal, ema, state.ema)


def test_config_and_versions_are_kept(open_checkpoints, config):
    config.loss.kappa = 1.25
    open_checkpoints().save(make_state(1), POSITION, config)
    meta = open_checkpoints().meta()
    assert meta["config"]["loss"]["kappa"] == 1.25
    assert meta["config"]["generator"]["blocks"] == list(config.generator.blocks)
    assert meta["versions"]["jax"] == jax.__version__


def save_all(checkpoints, config, accuracies):
    for step, accuracy in accuracies.items():
        metrics = None if accuracy is None else {"protected_accuracy": accuracy, "psnr": 30.0}
        checkpoints.save(make_state(step), POSITION, config, metrics)


def test_last_ones_and_the_best_are_kept(open_checkpoints, config):
    checkpoints = open_checkpoints(keep_last=2)
    save_all(checkpoints, config, {1: 0.5, 2: 0.1, 3: None, 4: 0.3, 5: None})
    assert checkpoints.steps() == [2, 4, 5]
    assert checkpoints.resolve("best") == 2
    assert checkpoints.resolve("latest") == 5
    assert checkpoints.metrics(2) == {"protected_accuracy": 0.1, "psnr": 30.0}
    assert checkpoints.metrics(5) is None


def test_the_best_is_still_known_after_a_restart(open_checkpoints, config):
    save_all(open_checkpoints(keep_last=1), config, {1: 0.5, 2: 0.1, 3: 0.4})
    checkpoints = open_checkpoints(keep_last=1)
    save_all(checkpoints, config, {4: 0.2, 5: None})
    assert checkpoints.steps() == [2, 5]
    assert checkpoints.resolve("best") == 2


def test_best_mode_max(open_checkpoints, config):
    checkpoints = open_checkpoints(keep_last=1, best_mode="max", best_metric="psnr")
    for step, psnr in {1: 30.0, 2: 35.0, 3: 31.0}.items():
        checkpoints.save(make_state(step), POSITION, config, {"psnr": psnr})
    assert checkpoints.steps() == [2, 3]
    assert checkpoints.resolve("best") == 2


def test_the_latest_of_equals_is_the_best(open_checkpoints, config):
    checkpoints = open_checkpoints(keep_last=1)
    save_all(checkpoints, config, {1: 0.2, 2: 0.2, 3: 0.4})
    assert checkpoints.resolve("best") == 2


def test_best_is_the_latest_where_none_was_measured(open_checkpoints, config):
    checkpoints = open_checkpoints(keep_last=2)
    save_all(checkpoints, config, {1: None, 2: None, 3: None})
    assert checkpoints.steps() == [2, 3]
    assert checkpoints.resolve("best") == 3


def test_a_chosen_step(open_checkpoints, config):
    checkpoints = open_checkpoints(keep_last=2)
    save_all(checkpoints, config, {10: None, 20: None})
    assert checkpoints.resolve("10") == checkpoints.resolve(10) == 10
    restored, _ = checkpoints.restore(make_state(), 10)
    assert_equal_states(restored, make_state(10))
    message = r"no checkpoint '15' in .*; there are 'best', 'latest' and 10, 20"
    with pytest.raises(UserError, match=message):
        checkpoints.resolve("15")


def test_no_checkpoint_at_all(open_checkpoints):
    with pytest.raises(UserError, match=r"no checkpoint in .*train first"):
        open_checkpoints().restore(make_state())


def test_opening_for_reading_makes_no_folder(tmp_path, config):
    with Checkpoints(tmp_path, config.train, writable=False) as checkpoints:
        assert checkpoints.steps() == []
    assert not (tmp_path / FOLDER).exists()


def test_saving_a_step_again_changes_nothing(open_checkpoints, config):
    checkpoints = open_checkpoints()
    checkpoints.save(make_state(3), POSITION, config)
    checkpoints.save(make_state(3).replace(params={}), {"batches": 8}, config)
    restored, position = checkpoints.restore(make_state())
    assert_equal_states(restored, make_state(3))
    assert position == POSITION


def test_another_width_is_named_with_both_shapes(open_checkpoints, config):
    open_checkpoints().save(make_state(1, width=4), POSITION, config)
    message = r"block_0/bias has shape \[4\] in the checkpoint and \[5\] now"
    with pytest.raises(UserError, match=message):
        open_checkpoints().restore(make_state(1, width=5))
    with pytest.raises(UserError, match=message):
        open_checkpoints().restore_ema(make_state(1, width=5).params, "latest")


def test_missing_and_additional_parameters_are_named(open_checkpoints, config):
    open_checkpoints().save(make_state(1), POSITION, config)
    params = make_state(1).params
    more = {**params, "block_1": {"bias": jnp.ones(3)}}
    with pytest.raises(UserError, match=r"block_1/bias \[3\] is not in the checkpoint"):
        open_checkpoints().restore_ema(more, "latest")
    fewer = {"block_0": {"bias": params["block_0"]["bias"]}}
    with pytest.raises(UserError, match=r"block_0/kernel \[3, 4\] is only in the checkpoint"):
        open_checkpoints().restore_ema(fewer, "latest")


def test_a_discriminator_that_the_checkpoint_lacks_is_named(open_checkpoints, config):
    open_checkpoints().save(make_state(1, gan=False), POSITION, config)
    with pytest.raises(UserError, match=r"disc/batch_stats/u \[1\] is not in the checkpoint"):
        open_checkpoints().restore(make_state(1, gan=True))


def test_what_a_kill_left_half_written_is_not_trusted(open_checkpoints, config, tmp_path):
    checkpoints = open_checkpoints()
    save_all(checkpoints, config, {1: None, 2: None})
    whole = tmp_path / FOLDER / "2"
    half = tmp_path / FOLDER / "3.orbax-checkpoint-tmp"
    shutil.copytree(whole, half)
    (half / "_CHECKPOINT_METADATA").unlink(missing_ok=True)
    checkpoints = open_checkpoints()
    assert checkpoints.steps() == [1, 2]
    checkpoints.save(make_state(4), POSITION, config)
    assert checkpoints.steps() == [2, 4]
    assert not half.exists()


def test_files_are_there_when_save_returns(open_checkpoints, config, tmp_path):
    """No background write: a kill right after `save` loses nothing."""
    open_checkpoints().save(make_state(4), POSITION, config)
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / FOLDER, copy / FOLDER)
    restored, _ = open_checkpoints(copy).restore(make_state())
    assert_equal_states(restored, make_state(4))


def test_items_are_readable_by_other_tools(open_checkpoints, config, tmp_path):
    open_checkpoints().save(make_state(4), POSITION, config)
    folder = pathlib.Path(tmp_path) / FOLDER / "4"
    assert json.loads((folder / "iterator" / "metadata").read_text()) == POSITION
    names = flax.traverse_util.flatten_dict(make_state(4).params, sep="/")
    assert set(names) == {"block_0/kernel", "block_0/bias"}
    assert {item.name for item in folder.iterdir()} >= {"state", "ema", "iterator", "meta"}


@pytest.mark.parametrize("left", [(), ("metrics",), ("state", "_CHECKPOINT_METADATA")])
def test_an_old_checkpoint_half_removed_by_a_kill_does_no_harm(
    open_checkpoints, config, tmp_path, left
):
    save_all(open_checkpoints(keep_last=2), config, {1: 0.1, 2: 0.4, 3: 0.5})
    # Step 2 has lost to 1 and 3; the kill came while it was being removed.
    half = tmp_path / FOLDER / "2"
    for item in half.iterdir():
        if item.name not in left:
            shutil.rmtree(item) if item.is_dir() else item.unlink()
    checkpoints = open_checkpoints(keep_last=1)
    restored, _ = checkpoints.restore(make_state())
    assert_equal_states(restored, make_state(3))
    save_all(checkpoints, config, {4: 0.3})
    assert checkpoints.steps() == [1, 4]
    assert checkpoints.resolve("best") == 1
    assert not half.exists()


def test_surrogates_come_back_and_without_them_nothing_is_written_of_them(tmp_path, config):
    """As version 0.1.0, which had none, wrote and reads its checkpoints."""
    without, one = make_state(1), {"params": {"w": jnp.ones(2)}, "opt_state": ()}
    with_surrogates = make_state(2).replace(surrogates=(one, one))
    with Checkpoints(tmp_path, config.train) as checkpoints:
        for state in (without, with_surrogates):
            checkpoints.save(state, POSITION, config)
            assert_equal_states(jax.device_get(checkpoints.restore(state)[0]), state)
        assert "surrogates" not in checkpoints.shapes(1, "state")
        with pytest.raises(UserError, match=r"surrogates/0/params/w .* is only in the checkpoint"):
            checkpoints.restore(without)
