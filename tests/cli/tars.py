"""WebDataset tars for tests."""

import io
import tarfile

from tests.cli.conftest import pixels
from tests.cli.datasets import encoded


def sample(number, image=None):
    """Members of a sample: (name, content)."""
    image = encoded(pixels(number, 24, 24 + number % 3), "JPEG") if image is None else image
    return [
        (f"a/{number:04}.json", b'{"caption":  "n\xc3\xa4me"}'),
        (f"a/{number:04}.JPG", image),
        (f"a/{number:04}.cls", str(number % 3).encode()),
    ]


def write(path, samples, form=tarfile.PAX_FORMAT):
    """Writes a tar with members of samples; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in (member for members in samples for member in members):
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.uname = len(content), 1700000000, "owner"
            tar.addfile(info, io.BytesIO(content))
    return path


def prepare(folder):
    """A folder of two tars of three and two samples."""
    write(folder / "train" / "00.tar", map(sample, range(3)))
    write(folder / "train" / "01.tar", map(sample, range(3, 5)))
    return folder


def members(path):
    """(header, content) of a tar's members, by name."""
    with tarfile.open(path) as tar:
        return {info.name: (info.get_info(), tar.extractfile(info).read()) for info in tar}
