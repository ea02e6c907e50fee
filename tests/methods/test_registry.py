"""All methods by one table: files at the requested PSNR, kept on disk, recovered and estimated."""

import numpy as np
import pytest

from raeg_jax.image.metrics import psnr
from raeg_jax.methods import files
from raeg_jax.methods.registry import METHODS, RANDOMISED, REVERSIBLE, TITLES, make_method
from raeg_jax.payload.errors import PayloadError
from tests.experiments.experiment_toys import run
from tests.methods.toys import picture

ORIGINALS = np.stack([picture("natural", 48, 48, seed) for seed in (10, 11, 12)])


@pytest.fixture(scope="module")
def toy():
    return run()


def test_the_table_says_what_methods_are():
    assert TITLES["raeg"] == "RAEG"
    assert {"raeg", "rae", "rit"} <= set(REVERSIBLE) <= METHODS.keys() - {"pgd", "noise"}
    assert {"raeg", "noise"} <= set(RANDOMISED) <= METHODS.keys() - {"rae", "rit", "pgd"}
    assert METHODS["rae"].settings == ("attack", "steps", "rae")


@pytest.mark.parametrize("name", METHODS)
def test_files_have_the_psnr_and_reversible_ones_come_back(toy, name, tmp_path):
    labels = np.asarray(toy.frozen["near"](ORIGINALS.astype(np.float32))).argmax(-1)
    method = make_method(name, toy, 30.0, 0, 2)
    method.prepare(ORIGINALS, labels)
    results = method.protect(ORIGINALS, labels, np.arange(3))
    results[0] = results[0]._replace(failure="no room")
    files.collect(results, ORIGINALS.shape[1:], 0.5, method.aim, True).save(tmp_path / "new/a.npz")
    kept = files.load(tmp_path / "new/a.npz")
    assert (list(kept.kept), list(kept.failures)) == ([1, 2], ["no room"])
    np.testing.assert_array_equal(kept.unmarked, [x.unmarked for x in results[1:]])
    assert [kept.blob(i) for i in range(2)] == [x.blob for x in results[1:]]
    errors = np.mean((kept.images.astype(float) - ORIGINALS[1:]) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(np.mean(10 * np.log10(255**2 / errors)), 30, atol=0.5)

    again = make_method(name, toy, 30.0, 0, 2, float(kept.aim))
    blobs = [kept.blob(i) for i in range(2)]
    if name not in REVERSIBLE:
        for undo in (again.recover, again.estimate):
            with pytest.raises(NotImplementedError, match="is not reversible"):
                undo(kept.images, blobs)
        return
    np.testing.assert_array_equal(again.recover(kept.images, [None, None]), ORIGINALS[1:])
    changed = kept.images ^ 1
    assert all(isinstance(x, PayloadError) for x in again.recover(changed, [None, None]))
    for estimate, original in zip(again.estimate(changed, blobs), ORIGINALS[1:], strict=True):
        # A payload of RIT depends on the pixels that it describes.
        if estimate is not None or name != "rit":
            assert psnr(estimate[None], original[None]) > 30


def test_nothing_is_collected_of_failures_alone(toy):
    results = make_method("noise", toy, 30.0, 0, 3).protect(ORIGINALS, None, np.arange(3))
    failures = [result._replace(failure="no room") for result in results]
    kept = files.collect(failures, ORIGINALS.shape[1:], 0.0, 30.0, whole=False)
    assert kept.images.shape == (0, 48, 48, 3)
