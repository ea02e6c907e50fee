"""Your own images: any tree of class folders.

    python train.py --config=configs/folder.py:cpu --config.data.source=PHOTOS --workdir=runs/photos
    python eval.py  --config=configs/folder.py:cpu --config.data.source=PHOTOS --workdir=runs/photos

PHOTOS holds one folder a class, or a split of its own: `train/<class>` beside `test/<class>` (or
val, valid, dev, eval; in any case, also `Training`, `test_set`, `seg_train/seg_train`). Of a test
and a validation part the test part is taken. The classes and their images are printed.

Without `:cpu` it is the paper-scale configuration, for accelerators; its 50 epochs are counted
for 3,000 training images, so set `--config.train.steps` for many more or fewer.
"""

from ml_collections import ConfigDict

from configs import scale


def get_config(variant: str = "") -> ConfigDict:
    """Returns the paper-scale configuration, or a variant for two cores, see `configs/scale.py`."""
    config = scale.choose("folder", variant, images=3000)
    config.data.dataset = "image_folder"
    return config
