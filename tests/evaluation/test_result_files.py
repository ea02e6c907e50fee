import csv
import json
import re

import numpy as np
import pytest

from raeg_jax.data.decode import to_rgb
from raeg_jax.errors import UserError
from raeg_jax.evaluation import result_files
from tests.evaluation.test_table import RESULTS

ROWS = [{"split": "train", "file": "a,b.jpg", "class": "cat"}]
GRID = np.full((4, 5, 3), 7, np.uint8)


def write(folder, results=RESULTS):
    return result_files.write(folder, results, ROWS, GRID, {"protect_images_per_s": 1.5})


def test_all_files_can_be_read_back(tmp_path):
    write(tmp_path / "new")
    folder = tmp_path / "new"
    assert json.loads((folder / "results.json").read_text()) == RESULTS
    assert (folder / "results.md").read_text().startswith("# quickstart")
    with open(folder / "images.csv", newline="") as file:
        assert list(csv.DictReader(file)) == ROWS
    np.testing.assert_array_equal(to_rgb((folder / "grid.png").read_bytes()), GRID)
    assert json.loads((folder / "timings.json").read_text())["protect_images_per_s"] == 1.5
    assert len(list(folder.iterdir())) == 5


@pytest.mark.parametrize("checkpoint", ["best", "300"])
def test_another_checkpoint_leaves_the_results_of_the_latest(tmp_path, checkpoint):
    write(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    write(tmp_path, {**RESULTS, "checkpoint": checkpoint, "step": 300})
    assert {path: path.read_bytes() for path in before} == before
    added = {path.name for path in tmp_path.iterdir()} - {path.name for path in before}
    assert added == {
        f"{stem}-{checkpoint}.{suffix}"
        for stem, suffix in (path.name.split(".") for path in before)
    }
    assert json.loads((tmp_path / f"results-{checkpoint}.json").read_text())["step"] == 300


def of(stages, targets=("resnet_small",), token_planes=2, **gradient):
    settings = {
        "generator": {"gradient": gradient, "shortcut": {}, "token_planes": token_planes},
        "classifiers": {"targets": list(targets)},
    }
    generator = {**RESULTS["generator"], "stages": list(stages)}
    return {**RESULTS, "generator": generator, "settings": settings}


def test_results_of_another_generator_are_kept(tmp_path):
    learned, both = of(["learned"]), of(["learned", "gradient"], target_psnr=34.0)
    other = of(["learned", "gradient"], target_psnr=38.0)
    assert write(tmp_path, learned) is None
    grid = (tmp_path / "grid.png").read_bytes()
    assert write(tmp_path, both) == "results-learned.json"
    assert len(list(tmp_path.iterdir())) == 10
    assert (tmp_path / "grid-learned.png").read_bytes() == grid
    kept = write(tmp_path, other)
    assert re.fullmatch(r"results-learned-gradient-[0-9a-f]{6}\.json", kept)
    # Going back and forth leaves one copy of each, and nothing is renamed for the same generator.
    assert write(tmp_path, both) != kept
    assert write(tmp_path, both) is None
    assert write(tmp_path, other) == kept
    for name, results in {
        "results.json": other,
        kept: both,
        "results-learned.json": learned,
    }.items():
        assert json.loads((tmp_path / name).read_text()) == results


def test_other_targets_or_a_token_make_another_generator(tmp_path):
    assert write(tmp_path, of(["gradient"])) is None
    first = write(tmp_path, of(["gradient"], targets=["vgg_small"]))
    second = write(tmp_path, of(["gradient"], token_planes=0))
    assert re.fullmatch(r"results-gradient-[0-9a-f]{6}\.json", first)
    assert write(tmp_path, of(["gradient"])) not in (None, first, second)
    assert json.loads((tmp_path / first).read_text()) == of(["gradient"])


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"3", b'{"generator": []}'])
def test_what_is_no_result_is_replaced(tmp_path, content):
    (tmp_path / "results.json").write_bytes(content)
    assert write(tmp_path) is None
    assert json.loads((tmp_path / "results.json").read_text()) == RESULTS


