import os

import pytest

from raeg_jax.cli.scan import SourceImage
from raeg_jax.cli.sources import FolderOriginals


@pytest.mark.parametrize(
    ("protected", "expected"),
    [
        ("s/a.png", ["s/a.jpg"]),
        ("s/b.png", ["s/b.bmp", "s/b.png"]),
        ("s/b.bmp.png", ["s/b.bmp"]),
        ("s/c.d.png", ["s/c.d.webp"]),
        ("s/b.png.png", ["s/b.png"]),
        # Given either name by the rules, whether or not `d.jpg` was there.
        ("s/d.jpg.png", ["s/d.jpg", "s/d.jpg.png"]),
    ],
)
def test_originals_are_found_by_their_names(tmp_path, protected, expected):
    (tmp_path / "s").mkdir()
    for name in ("a.jpg", "a.txt", "b.bmp", "b.png", "c.d.webp", "d.jpg", "d.jpg.png"):
        (tmp_path / "s" / name).touch()
    found = FolderOriginals(tmp_path, str(tmp_path)).find(
        SourceImage(tmp_path / protected, protected, "")
    )
    assert [os.fspath(path.relative_to(tmp_path)) for path in found] == expected
