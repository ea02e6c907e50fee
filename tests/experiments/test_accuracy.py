"""Accuracy against PSNR, and how far behind PGD it is."""

import numpy as np
import pytest

from raeg_jax.errors import UserError
from raeg_jax.experiments import accuracy
from tests.experiments.experiment_toys import PSNR, alone, run


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return alone(tmp_path_factory.mktemp("suite"))


@pytest.fixture(scope="module")
def results(context):
    return [unit.measure() for unit in accuracy.units(context)]


def test_files_have_the_psnr_and_controls_of_equal_distance(results, context):
    assert [(r["split"], r["asked"], r["images"]) for r in results] == [
        ("train", PSNR, 3), ("test", PSNR, 5),
    ]  # fmt: skip
    for result in results:
        protected, noise, pgd = (result["quality"][name]["psnr"] for name in accuracy.VARIANTS)
        # A payload takes a little more of the distance.
        assert PSNR - 1 < protected < PSNR + 0.1
        assert noise == pytest.approx(protected, abs=0.2)
        assert pgd == pytest.approx(protected, abs=0.5)
        assert max(abs(psnr - PSNR) for psnr in result["psnrs"]) == pytest.approx(
            result["worst_miss"]["protected"], abs=1e-3
        )
        for variant, counts in result["correct"].items():
            assert np.mean(counts) == result["classifiers"]["near"]["accuracy"][variant]
        assert result["quality"]["recovered"]["exact_images"] == 1


def test_the_table_and_the_figures_have_all_variants(results, context):
    rows = accuracy.table(results, context).rows
    assert [row[3] for row in rows] == [*accuracy.VARIANTS] * 2
    assert [bool(row[6]) for row in rows] == [True, False, False] * 2
    assert accuracy.curves(results, context).count("fitted images") == 1
    assert accuracy.histogram(results, context).startswith("<svg")


def test_other_generators_of_the_run_are_read_too(tmp_path):
    context = alone(tmp_path)
    context.run.config.suite.update(stages=("learned", "shortcut+gradient"), psnrs=(30.0, 33.5))
    names = [unit.name for unit in accuracy.units(context)]
    # A learned stage has its own PSNR; the others' stay as far apart as they are.
    context.run.config.generator.shortcut.target_psnr = 35.0
    assert names == [
        f"accuracy/{name}"
        for name in (
            "shortcut-train-30", "shortcut-train-33.5", "shortcut-test-30", "shortcut-test-33.5",
            "learned-train-own", "learned-test-own",
        )
    ]  # fmt: skip
    assert len(list(accuracy.units(context))) == 10


@pytest.mark.parametrize(
    ("stages", "message"),
    [(("shortcut",), "so the run has no weights for it"), (("learned",), "gives fractions")],
)
def test_impossible_generators_are_named(stages, message):
    config = run().config
    config.generator.stages, config.suite.stages = stages, ("learned+gradient",)
    config.generator.coupling = "affine"
    with pytest.raises(UserError, match=message):
        accuracy.check(config)


def result(protected, pgd, images=100):
    """Of (PSNR, accuracy) of files and of PGD."""
    points = {"protected": protected, "pgd": pgd}
    return {
        "quality": {name: {"psnr": point and point[0]} for name, point in points.items()},
        "classifiers": {
            "near": {"accuracy": {name: p and p[1] for name, p in points.items()}},
        },
        "correct": {
            name: (np.arange(images) < round((p or (0, 0))[1] * images)).astype(int).tolist()
            for name, p in points.items()
        },
    }


def test_the_gap_is_read_off_the_curve_of_pgd():
    results = [
        result((34.0, 0.2), (30.0, 0.1)),
        # Accuracies that PGD never leaves.
        result((50.0, 0.7), (40.0, 0.3)),
        result((20.0, 0.05), (50.0, 0.5)),
        result(None, None),
    ]
    first, above, below, none = accuracy.behind_pgd(results, ("near",))
    assert (first["gap"], first["beyond"]) == (pytest.approx(1), None)
    assert (above["gap"], above["beyond"]) == (None, "above")
    assert (below["gap"], below["beyond"]) == (None, "below")
    assert none is None
    assert above["interval"] == [0, 0]
    assert accuracy.behind_pgd([result((34.0, 0.2), None)], ("near",)) == [None]


def test_of_equal_accuracies_the_nearest_psnr_counts():
    """Where PGD has misled all, that it does so at less distance is not a gap."""
    results = [
        result((32.0, 0.0), (30.0, 0.0)), result((36.0, 0.0), (34.0, 0.0)),
        result((28.0, 0.0), (38.0, 0.4)),
    ]  # fmt: skip
    gaps = [each["gap"] for each in accuracy.behind_pgd(results, ("near",))]
    np.testing.assert_allclose(gaps, [0, -2, 2])


def test_a_dip_of_the_curve_is_levelled():
    results = [
        result((34.0, 0.3), (30.0, 0.3)), result((36.0, 0.3), (34.0, 0.2)),
        result((40.0, 0.5), (40.0, 0.5)),
    ]  # fmt: skip
    assert [each["gap"] for each in accuracy.behind_pgd(results, ("near",))] == [0, -2, 0]


def test_the_interval_holds_the_gap_and_shrinks_with_more_images():
    def width(images):
        results = [result((34.0, 0.3), (30.0, 0.1), images), result(None, (40.0, 0.5), images)]
        behind = accuracy.behind_pgd(results, ("near",))[0]
        low, high = behind["interval"]
        assert low < behind["gap"] < high
        return high - low

    assert width(1000) < 0.6 * width(50)
