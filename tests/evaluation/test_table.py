import io

import pytest
import rich.console

from raeg_jax.evaluation import table

SUMMARY = {
    "images": 320,
    "classifiers": {
        "resnet_small": {
            "role": "target",
            "reference": "label",
            "accuracy": {"original": 0.9812, "protected": 0.25, "recovered": 0.98, "noise": 0.9},
        },
        "densenet_small": {
            "role": "held_out",
            "reference": "label",
            "accuracy": {"original": 1.0, "protected": 0.5, "recovered": 1.0, "noise": 0.75},
        },
    },
    "quality": {
        "protected": {
            "psnr": 35.126,
            "psnr_range": [33.94, 36.0],
            "ssim": 0.95,
            "exact_pixels": 0.1,
            "exact_images": 0.0,
        },
        "recovered": {"psnr": None, "ssim": 1.0, "exact_pixels": 1.0, "exact_images": 1.0},
        "pixels_alone": {"psnr": 40.25, "ssim": 0.99, "exact_pixels": 0.7, "exact_images": 0.65},
        "noise": {"psnr": 35.2, "ssim": 0.9, "exact_pixels": 0.09, "exact_images": 0.0},
    },
    "outside_range": 0.00125,
    "png_bytes": {"original": 8192.0, "protected": 10240.0},
    "payload": {"in_pixels": 319, "beside_pixels": 1, "bytes": 90.0},
}
RESULTS = {
    "config": "quickstart",
    "seed": 0,
    "step": 1500,
    "checkpoint": "latest",
    "command": "python eval.py --workdir=runs/quickstart",
    "dataset": {"name": "photographs"},
    "image_size": 64,
    "generator": {"stages": ["learned"], "coupling": "integer", "exact": True, "portable": True},
    "classifiers": {
        "resnet_small": {
            "source": "trained by the run",
            "classes": 20,
            "preprocessing": {"image_size": 64},
        }
    },
    "pgd_steps": 20,
    "splits": {"train": SUMMARY, "test": SUMMARY},
}


def test_rows_hold_every_number_under_its_column():
    header, *body = table.rows(SUMMARY, 20)
    assert header == ("accuracy of", "original", "protected", "recovered", "noise")
    assert body[0] == ("resnet_small (target)", "0.981", "0.250", "0.980", "0.900")
    assert body[1][0] == "densenet_small (held out)"
    assert body[2] == ("PSNR, dB", "", "35.13", "equal", "35.20")
    assert body[5] == ("exact images", "", "0.0000", "1.0000", "0.0000")


@pytest.mark.parametrize(
    ("beside", "told"), [(1, "in the pixels of 319, beside them in 1"), (0, "in the pixels of 320")]
)
def test_a_line_says_how_many_came_back_and_what_pixels_alone_give(beside, told):
    payload = {"in_pixels": 320 - beside, "beside_pixels": beside, "bytes": 90.0}
    assert table.recovery({**SUMMARY, "payload": payload}) == (
        f"320 of 320 came back bit for bit (payload {told}). From pixels alone, without "
        "the payload's clipped values: 208 of 320 (70.0% of the pixels), the others 40.2 dB."
    )


def test_without_a_payload_only_pixels_give_something_back():
    quality = {**SUMMARY["quality"], "recovered": SUMMARY["quality"]["pixels_alone"]}
    assert table.recovery({**SUMMARY, "quality": quality, "payload": None}) == (
        "208 of 320 came back bit for bit, from the pixels alone."
    )


@pytest.mark.parametrize(
    ("parts", "titles"),
    [
        (("after_learned",), ["learned alone"]),
        (("after_shortcut",), ["shortcut alone"]),
        (("after_learned", "after_shortcut"), ["learned alone", "and shortcut"]),
    ],
)
def test_first_stages_have_columns_before_the_whole(parts, titles):
    quality = SUMMARY["quality"] | dict.fromkeys(parts, SUMMARY["quality"]["noise"])
    found = table.columns({**SUMMARY, "quality": quality}, 20)
    assert list(found.values())[1:-3] == titles
    assert "pixels_alone" not in found


