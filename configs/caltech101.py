"""Caltech-101: 101 object classes, 30 training images each, the rest unseen.

    python train.py --config=configs/caltech101.py --config.data.source=DIR --workdir=runs/caltech
    python eval.py  --config=configs/caltech101.py --config.data.source=DIR --workdir=runs/caltech

DIR holds `101_ObjectCategories/`; without it TFDS downloads the archive. `:learned`, `:gradient`
and `:both` after the file name fit two cores: 64 pixels, small classifiers; `:cpu` is `:learned`.
`:published` is against published weights, at 224 pixels (`configs/scale.py`).

Expected at 34 dB (docs/measured.md has all tables), accuracy of the two targets and the held-out
classifier on protected images. `:gradient`: fitted .00, .00, .63, unseen .02, .03, .35;
`:learned` (3,000 steps, coupling `integer_float`): fitted .27, .33, .58, unseen .24, .26, .37.
"""

from ml_collections import ConfigDict

from configs import scale


def get_config(variant: str = "") -> ConfigDict:
    """Returns the paper-scale configuration, or a variant for two cores, see `configs/scale.py`."""
    # 50 epochs of 3,030 images in batches of 32.
    config = scale.choose("caltech101", variant, images=3030)
    config.data.dataset = "caltech101"
    return config
