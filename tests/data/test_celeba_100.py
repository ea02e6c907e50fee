"""CelebA by identity: which images, which classes, and what when files are missing."""

import numpy as np
import pytest
from PIL import Image

from raeg_jax import data
from raeg_jax.data import celeba_100
from raeg_jax.errors import UserError

# identity -> number of images
SIZES = {30: 5, 7: 4, 12: 5, 99: 2}


@pytest.fixture
def source(tmp_path):
    """CelebA in small, in its own layout."""
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    owners = [identity for identity, count in SIZES.items() for _ in range(count)]
    np.random.default_rng(0).shuffle(owners)
    rows = []
    for number, identity in enumerate(owners, 1):
        pixels = np.random.default_rng(number).integers(0, 256, (22, 18, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "img_align_celeba" / f"{number:06d}.jpg")
        rows.append(f"{number:06d}.jpg {identity}\n")
    (folder / "identity_CelebA.txt").write_text("".join(rows))
    return folder


@pytest.fixture
def settings(settings, source):
    settings.dataset = "celeba_100"
    settings.source = str(source)
    return settings


def test_choice_is_by_size_then_by_identity():
    identities = {f"{i}.jpg": identity for i, identity in enumerate([5, 5, 3, 3, 9, 2, 2, 2])}
    rows = celeba_100.choose(identities, count=2)
    # Identity 2 has three images; 3 and 5 have two each, and 3 is the smaller number.
    assert [(identity, label) for _, identity, label in rows] == [(2, 0)] * 3 + [(3, 1)] * 2


def test_loads_and_writes_the_list(settings, capsys):
    splits = data.load(settings)
    assert splits.class_names == ("7", "12", "30", "99")
    assert len(splits.train) + len(splits.test) == 16
    # A fifth of each identity, at least one.
    assert np.bincount(splits.test.labels).tolist() == [1, 1, 1, 1]
    rows = celeba_100.read_list(splits.train.folder / "celeba_100.txt")
    listed = {name: label for name, _, label in rows}
    for records in (splits.train, splits.test):
        for record in records:
            assert listed.pop(record["file_name"]) == record["label"]
    assert not listed
    assert "has only 4 identities" in capsys.readouterr().err


def test_list_file_gives_the_same_data_set(settings):
    splits = data.load(settings)
    settings.list_file = str(splits.train.folder / "celeba_100.txt")
    again = data.load(settings)
    assert again.fingerprint == splits.fingerprint
    assert again.class_names == splits.class_names


def test_list_file_of_the_user_wins(settings, source, tmp_path):
    rows = celeba_100.choose(celeba_100.read_identities(source / "identity_CelebA.txt"))
    own = tmp_path / "own.txt"
    own.write_text("".join(f"{n} {i} {int(i == 30)}\n" for n, i, _ in rows if i in (30, 99)))
    # Not needed when the list says it all.
    (source / "identity_CelebA.txt").unlink()
    settings.list_file = str(own)
    splits = data.load(settings)
    assert splits.class_names == ("99", "30")
    assert len(splits.train) + len(splits.test) == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg 1\n", "line 1: expected 'file identity class'"),
        ("a.jpg 1 zero\n", "line 1: expected a whole number, found 'zero'"),
        ("a.jpg 1 0\nb.jpg 2 0\n", "line 2: class 0 has the identities 1 and 2"),
        (f"a.jpg {5000 * '1'} 0\n", r"line 1: expected a whole number, found '1{12}\.\.\.1{13}'$"),
        ("a.jpg 1 0\nb\0.jpg 1 0\n", "line 2: there is a NUL, so it is not a text"),
        ("a.jpg 1 0\nb.jpg 2 2\n", "without gaps"),
        ("a.jpg 1 0\na.jpg 1 0\n", "line 2: a.jpg is listed twice"),
    ],
)
def test_wrong_list_files_are_explained(tmp_path, text, message):
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        celeba_100.read_list(path)


def test_missing_files_are_explained(settings, source):
    for name in ("000001.jpg", "000002.jpg"):
        (source / "img_align_celeba" / name).unlink()
    with pytest.raises(UserError, match=r"2 of 16 listed images are missing.*000001.jpg"):
        data.load(settings)
    (source / "identity_CelebA.txt").unlink()
    with pytest.raises(UserError, match=r"no file .*identity_CelebA.txt.*Get img_align_celeba.zip"):
        data.load(settings)
    (source / "img_align_celeba").rename(source / "images")
    with pytest.raises(UserError, match=r"no folder .*img_align_celeba.*Expected"):
        data.load(settings)
    settings.list_file = "nowhere.txt"
    (source / "images").rename(source / "img_align_celeba")
    with pytest.raises(UserError, match=r"no list file nowhere.txt"):
        data.load(settings)


@pytest.mark.parametrize("nested", ["Img/img_align_celeba", "img_align_celeba/img_align_celeba"])
def test_other_layouts(settings, source, nested):
    (source / "img_align_celeba").rename(source / "moved")
    (source / nested).parent.mkdir()
    (source / "moved").rename(source / nested)
    (source / "Anno").mkdir()
    (source / "identity_CelebA.txt").rename(source / "Anno" / "identity_CelebA.txt")
    assert data.load(settings).num_classes == 4
