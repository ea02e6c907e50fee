"""The curve of accuracy against PSNR, worked out on toys."""

import json

import numpy as np

from raeg_jax.evaluation.curve import curve, gap
from raeg_jax.networks.classifiers import FrozenClassifier
from tests.evaluation.evaluation_toys import Brightness, flat_images, shift

LABELS = np.array([0, 0, 1, 1])
CLASSIFIERS = {
    "near": FrozenClassifier(
        Brightness(), {"params": {"offset": 0.0}, "batch_stats": {"count": 0.0}}
    )
}


def amount(psnr):
    return 255 * np.sqrt(2 / 10 ** (psnr / 10))


def rows(pgd_steps=2, make=lambda psnr: shift(amount(psnr)), held_out=(), classifiers=CLASSIFIERS):
    return curve(
        make,
        [25.0, 39.1],
        classifiers,
        flat_images([60, 86, 120, 146]),
        LABELS,
        4,
        name="shift",
        targets=("near",),
        held_out=held_out,
        pgd_steps=pgd_steps,
        seed=0,
    )


def test_each_psnr_has_its_row_and_those_of_the_controls():
    result = rows()
    assert [r["method"] for r in result] == ["shift", "noise", "PGD-2"] * 2
    np.testing.assert_allclose([r["psnr"] for r in result[::3]], [25, 39.1], atol=0.15)
    np.testing.assert_allclose([r["psnr"] for r in result[1::3]], [25, 39.1], atol=0.5)
    # Adding 20 to half of the image moves 86 and 146 into the next class; 4 does not.
    assert [r["targets"] for r in result[::3]] == [0.5, 1.0]
    assert result[0]["exact_images"] == 1
    assert result[0]["rounds"] is None
    assert all(r["worst_miss"] < 0.15 for r in result[::3])


def test_without_pgd_there_are_no_controls():
    assert [r["method"] for r in rows(pgd_steps=0)] == ["shift", "shift"]


def test_images_without_a_finite_psnr_leave_none_and_not_infinity():
    """An image unchanged has no distance from the asked PSNR, and JSON no infinity."""
    result = rows(make=lambda psnr: shift(amount(psnr) if psnr > 30 else 0))
    for row in result[:3]:
        assert (row["psnr"], row["worst_miss"]) == (None, None)
        assert row["targets"] == 1
    assert all(row["psnr"] > 30 and row["worst_miss"] < 1 for row in result[3:])
    json.dumps(result, allow_nan=False)


def row(method, psnr, targets, images=100):
    right = (np.arange(images) < round(targets * images)).astype(int)
    return {"method": method, "psnr": psnr, "targets": targets, "right": list(right)}


def test_rows_count_the_targets_that_read_each_image_rightly():
    for found in rows():
        assert len(found["right"]) == len(LABELS)
        assert np.mean(found["right"]) == found["targets"]


def test_of_equal_accuracies_the_nearest_psnr_counts():
    """Where a control has misled all, that it does so at less distance is not a gap."""
    control = [row("PGD", p, t) for p, t in [(30.0, 0.0), (34.0, 0.0), (38.0, 0.4)]]
    method = [row("ours", p, 0.0) for p in (32.0, 36.0, 28.0)]
    found = [f["gap"] for f in gap(control + method, "ours", "PGD")]
    np.testing.assert_allclose(found, [0, -2, 2])


def test_the_interval_of_a_gap_holds_it_and_shrinks_with_more_images():
    def interval(images):
        points = [(30.0, 0.1), (40.0, 0.5)]
        control = [row("PGD", *point, images) for point in points]
        (found,) = gap([*control, row("ours", 34.0, 0.3, images)], "ours", "PGD")
        low, high = found["interval"]
        assert low < found["gap"] < high
        return high - low

    assert interval(1000) < 0.6 * interval(50)


def test_gap_is_read_off_the_controls_curve():
    control = [row("PGD", 30.0, 0.1), row("PGD", 40.0, 0.3), row("PGD", 50.0, 0.5)]
    # The control leaves 0.2 at 35 dB; what it never leaves can't be compared, which is told.
    method = [row("ours", 34.0, 0.2), row("ours", 50.0, 0.7), row("ours", 20.0, 0.05)]
    # Nor can what left every image as it was.
    unchanged = [row("PGD", None, 0.9), row("ours", None, 0.4)]
    found = gap(unchanged + control + method, "ours", "PGD")
    assert [(f["psnr"], f["targets"], f["beyond"]) for f in found] == [
        (34.0, 0.2, None),
        (50.0, 0.7, "above"),
        (20.0, 0.05, "below"),
    ]
    np.testing.assert_allclose(found[0]["gap"], 1.0)
    assert [f["gap"] for f in found[1:]] == [None, None]
    assert gap(unchanged + method, "ours", "PGD") == []


def test_held_out_is_the_mean_over_those_there_are():
    assert {r["held_out"] for r in rows()} == {None}
    offset = FrozenClassifier(
        Brightness(), {"params": {"offset": -1000.0}, "batch_stats": {"count": 0.0}}
    )
    others = {"far": offset, "other": CLASSIFIERS["near"]}
    for row in rows(pgd_steps=0, held_out=tuple(others), classifiers=CLASSIFIERS | others):
        assert row["held_out"] == np.mean([row["accuracy"][name] for name in others])
        assert row["held_out"] != row["accuracy"]["other"]
