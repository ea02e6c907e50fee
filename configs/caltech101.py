"""Caltech-101: 101 object classes, 30 training images each, the rest unseen.

    python train.py --config=configs/caltech101.py --config.data.source=DIR --workdir=runs/caltech
    python eval.py  --config=configs/caltech101.py --config.data.source=DIR --workdir=runs/caltech

DIR holds `101_ObjectCategories/`; without it TFDS downloads the archive. `:cpu` after the file
name fits two cores: 64 pixels, small classifiers, about 35 minutes for the generator.

Expected of `:cpu` (README.md has the whole table), accuracy original -> protected at 34.7 dB:
fitted .78 -> .32 and .70 -> .40, unseen .47 -> .26 and .46 -> .30 (targets), .42 -> .39 (held out).
"""

from ml_collections import ConfigDict

from configs import scale


def get_config(variant: str = "") -> ConfigDict:
    """Returns the paper-scale configuration, or a variant for two cores, see `configs/scale.py`."""
    # 50 epochs of 3,030 images in batches of 32.
    config = scale.choose("caltech101", variant, images=3030)
    config.data.dataset = "caltech101"
    return config
