"""The quickstart: eight photographs that ship inside scikit-image, told apart by their crops.

    python train.py
    python eval.py

No files are needed. It takes 4 min 38 s on two idle cores, compilation included.

Expected (README.md has the whole table), unseen crops, accuracy original -> protected at 32 dB:
resnet_small .98 -> .01, vgg_small .91 -> .07 (targets), densenet_small .94 -> .84 (held out).
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """Returns the configuration of the quickstart."""
    config = base.get_config()
    config.name = "quickstart"
    config.data.dataset = "photographs"
    config.data.image_size = 48
    config.classifiers.steps = 150
    # What protects best in so little time: nothing but the classifiers is trained.
    config.generator.stages = ("gradient",)
    config.generator.gradient.target_psnr = 32.0
    # Two batches a split.
    config.eval.max_images = 128
    return config
