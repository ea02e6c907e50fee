"""A run of seconds that goes through every part; for tests, its numbers mean nothing.

python train.py --config=configs/smoke.py
"""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    """Returns the smallest useful configuration: photographs at 32 pixels, tiny networks."""
    config = base.get_config()
    config.name = "smoke"
    config.data.image_size = 32

    config.generator.blocks = (1, 1)
    config.generator.widths = (8, 8)
    config.generator.depth = 1

    config.classifiers.targets = ("resnet_small",)
    config.classifiers.held_out = ("vgg_small",)
    config.classifiers.batch_size = 16
    config.classifiers.steps = 20
    config.classifiers.warmup_steps = 5

    config.patterns.grid = 8
    config.patterns.steps = 4
    config.patterns.batch_size = 16
    config.patterns.renew_every = 2

    config.optimizer.warmup_steps = 2
    # Twelve steps should show in the averaged parameters.
    config.optimizer.ema_decay = 0.5
    config.train.batch_size = 8
    config.train.steps = 12
    config.train.log_every = 2
    config.train.eval_every = 6
    config.train.eval_images = 16
    config.train.checkpoint_every = 3

    config.eval.batch_size = 16
    config.eval.max_images = 16
    config.eval.pgd_steps = 2
    config.generator.gradient.attack_steps = 2
    config.suite.images = 16
    config.suite.psnrs = (34.0,)
    config.suite.guesses = 1
    config.suite.tries = (2,)
    config.suite.remover_steps = 5
    config.suite.remover_pairs = (8,)
    config.suite.pirates.images = 32
    config.suite.pirates.seeds = 1
    config.suite.pirates.steps = 4
    config.suite.pirates.looks = 2
    config.suite.pirates.defences = ("jpeg_50",)
    config.suite.pirates.trainings = ("augmented",)
    config.suite.pirates.shares = (0.5,)
    return config
