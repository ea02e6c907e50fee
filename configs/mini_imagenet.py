"""Mini-ImageNet: classes of ImageNet at 84 pixels, split within classes since RAEG classifies.

    python train.py --config=configs/mini_imagenet.py --config.data.source=DIR --workdir=runs/mini
    python eval.py  --config=configs/mini_imagenet.py --config.data.source=DIR --workdir=runs/mini

DIR holds class folders (with or without train/val), or `images/` and csv files. `:cpu` after the
file name is for two cores: small classifiers, 84 pixels too; `:published` (`configs/scale.py`) is
against published weights, for whose classes these have the names.

Measured so far (docs/measured.md has the commands), accuracy of the targets on unseen images:
`:gradient` .48, .48 -> .00, .00 at 34 dB and .04, .02 at 38 dB; 100 steps of `:cpu`, too few to
have an effect, .48, .48 -> .48, .50 at 44 dB.
"""

from ml_collections import ConfigDict

from configs import scale


def get_config(variant: str = "") -> ConfigDict:
    """Returns the paper-scale configuration, or a variant for two cores, see `configs/scale.py`."""
    # 50 epochs of 48,000 training images (100 classes of 600, a fifth unseen) in batches of 32.
    config = scale.choose("mini_imagenet", variant, images=48_000)
    config.data.dataset = "mini_imagenet"
    if not variant.startswith("poison"):
        config.data.image_size = 84
    return config
