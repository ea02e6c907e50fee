"""The settings of every run, with their defaults; the other configs change this one.

Every value can be overridden on the command line: `--config.loss.target_psnr=36`.
All weights are our choice: the paper's text gives none.
"""

from ml_collections import ConfigDict

# Settings of `config.generator.gradient` for whole photographs against published weights: of 16
# steps, each of two targets has as many with each view.
PHOTOGRAPHS = {
    "views": (
        *("crop", "crop", "crop+jpeg:75", "crop+jpeg:55"),
        *("whole", "whole", "centre+jpeg:75", "centre+jpeg:55"),
    ),
    "others": 50,
    "momentum": 0.9,
    "attack_steps": 16,
    "rounds": 6,
    "step": 1.15,
}


def get_config() -> ConfigDict:
    """Returns the base configuration: a small integer generator for 64-pixel images."""
    config = ConfigDict()
    config.name = "base"
    config.seed = 0
    # 'pmap' or 'shard_map': how the step is mapped over devices (equal results).
    config.parallel = "pmap"
    # Call jax.distributed.initialize() first: one process a host, one workdir shared by all.
    config.multi_host = False

    config.data = ConfigDict()
    # photographs | celeba_100 | caltech101 | mini_imagenet | image_folder
    config.data.dataset = "photographs"
    # Folder with the data set's official files; '' lets TFDS download where it can.
    config.data.source = ""
    # Folder of prepared data; '' is $RAEG_DATA or ~/.cache/raeg_jax.
    config.data.cache_dir = ""
    # celeba_100: a file listing 'file identity class' rows; '' chooses the 100 largest identities.
    config.data.list_file = ""
    # Share of each class kept for testing, where a data set has no split of its own.
    config.data.test_fraction = 0.2
    config.data.image_size = 64
    # Keep decoded, resized images in memory where they take less than this many MiB.
    config.data.memory_mib = 2048
    # Grain worker processes for decoding when the images don't fit in memory.
    config.data.workers = 0

    config.generator = ConfigDict()
    # One or more of these, in this order. 'learned': the U-shaped network; 'shortcut': a pattern
    # that comes with each class, for pirates to learn in place of its objects; 'gradient': an
    # attack on the target classifiers that runs backwards. The last two aren't trained.
    config.generator.stages = ("learned",)
    # additive | affine | irn | gin | gin_pixel | glow | all_in_one | integer | integer_float.
    # integer is exact anywhere (its conditioners compute in fixed point), integer_float in the
    # program that protected; docs/couplings.md describes all, and adds one.
    config.generator.coupling = "integer"
    # dense | residual | plain | unet | attention; the last is not for coupling integer.
    config.generator.conditioner = "unet"
    # none | permutation | rotation | actnorm | conv1x1; integer couplings have the first two.
    config.generator.mixing = "permutation"
    # haar | unshuffle; with integer couplings haar is its integer lifting.
    config.generator.downsampling = "haar"
    # One entry a level, finest first.
    config.generator.blocks = (1, 1, 1)
    config.generator.widths = (24, 32, 48)
    # Layers of each conditioner.
    config.generator.depth = 2
    # Bound on |log scale| of the multiplicative couplings.
    config.generator.clamp = 1.0
    # tanh | atan | sigmoid: the function that keeps log scales within it.
    config.generator.clamping = "tanh"
    # Planes of +1 and -1 that depend on a key; 0 for none. They are an input of learned
    # conditioners and choose the masks of gradient stages. Without the key nobody can invert the
    # generator exactly, not even with its weights; docs/key.md says what its inverse gives then.
    config.generator.token_planes = 2
    # Planes of +1 and -1 that say the image's class, another input of learned conditioners, which
    # then make a pattern for each class; 0 for none. P of them tell 2^P classes apart. Payloads
    # then hold the class, and where the owner doesn't say it, the targets read it.
    config.generator.class_planes = 0

    config.generator.shortcut = ConfigDict()
    # PSNR after this stage; that of a gradient stage after it must be lower. Its couplings have the
    # rounds, step, least_step, bound, margin and mask of `generator.gradient` below.
    config.generator.shortcut.target_psnr = 33.0
    # waves | cells | learned. Waves are learned sooner, cells outlive JPEG (docs/experiments.md);
    # train.py makes learned ones, to which the settings below mean nothing.
    config.generator.shortcut.pattern = "waves"
    # Period of the waves in pixels; cycles within it (least and most, along the axis with more
    # of them); number of waves of each class.
    config.generator.shortcut.period = 16
    config.generator.shortcut.cycles = (4, 8)
    config.generator.shortcut.waves = 1
    # Side of a cell in pixels; cells along each axis after which the pattern repeats.
    config.generator.shortcut.cell = 8
    config.generator.shortcut.cells = 4
    # grey | red_green | blue_yellow
    config.generator.shortcut.colours = ("red_green", "blue_yellow")
    # Draws which class has which pattern.
    config.generator.shortcut.seed = 0

    config.generator.gradient = ConfigDict()
    # fixed | float: arithmetic of the targets' gradients. With fixed point, recovery is exact on
    # any machine, with floating point in the program that protected.
    config.generator.gradient.arithmetic = "fixed"
    # Each image is changed until it has this PSNR, or for this number of rounds.
    config.generator.gradient.target_psnr = 34.0
    config.generator.gradient.rounds = 16
    # Steps of the attack in a round, which carries out the masked part of it. Protecting and
    # recovering take rounds x attack_steps gradients of every target; a batch takes as many rounds
    # as the image in it that needs most, commonly four.
    config.generator.gradient.attack_steps = 6
    # Root mean square of one round's shifts: as a share of the distance that target_psnr and the
    # stages before allow (with 1, one turn of all masks uses it up, but for limited shifts), and at
    # least, in pixel units (shorter shifts are rounded away).
    config.generator.gradient.step = 1.05
    config.generator.gradient.least_step = 0.5
    # Largest change of a value in a round, and the distance that shifts keep from 0 and 255.
    config.generator.gradient.bound = 64
    config.generator.gradient.margin = 8
    # checkerboard | diagonal | random
    config.generator.gradient.mask = "diagonal"
    # Share of the direction so far that each step adds to its own; with views of photographs.
    config.generator.gradient.momentum = 0.0
    # untargeted | targeted (toward a fixed permutation of the classes) | features (away from what
    # the targets' last dense layers read; needs arithmetic = "float")
    config.generator.gradient.loss = "untargeted"
    # In logits: a classifier that misclassifies by a larger margin counts less than the others.
    config.generator.gradient.kappa = 1.0
    # The margin is to the mean of so many best other classes, at most all of them: with 1 the
    # attack stops pushing where the reading flips, with 50 it goes on down the list of readings.
    config.generator.gradient.others = 1
    # Distortions through which the classifiers see the image, in turn from step to step: identity,
    # gaussian_blur:<sigma>, jpeg:<quality>, bit_depth:<bits>, rescale:<factor>. Or views of whole
    # photographs, scaled to the input of published targets: whole, centre (a square in the middle),
    # crop (a part that the key draws, .7 to 1 of each side), each with +jpeg:<quality> or without.
    # With these the stage has no tiles, one program serves photographs of all sizes, and each step
    # takes one target in turn.
    config.generator.gradient.views = ("identity",)
    # Standard deviation in pixels of a Gaussian that smooths the gradient.
    config.generator.gradient.smoothing = 0.0

    config.classifiers = ConfigDict()
    # Names of networks, which are trained on the data set; or names of files of published weights,
    # 'NAME.safetensors' (`raeg weights import` makes them), which have classes of their own: then
    # attacks lead away from what the targets read on the original, and targets are all of one kind.
    config.classifiers.targets = ("resnet_small", "vgg_small")
    config.classifiers.held_out = ("densenet_small",)
    # Folder of the files of published weights; '' is the current one.
    config.classifiers.weights = ""
    # Shorter side in pixels to which small images are enlarged for published networks, with heads:
    # classifiers of the data set's classes in place of their last layers, fitted to their features.
    # 0 for none.
    config.classifiers.heads = 0
    # All further settings are those of training.
    config.classifiers.batch_size = 64
    config.classifiers.steps = 1500
    config.classifiers.learning_rate = 2e-3
    config.classifiers.weight_decay = 5e-3
    config.classifiers.warmup_steps = 100
    config.classifiers.label_smoothing = 0.1
    # Adversarial training: each training image is attacked by one step from a random start, with
    # at most this change of a value, in pixel units; 0 for none.
    config.classifiers.adversarial = 0.0

    # How train.py learns the patterns of a shortcut stage with pattern = "learned": together with
    # surrogates, networks that stand for those of pirates, which see protected images through
    # `attack_layer` and `augment` (all but mixup) below.
    config.patterns = ConfigDict()
    # Cells along each side of a pattern, which is enlarged to the photograph; patterns of a class.
    config.patterns.grid = 32
    config.patterns.variants = 1
    # Names of networks; the settings of training in `classifiers` apply to them, too. With
    # `loss.weight.poison` a learned stage has these surrogates, and `renew_every`.
    config.patterns.surrogates = ("resnet_small", "vgg_small")
    config.patterns.steps = 3000
    config.patterns.batch_size = 64
    # Of Adam at the start, then along a cosine; patterns have a root mean square of 1.
    config.patterns.learning_rate = 0.06
    # Steps after which a surrogate is replaced by a new one. Sooner, it doesn't get far enough to
    # need the pattern.
    config.patterns.renew_every = 400
    # In a quarter of the steps each surrogate's images are attacked first, by at most this change
    # of a value, in pixel units; 0 for none.
    config.patterns.adversarial = 4.0

    # Augmentation of the classifiers' and (flip only, if on) the generator's training images.
    config.augment = ConfigDict()
    config.augment.flip = True
    # All others are for classifiers and surrogates only. Pad by reflection by so many pixels, then
    # crop at random.
    config.augment.crop_padding = 6
    # A random part of each image, at least this share of each side, is enlarged to its size; 1 for
    # none.
    config.augment.crop_share = 1.0
    # Probability that an image is turned to grey.
    config.augment.grey = 0.0
    # Side of a grey square painted over each image, as a share of the image's side.
    config.augment.cutout = 0.0
    # Alpha of the Beta distribution of mixup's weights; 0 for no mixup.
    config.augment.mixup = 0.0

    config.attack_layer = ConfigDict()
    # Relative probability of each distortion; one is drawn each step.
    config.attack_layer.probability = ConfigDict(
        {
            "identity": 1.0,
            "jpeg": 0.0,
            "grey": 0.0,
            "gaussian_blur": 0.0,
            "median_blur": 0.0,
            "rescale": 0.0,
            "sharpen": 0.0,
            "gaussian_noise": 0.0,
            "bit_depth": 0.0,
            "crop_resize": 0.0,
        }
    )
    config.attack_layer.jpeg_quality = (50, 95)
    config.attack_layer.blur_sigma = (0.5, 1.5)
    config.attack_layer.median_size = 3
    config.attack_layer.rescale_factor = (0.5, 1.0)
    # Factor of what a blur of one pixel takes away, which is added.
    config.attack_layer.sharpen_amount = (0.5, 1.5)
    # Standard deviation in pixel units.
    config.attack_layer.noise_std = (1.0, 8.0)
    config.attack_layer.bits = (4, 6)
    # Share of each side kept.
    config.attack_layer.crop_share = (0.75, 1.0)

    config.loss = ConfigDict()
    # untargeted | targeted (toward a fixed permutation of the classes)
    config.loss.adversary = "untargeted"
    # The margin, in logits, beyond which the adversary's loss stops.
    config.loss.kappa = 4.0
    # The fidelity gate: no cost at or above this PSNR.
    config.loss.target_psnr = 34.5
    config.loss.weight = ConfigDict()
    config.loss.weight.adversary = 1.0
    # The adversary again, on attack_layer(Q(y)).
    config.loss.weight.robust = 0.0
    config.loss.weight.fidelity = 10.0
    config.loss.weight.ssim = 0.0
    config.loss.weight.gan = 0.0
    # For float couplings; integer ones recover exactly and skip it.
    config.loss.weight.recovery = 0.1
    # Recovery after the attack layer, toward the equally attacked original.
    config.loss.weight.robust_recovery = 0.0
    # The adversary on what a wrong token recovers. With 2.0 the generator learns to ruin these
    # images, at some cost (docs/key.md); 0.25 has hardly any effect.
    config.loss.weight.token = 0.25
    # Values of y outside 0..255, before clipping.
    config.loss.weight.range = 5.0
    # The cross-entropy of surrogates (`patterns` above) that are trained on protected images behind
    # the attack layer, as pirates would: the stage poisons what they learn from.
    config.loss.weight.poison = 0.0

    config.discriminator = ConfigDict()
    config.discriminator.width = 32
    config.discriminator.layers = 2
    # spectral | group
    config.discriminator.norm = "spectral"

    config.optimizer = ConfigDict()
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.discriminator_learning_rate = 1e-4
    config.optimizer.warmup_steps = 100
    config.optimizer.weight_decay = 0.0
    config.optimizer.clip_norm = 1.0
    config.optimizer.ema_decay = 0.99

    config.train = ConfigDict()
    config.train.batch_size = 32
    # plain | remat | reversible: what blocks of the learned stage keep for gradients. remat keeps
    # their inputs, reversible inverts them: then memory hardly grows with the number of blocks
    # (docs/training.md).
    config.train.memory = "plain"
    config.train.steps = 2000
    config.train.log_every = 20
    config.train.eval_every = 500
    # Images used by the evaluation inside the training loop.
    config.train.eval_images = 64
    config.train.checkpoint_every = 500
    config.train.keep_last = 2
    # Metric of the in-loop evaluation by which the best checkpoint is kept, and its direction.
    config.train.best_metric = "protected_accuracy"
    config.train.best_mode = "min"
    # TensorBoard image grids; scalars are always written.
    config.train.image_grids = True

    config.eval = ConfigDict()
    config.eval.batch_size = 64
    # At most so many images of each split; 0 is all of them.
    config.eval.max_images = 0
    config.eval.pgd_steps = 20
    # The experiments of `eval.py --suite`.
    config.suite = ConfigDict()
    # At most so many images of each split, for all but piracy; 0 is all of them.
    config.suite.images = 500
    # PSNRs of shortcut and gradient stages, in dB; that of a learned stage is fixed.
    config.suite.psnrs = (30.0, 34.0, 38.0, 42.0)
    # Further generators of the run for `accuracy`: names of stages, such as ("learned", "gradient")
    # for two generators of one stage each; "shortcut+gradient" has both.
    config.suite.stages = ()
    # `token`: number of wrong tokens whose results are averaged and chosen from, 0 for none; and
    # numbers of tokens of which the best for each image protects it.
    config.suite.guesses = 8
    config.suite.tries = (4, 16)
    # Training steps of a remover, and the numbers of leaked pairs it is trained on; 0 is all.
    config.suite.remover_steps = 2000
    config.suite.remover_pairs = (50, 500, 0)

    config.suite.pirates = ConfigDict()
    # Those of `CLASSIFIERS` must differ from the targets: pirates train networks that were not
    # attacked. Names of files of published weights (in `classifiers.weights`) are networks that
    # pirates start from; the generator may know them.
    config.suite.pirates.architectures = ("densenet_small",)
    config.suite.pirates.seeds = 3
    config.suite.pirates.steps = 1500
    # How often each model is tested on the way to its peak.
    config.suite.pirates.looks = 10
    # At most so many training images; 0 is all of them.
    config.suite.pirates.images = 0
    # What pirates do to images before they train: names of `DEFENCES`, or class_mean, which
    # subtracts each class's mean image; 'grey+jpeg_50' is one after the other.
    config.suite.pirates.defences = ("jpeg_50", "jpeg_30", "grey", "grey+jpeg_50", "blur_1")
    # Further ways to train (docs/protocol.md); 'crops+jpeg_50' is one after a defence.
    config.suite.pirates.trainings = ("adversarial", "augmented")
    # Shares of the data set that are protected.
    config.suite.pirates.shares = (0.75, 0.5, 0.25)
    # Of published networks: a linear classifier on 'frozen' features, or the 'whole' fine-tuned;
    # side to which images are enlarged, in pixels; epochs of fine-tuning, each tested.
    config.suite.pirates.published = ConfigDict(
        {"ways": ("frozen", "whole"), "side": 160, "epochs": 4}
    )

    # Experiments that are not in 'full'. Names of their rows, () for all; an unknown one stops the
    # run with the list. PSNRs in dB; defences as pirates have them, beside none.
    config.suite.variants = ConfigDict({"rows": (), "psnrs": (34.0,)})
    config.suite.poisons = ConfigDict({"rows": (), "defences": ()})

    # A study (configs/ablation.py): variants, (name, ((setting, value), ...)) each, which are
    # trained with every seed against the same classifiers, and compared with the first of them.
    config.ablation = ConfigDict({"variants": (), "seeds": (0,)})

    # `eval.py --method`: the generator beside other methods at the same PSNR.
    config.comparison = ConfigDict()
    # PSNR of the protected files, payload inside, and how many unseen images; 0 is all of them.
    config.comparison.psnr = 34.0
    config.comparison.images = 500
    # Further points of the curves, with fewer images.
    config.comparison.psnrs = (30.0, 38.0)
    config.comparison.curve_images = 200
    # Repetitions at `psnr` of methods that draw random numbers: tokens and noise.
    config.comparison.seeds = 3
    # pgd | ifgsm | cw: the attack that RAE and RIT start from; its steps, and those of PGD alone.
    config.comparison.attack = "pgd"
    config.comparison.steps = 20
    # Of PGD alone: untargeted (away from the class) | features (away from what the targets' last
    # dense layers read of the original); momentum of its directions; in each step the targets see a
    # random part of the image, at least this share of each side. With features, 0.9 and 0.7 it
    # misleads other networks, too.
    config.comparison.loss = "untargeted"
    config.comparison.momentum = 0.0
    config.comparison.crop_share = 1.0
    # Distortions of the protected files before recovery.
    config.comparison.distortions = ("jpeg_90", "jpeg_50", "blur_1")
    # Sides of superpixels in pixels, in the order in which they are tried.
    config.comparison.rae = ConfigDict({"sides": (4, 8, 16)})
    # Sides of blocks; classes of blocks; step of shifts, and their largest reduction that keeps
    # them in range; smallest standard deviation of a block that is rotated (pixel units); whether
    # blocks may stay in their place, and whether the attack is aware of blocks. The paper has sides
    # of 4, several classes and neither of the last two, which costs more quality
    # (docs/comparison.md).
    config.comparison.rit = ConfigDict(
        {
            "sides": (2, 4),
            "classes": 1,
            "quantum": 8,
            "limit": 8,
            "smooth": 6,
            "stay": True,
            "aware": True,
        }
    )
    # A misspelt name in another config stops there, with the nearest name that exists.
    return config.lock()
