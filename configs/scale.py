"""What the three benchmarks share: paper scale for accelerators, and variants for two cores.

`:cpu` and `:learned` are the learned generator at 64 pixels, `:gradient` gradient couplings alone,
and `:both` a learned stage at a higher PSNR and then gradient couplings. `:poison` is a shortcut
stage with learned patterns, at 32 pixels: small enough to train pirated models by the dozen. It is
the best of what was tried (docs/poison.md) against pirates who train from scratch.
`:poison_learned` is a learned stage there, trained to poison instead of to mislead, and
`:poison_published` gives half of the squared distance to gradient couplings against published
networks with heads of the data set's classes, for pirates who start from such networks.
`:published` are gradient couplings against published weights, of which nothing is trained:

    python train.py --config=folder:published --config.data.source=PHOTOS \
        --config.classifiers.weights=FOLDER

evaluates; `:poison_published` has the same flags. FOLDER holds lite0.safetensors, lite1.safetensors
and lite2.safetensors, which `raeg weights import efficientnet_lite0 ...` and so on make; or name
others as --config.classifiers.targets and held_out.
"""

from ml_collections import ConfigDict

from configs import base

EPOCHS, BATCH = 50, 32
# Ways to protect; the variant `cpu` is `learned`.
STAGES = {
    "learned": ("learned",),
    "gradient": ("gradient",),
    "both": ("learned", "gradient"),
    "poison": ("shortcut",),
    "poison_learned": ("learned",),
    "poison_published": ("shortcut", "gradient"),
    "published": ("gradient",),
}


def choose(name: str, variant: str, images: int) -> ConfigDict:
    """Returns the configuration of a variant.

    Args:
      name: of the configuration.
      variant: '' (paper scale), 'cpu', or a key of `STAGES`.
      images: training images, from which paper scale counts the steps of 50 epochs.

    Raises:
      ValueError: for another variant.
    """
    if variant not in ("", "cpu", *STAGES):
        known = ", ".join(f"':{name}'" for name in ("cpu", *STAGES))
        raise ValueError(f"unknown variant {variant!r}: leave it out, or write one of {known}")
    config = cpu() if variant else paper(images)
    config.generator.stages = STAGES.get(variant, ("learned",))
    if variant == "both":
        # Half of the distance (6 dB) for the learned stage, the rest for the gradient stage.
        config.loss.target_psnr = config.generator.gradient.target_psnr + 6
    if variant.startswith("poison"):
        poison(config)
    if variant == "poison_learned":
        poison_learned(config)
    if variant == "poison_published":
        with_heads(config)
    if variant == "published":
        published(config)
    # The default workdir is runs/<name>: the variants must not share one.
    config.name = f"{name}_{variant}" if variant else name
    return config


def paper(images: int) -> ConfigDict:
    """Batch 32 and 50 epochs against three large classifiers, on accelerators (our weights)."""
    config = base.get_config()
    config.data.image_size = 128
    config.data.workers = 8
    config.generator.blocks = (2, 2, 2)
    config.generator.widths = (64, 96, 128)
    config.classifiers.targets = ("resnet50", "densenet121", "vgg19_bn")
    config.classifiers.held_out = ("resnet18", "vgg16_bn")
    config.classifiers.steps = 20_000
    config.augment.crop_padding = 16
    config.attack_layer.probability.update(
        identity=2.0, jpeg=2.0, gaussian_blur=1.0, median_blur=1.0,
        rescale=1.0, gaussian_noise=1.0, bit_depth=1.0, crop_resize=1.0,
    )  # fmt: skip
    config.loss.weight.update(robust=0.5, ssim=1.0, gan=0.01)
    config.train.batch_size = BATCH
    config.train.steps = EPOCHS * images // BATCH
    config.train.checkpoint_every = 1000
    config.train.eval_every = 1000
    config.train.eval_images = 512
    config.eval.max_images = 2000
    return config


def cpu() -> ConfigDict:
    """64 pixels, small classifiers, no attack layer: within an hour on two cores."""
    config = base.get_config()
    config.loss.target_psnr = 34.0
    config.train.steps = 3000
    config.eval.max_images = 500
    config.suite.images = 100
    config.suite.psnrs = (32.0, 34.0, 38.0)
    config.suite.guesses = 2
    config.suite.tries = (4,)
    config.suite.remover_steps = 400
    config.suite.remover_pairs = (500,)
    config.suite.pirates.images = 1000
    config.suite.pirates.steps = 300
    config.suite.pirates.defences = ("jpeg_50",)
    config.suite.pirates.shares = ()
    return config


def poison(config: ConfigDict) -> None:
    """Changes `cpu`: 32 pixels; patterns that are learned with pirates' defences in the loop.

    Pirates have the defences that leave them most.
    """
    config.data.image_size = 32
    config.augment.crop_padding = 3
    config.classifiers.steps = 1000
    config.generator.gradient.target_psnr = 32.0
    config.generator.shortcut.target_psnr = 32.0
    config.generator.shortcut.pattern = "learned"
    config.attack_layer.jpeg_quality = (5, 50)
    config.attack_layer.probability.update(identity=0.15, jpeg=0.35, grey=0.35, gaussian_blur=0.15)
    config.suite.psnrs = (30.0, 32.0, 36.0)
    config.suite.pirates.images = 3000
    config.suite.pirates.steps = 600
    config.suite.pirates.defences = ("jpeg_50", "jpeg_10", "grey", "blur_1")
    config.suite.pirates.trainings = ("adversarial", "adversarial_8")
    config.suite.pirates.shares = (0.75, 0.5, 0.25)


def poison_learned(config: ConfigDict) -> None:
    """Changes `poison`: a learned stage takes the distance, and minimises what patterns did."""
    config.generator.class_planes = 8
    config.loss.target_psnr = config.generator.gradient.target_psnr
    config.loss.weight.update(adversary=0.0, token=0.0, poison=1.0)
    config.train.steps = 1000


def with_heads(config: ConfigDict) -> None:
    """Changes `poison`: couplings lead published networks away from the classes.

    Each step has its view, so that the attack outlives grey and JPEG.
    """
    config.classifiers.targets = ("lite0.safetensors",)
    config.classifiers.held_out = ("lite2.safetensors",)
    config.classifiers.heads = 112
    config.generator.shortcut.target_psnr = 35.0
    config.generator.gradient.attack_steps = 8
    config.generator.gradient.views = ("identity", "jpeg:50", "identity", "grey")
    config.suite.pirates.architectures = ("densenet_small", "lite0.safetensors")


def published(config: ConfigDict) -> None:
    """Changes `cpu`: whole photographs, against the published EfficientNet-Lite0 and Lite1.

    `eval.py` sees squares of 224 pixels; the stage is that of `raeg_jax.generator_against`.
    """
    config.data.image_size = 224
    config.generator.gradient.update(base.PHOTOGRAPHS)
    config.classifiers.targets = ("lite0.safetensors", "lite1.safetensors")
    config.classifiers.held_out = ("lite2.safetensors",)
    # Larger networks at larger sizes: memory, and time.
    config.eval.batch_size = 8
    config.eval.max_images = 200
