"""The quickstart: eight photographs that ship inside scikit-image, told apart by their crops.

    python train.py
    python eval.py

No files are needed. It takes nine minutes of CPU time, compilation included: somewhat more than
four on two idle cores.

Expected (README.md has the whole table), unseen crops, accuracy original -> learned stage alone at
34.3 dB -> protected file at 32.1 dB: resnet_small .98 -> .52 -> .11, vgg_small .92 -> .70 -> .39
(targets), densenet_small .95 -> .95 -> .88 (held out). 128 of 128 files come back bit for bit.
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
    # A small U-shaped network takes most of the squared distance, gradient rounds some of the rest;
    # hiding the payload in what these leave takes the file to 32 dB.
    config.generator.stages = ("learned", "gradient")
    config.generator.blocks = (1, 1)
    config.generator.widths = (16, 16)
    config.loss.target_psnr = 34.0
    config.generator.gradient.target_psnr = 32.7
    # It is trained through the attack layer, and against the discriminator.
    config.attack_layer.probability.update(
        jpeg=1.0, gaussian_blur=1.0, rescale=1.0, gaussian_noise=1.0
    )
    config.loss.weight.update(robust=0.5, gan=0.01)
    config.discriminator.width = 16
    # Gradient rounds lock exact recovery; what this term teaches takes longer than there is time.
    config.loss.weight.token = 0.0
    # Content sooner than elsewhere: gradient rounds go on from there.
    config.loss.kappa = 2.0
    config.optimizer.learning_rate = 3e-3
    config.optimizer.warmup_steps = 30
    config.optimizer.ema_decay = 0.97
    config.train.batch_size = 8
    config.train.steps = 1200
    config.train.eval_every = 400
    config.train.checkpoint_every = 400
    # Two batches a split.
    config.eval.max_images = 128
    return config