def test_a_folder_in_the_place_of_a_result_is_named_before_anything_is_measured(tmp_path):
    (tmp_path / "results-best.json").mkdir()
    result_files.check_writable(tmp_path, "latest")
    with pytest.raises(UserError, match=r"results-best\.json is a folder where a file"):
        result_files.check_writable(tmp_path, "best")
    assert list(tmp_path.iterdir()) == [tmp_path / "results-best.json"]


def test_settings_of_a_shortcut_stage_make_another_generator(tmp_path):
    def poison(seed):
        one = of(["shortcut", "gradient"], target_psnr=32.0)
        one["settings"]["generator"]["shortcut"] = {"seed": seed}
        return one

    assert write(tmp_path, poison(0)) is None
    assert write(tmp_path, poison(0)) is None
    kept = write(tmp_path, poison(1))
    assert re.fullmatch(r"results-shortcut-gradient-[0-9a-f]{6}\.json", kept)


def test_settings_of_a_gradient_stage_that_is_not_there_make_no_other_generator(tmp_path):
    write(tmp_path, of(["learned"], target_psnr=34.0))
    assert write(tmp_path, of(["learned"], target_psnr=38.0)) is None


def test_results_of_another_generator_are_kept_for_each_checkpoint(tmp_path):
    write(tmp_path, of(["gradient"], target_psnr=34.0))
    write(tmp_path, {**of(["learned"]), "checkpoint": "best"})
    both = {**of(["learned", "gradient"]), "checkpoint": "best"}
    assert write(tmp_path, both) == "results-best-learned.json"
    assert json.loads((tmp_path / "results.json").read_text())["generator"]["stages"] == [
        "gradient"
    ]


def test_results_that_json_cannot_hold_leave_the_old_ones(tmp_path):
    write(tmp_path)
    before = (tmp_path / "results.json").read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write(tmp_path, {**RESULTS, "seed": float("nan")})
    assert (tmp_path / "results.json").read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_a_folder_whose_name_is_no_text_can_be_written(tmp_path):
    command = "python train.py --config.data.source=caf\udce9"
    write(tmp_path, {**RESULTS, "command": command})
    assert "caf\\udce9" in (tmp_path / "results.md").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "results.json").read_text())["command"] == command


def test_a_row_says_where_the_payload_is_and_what_pixels_alone_give():
    per_image = {
        **{f"psnr/{name}": np.array([40.0]) for name in ("protected", "pixels_alone")},
        "psnr/recovered": np.array([np.inf]),
        "ssim/protected": np.array([0.9]),
        "outside": np.array([0.25]),
        "exact/recovered": np.array([True]),
        "exact/pixels_alone": np.array([False]),
        "payload/in_pixels": np.array([False]),
        "payload/bytes": np.array([92]),
    }
    (row,) = result_files.image_rows("test", per_image, np.array([0]), ["x.png"], ("cat",), {})
    assert (row["exact"], row["exact_from_pixels_alone"]) == (1, 0)
    assert (row["payload_in_pixels"], row["payload_bytes"]) == (0, 92)


def test_a_row_an_image_says_what_was_read():
    per_image = {
        "psnr/protected": np.array([35.0, np.inf]),
        "ssim/protected": np.array([0.9, 1.0]),
        "psnr/recovered": np.array([np.inf, np.inf]),
        "outside": np.array([0.25, 0.0]),
        "exact/recovered": np.array([True, False]),
        "read/net/original": np.array([1, 0]),
        "read/net/protected": np.array([0, 0]),
        "bytes/original": np.array([10, 20]),
    }
    labels, classes = np.array([1, 0]), ("cat", "dog")
    read_as = {"net": ("kitten", "puppy")}
    first, second = result_files.image_rows(
        "test", per_image, labels, ["x.png", "y.png"], classes, read_as
    )
    assert first == {
        "split": "test",
        "file": "x.png",
        "class": "dog",
        "psnr_protected": "35.000",
        "ssim_protected": "0.90000",
        "psnr_recovered": "inf",
        "outside_range": "0.250000",
        "exact": 1,
        "net/original": "puppy",
        "net/protected": "kitten",
    }
    assert (second["file"], second["class"], second["exact"]) == ("y.png", "cat", 0)
