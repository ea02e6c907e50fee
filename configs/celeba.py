"""CelebA-100: the 100 identities of CelebA with most images, to be classified.

    python train.py --config=configs/celeba.py --config.data.source=DIR --workdir=runs/celeba
    python eval.py  --config=configs/celeba.py --config.data.source=DIR --workdir=runs/celeba

DIR holds `img_align_celeba/` and `identity_CelebA.txt`. `:cpu` after the file name fits two
cores: 64 pixels, small classifiers, under an hour.

Measured so far: a short run of `:cpu` with classifiers far from trained (docs/measured.md has the
command), accuracy original -> protected: fitted .16 -> .15, .22 -> .20, .19 -> .16;
unseen .10 -> .11, .18 -> .10, .12 -> .12 at 39.2 dB.
"""

from ml_collections import ConfigDict

from configs import scale


def get_config(variant: str = "") -> ConfigDict:
    """Returns the paper-scale configuration, or a variant for two cores, see `configs/scale.py`."""
    # 50 epochs of about 2,400 training images (100 identities of 30) in batches of 32.
    config = scale.choose("celeba", variant, images=2400)
    config.data.dataset = "celeba_100"
    return config