def test_pgd_has_its_steps_in_the_title():
    with_pgd = {**SUMMARY, "quality": {**SUMMARY["quality"], "pgd": SUMMARY["quality"]["noise"]}}
    assert table.columns(with_pgd, 7)["pgd"] == "PGD-7"


@pytest.mark.parametrize("split", ["train", "test"])
def test_caption_says_which_images(split):
    assert table.caption(split, SUMMARY) == (
        f"{split} images ({table.SPLITS[split]}), 320: 33.9 to 36.0 dB, "
        "samples outside 0..255 0.125%, PNG 8.0 -> 10.0 KiB"
    )


def test_readings_kept_and_closed_set_accuracy_have_rows_of_their_own():
    kept = {
        "role": "reader",
        "reference": "original",
        "accuracy": {"original": 1.0, "protected": 0.5, "recovered": 1.0, "noise": 0.75},
        "closed_set": {"original": 0.875, "protected": 0.25, "recovered": 0.875, "noise": 0.5},
    }
    summary = SUMMARY | {"classifiers": SUMMARY["classifiers"] | {"lite0.safetensors": kept}}
    rows = table.rows(summary, 20)
    assert rows[3] == (
        "lite0.safetensors (reader, readings kept)", "1.000", "0.500", "1.000", "0.750",
    )  # fmt: skip
    assert rows[4] == (
        "lite0.safetensors (classes of the data set)", "0.875", "0.250", "0.875", "0.500",
    )  # fmt: skip
    described = {
        "source": "lite0.pth (0123)",
        "weights": "4567",
        "classes": 1000,
        "preprocessing": {"resize": 256, "interpolation": "bicubic", "mean": [127.0, 1.5, 0.0]},
    }
    results = RESULTS | {"splits": {"test": summary}, "classifiers": {"lite0": described}}
    assert (
        "- lite0: lite0.pth (0123), weights 4567, 1000 classes; resize 256, interpolation bicubic, "
        "mean 127:1.5:0"
    ) in table.markdown(results)
    assert table.KEPT in table.note(results)
    assert table.note(RESULTS) == table.NOTE


def test_markdown_is_a_table_a_split():
    text = table.markdown(RESULTS)
    assert "`python eval.py --workdir=runs/quickstart`" in text
    assert "learned stage (integer coupling), checkpoint latest (step 1500), seed 0" in text
    assert text.count("| resnet_small (target) | 0.981 | 0.250 | 0.980 | 0.900 |") == 2
    assert text.count("320 of 320 came back bit for bit") == 2
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert widths == {6}


@pytest.mark.parametrize(
    ("exact", "portable", "told"), [(True, True, 0), (True, False, 1), (False, False, 0)]
)
def test_a_generator_that_is_exact_in_one_place_only_is_labelled(exact, portable, told):
    generator = RESULTS["generator"] | {"exact": exact, "portable": portable}
    text = table.markdown(RESULTS | {"generator": generator})
    assert text.count("(integer coupling), exact on the same machine only, checkpoint") == told


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("more", [(), ("after_learned", "wrong_token")], ids=["six", "eight"])
def test_terminal_table_fits_eighty_columns(width, more):
    added = (*more, "pgd")
    summary = {
        **SUMMARY,
        "quality": SUMMARY["quality"] | dict.fromkeys(added, SUMMARY["quality"]["noise"]),
        "classifiers": {
            name: {**result, "accuracy": result["accuracy"] | dict.fromkeys(added, 0.125)}
            for name, result in SUMMARY["classifiers"].items()
        },
    }
    output = io.StringIO()
    console = rich.console.Console(file=output, width=width)
    for one in table.rich_tables({**RESULTS, "pgd_steps": 100, "splits": {"test": summary}}):
        console.print(one)
    text = output.getvalue()
    for word in (
        "densenet_small" if more else "densenet_small (held out) ",
        "test images (unseen), 320",
        "320 of 320 came back",
        "protected",
        "recovered",
        *(["learned", "alone", "wrong"] if more else []),
        "PGD-100",
        "0.981",
        "0.125",
        "35.13",
        "equal",
    ):
        assert word in text
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= (86 if more and width > 80 else 80)
