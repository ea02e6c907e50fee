"""Mini-ImageNet in each of its layouts gives the same closed-set split."""

import shutil

import numpy as np
import pytest

from raeg_jax import data
from raeg_jax.errors import UserError

SIZES = {"n03": 6, "n01": 6, "n02": 6}


@pytest.fixture
def settings(settings, tmp_path):
    settings.dataset = "mini_imagenet"
    settings.source = str(tmp_path / "mini")
    settings.test_fraction = 0.34
    return settings


def folders(make_tree, root):
    """Class folders, and nothing else."""
    return make_tree(root, SIZES)


def parts(make_tree, root):
    """Classes spread over train and val, one of them in both."""
    make_tree(root / "all", SIZES)
    for name, part in (("n03", "train"), ("n01", "val"), ("n02", "train")):
        (root / part).mkdir(exist_ok=True)
        shutil.move(root / "all" / name, root / part / name)
    (root / "val" / "n02").mkdir()
    for number in (1, 4):
        shutil.move(root / "train" / "n02" / f"000{number}.jpg", root / "val" / "n02")
    shutil.rmtree(root / "all")
    return root


def tables(make_tree, root):
    """`images/` with csv files whose classes differ, as published."""
    make_tree(root / "all", SIZES)
    (root / "images").mkdir()
    for name, part in (("n03", "train"), ("n01", "val"), ("n02", "test")):
        rows = ["filename,label"]
        for path in sorted((root / "all" / name).iterdir()):
            shutil.move(path, root / "images" / f"{name}{path.name}")
            rows.append(f"{name}{path.name},{name}")
        (root / f"{part}.csv").write_text("\n".join(rows))
    shutil.rmtree(root / "all")
    return root


LAYOUTS = {"folders": folders, "parts": parts, "tables": tables}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_classes_are_split_within(settings, make_tree, tmp_path, layout):
    LAYOUTS[layout](make_tree, tmp_path / "mini")
    splits = data.load(settings)
    assert splits.class_names == ("n01", "n02", "n03")
    assert np.bincount(splits.train.labels).tolist() == [4, 4, 4]
    assert np.bincount(splits.test.labels).tolist() == [2, 2, 2]


def test_parts_do_not_change_the_split(settings, make_tree, tmp_path):
    folders(make_tree, tmp_path / "mini")
    merged = data.load(settings)
    shutil.rmtree(tmp_path / "mini")
    parts(make_tree, tmp_path / "mini")
    assert data.load(settings).fingerprint == merged.fingerprint


def test_class_names_are_shown(settings, make_tree, tmp_path):
    root = folders(make_tree, tmp_path / "mini")
    rows = ["n01\tharvestman, daddy longlegs", "n02\tcrane", "n03\tcrane, machine", "n99\tnot here"]
    (root / "class_names.txt").write_text("\n".join(rows))
    assert data.load(settings).class_names == ("harvestman", "crane (n02)", "crane (n03)")


def test_missing_images_are_counted(settings, make_tree, tmp_path):
    root = tables(make_tree, tmp_path / "mini")
    (root / "images" / "n030002.jpg").unlink()
    with pytest.raises(UserError, match=r"1 images of train.csv, .*missing.*n030002.jpg"):
        data.load(settings)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,class\na.jpg,b\n", "expected the columns"),
        ("filename,label\na.jpg\n", "line 2"),
        (f'filename,label\n"a.jpg,b\n{200_000 * "x"}', r"val.csv is .*\(field larger than field"),
        ('filename,label\n"a.jpg,b\n', r"val.csv is .*\(unexpected end .*quote that isn't closed"),
    ],
)
def test_wrong_tables_are_explained(settings, make_tree, tmp_path, table, message):
    root = tables(make_tree, tmp_path / "mini")
    (root / "val.csv").write_text(table)
    with pytest.raises(UserError, match=message):
        data.load(settings)


def test_an_image_of_two_classes_is_named(settings, make_tree, tmp_path, capsys):
    root = tables(make_tree, tmp_path / "mini")
    with (root / "val.csv").open("a") as table:
        table.write("\nn030002.jpg,n01\n")
    data.load(settings)
    note = "1 images are in two classes and count in both: n01/n030002.jpg = n03/n030002.jpg"
    assert note in capsys.readouterr().err


def test_an_image_in_two_parts_is_named(settings, make_tree, tmp_path):
    root = parts(make_tree, tmp_path / "mini")
    shutil.copy(root / "val" / "n02" / "0001.jpg", root / "train" / "n02" / "0001.jpg")
    with pytest.raises(UserError, match=r"class n02 has 1 images twice.*n02/0001.jpg"):
        data.load(settings)


def test_missing_tree_is_explained(settings, tmp_path):
    (tmp_path / "mini").mkdir()
    with pytest.raises(UserError, match=r"no class folders .*Expected: class folders"):
        data.load(settings)
    settings.source = ""
    with pytest.raises(UserError, match=r"set --config.data.source=FOLDER"):
        data.load(settings)
