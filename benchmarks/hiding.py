"""What hiding costs: mean PSNR of marked against unmarked images, at some bits a sample.

    python benchmarks/hiding.py --source=DIR/101_ObjectCategories

DIR is Caltech-101; any folder of images will do. Random messages, on 64-pixel crops from the folder
and on scikit-image's photographs at full size, in colour and in grey. A message that does not fit
is counted and left out of the mean. Every marked image is read back and compared.
"""

import pathlib
import statistics
import time

import numpy as np
import skimage
from absl import app, flags

_SOURCE = flags.DEFINE_string("source", "", "Folder of images; only photographs if not given.")
_IMAGES = flags.DEFINE_integer("images", 50, "Images taken from it.", lower_bound=1)
_SIZE = flags.DEFINE_integer("size", 64, "Side of their crops in pixels.", lower_bound=1)
_RATES = flags.DEFINE_list("rates", ["0.01", "0.05", "0.1", "0.3"], "Message bits a sample.")

_GREY = ("camera.png", "coins.png", "moon.png", "page.png", "brick.png", "grass.png")


def crops(folder: pathlib.Path) -> list[np.ndarray]:
    """Images from all over a folder, uint8 [size, size, 3]."""
    from raeg_jax.data import decode
    from raeg_jax.data.source import images_in

    names, _ = images_in(folder)
    chosen = names[:: max(1, len(names) // _IMAGES.value)][: _IMAGES.value]
    return [decode.load((folder / name).read_bytes(), _SIZE.value) for name in chosen]


def photographs(names, channels: int) -> list[np.ndarray]:
    """Photographs of scikit-image, uint8 [H, W, channels]."""
    from raeg_jax.data import decode

    folder = pathlib.Path(skimage.data_dir)  # type: ignore[attr-defined]  # loaded lazily
    return [decode.to_rgb((folder / name).read_bytes())[..., :channels] for name in names]


def measure(name: str, images: list[np.ndarray], rate: float) -> str:
    """Hides a random message in each image; returns a line of the table."""
    from raeg_jax import hiding
    from raeg_jax.image.metrics import file_mse, psnr_of_mse

    generator = np.random.default_rng(0)
    found, spent, megapixels = [], np.zeros(2), 0
    for image in images:
        message = generator.bytes(round(image.size * rate / 8))
        started = time.perf_counter()
        try:
            marked = hiding.embed(image, message)
        except hiding.CapacityError:
            continue
        embedded = time.perf_counter()
        recovered, read = hiding.extract(marked)
        spent += embedded - started, time.perf_counter() - embedded
        megapixels += image.shape[0] * image.shape[1] / 1e6
        if read != message or not np.array_equal(recovered, image):
            raise AssertionError("the image or the message did not come back")
        found.append(psnr_of_mse(file_mse(marked, image)))
    mean = f"{statistics.mean(found):6.2f}" if found else "     -"
    seconds = " ".join(f"{each / max(megapixels, 1e-9):6.2f}" for each in spent)
    return f"{name:22} {rate:5.2f} {mean} {len(images) - len(found):3} of {len(images):3} {seconds}"


def main(argv: list[str]) -> None:
    """Measures and prints."""
    del argv
    from raeg_jax.data.photographs import FILES

    groups = (
        {f"crops of {_SIZE.value} px": crops(pathlib.Path(_SOURCE.value))} if _SOURCE.value else {}
    )
    groups["photographs, colour"] = photographs(FILES.values(), 3)
    groups["photographs, grey"] = photographs(_GREY, 1)
    print(f"{'images':22}  rate     dB    no room s/Mpx in, out")
    for name, images in groups.items():
        for rate in _RATES.value:
            print(measure(name, images, float(rate)), flush=True)


if __name__ == "__main__":
    app.run(main)
