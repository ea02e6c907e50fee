"""The one table of legal values: a rule for every setting of configs/base.py."""

from raeg_jax.adversarial.distortions import DISTORTIONS
from raeg_jax.config import rules
from raeg_jax.config.generator_rules import GENERATOR_RULES
from raeg_jax.data import DATASETS
from raeg_jax.experiments.registry import SETTINGS
from raeg_jax.generator.backpropagation import MEMORY
from raeg_jax.generator.build import STAGES
from raeg_jax.generator.learned_pattern import LEAST_GRID, MOST_GRID, MOST_VARIANTS
from raeg_jax.networks.classifiers import CLASSIFIERS
from raeg_jax.networks.discriminator import NORMS
from raeg_jax.networks.layers import MIN_SIDE
from raeg_jax.networks.weights import SUFFIX
from raeg_jax.training.optimizers import OPTIMIZERS
from raeg_jax.training.parallel import MODES
from raeg_jax.training.step import ADVERSARIES

# What the evaluation during training measures; `train.best_metric` chooses a checkpoint by it.
IN_LOOP_METRICS = (
    "clean_accuracy",
    "protected_accuracy",
    "psnr",
    "ssim",
    "exact_images",
    "outside_range",
)

RULES: dict[str, rules.Rule] = {
    "name": rules.TEXT,
    "seed": rules.Number(0, 2**31 - 1, whole=True),
    "parallel": rules.OneOf(MODES),
    "multi_host": rules.SWITCH,
    "data.dataset": rules.OneOf(DATASETS),
    "data.source": rules.TEXT,
    "data.cache_dir": rules.TEXT,
    "data.list_file": rules.TEXT,
    "data.test_fraction": rules.Number(0, 1, strict=True),
    "data.image_size": rules.Number(MIN_SIDE, 4096, whole=True),
    "data.memory_mib": rules.NATURAL,
    "data.workers": rules.NATURAL,
    **GENERATOR_RULES,
    # Their order and what goes together: `check_stages`.
    "generator.stages": rules.Each(rules.OneOf(STAGES)),
    "generator.gradient.views": rules.Each(rules.TEXT),
    "classifiers.targets": rules.Each(rules.NameOrFile(CLASSIFIERS, SUFFIX)),
    "classifiers.held_out": rules.Each(rules.NameOrFile(CLASSIFIERS, SUFFIX), least=0),
    "classifiers.weights": rules.TEXT,
    "classifiers.heads": rules.Number(0, 1024, whole=True),
    "classifiers.batch_size": rules.COUNT,
    "classifiers.steps": rules.COUNT,
    "classifiers.learning_rate": rules.POSITIVE,
    "classifiers.weight_decay": rules.NONNEGATIVE,
    "classifiers.warmup_steps": rules.NATURAL,
    "classifiers.label_smoothing": rules.Number(0, 0.99),
    "classifiers.adversarial": rules.Number(0, 255),
    "patterns.grid": rules.Number(LEAST_GRID, MOST_GRID, whole=True),
    "patterns.variants": rules.Number(1, MOST_VARIANTS, whole=True),
    "patterns.surrogates": rules.Each(rules.OneOf(CLASSIFIERS)),
    "patterns.steps": rules.COUNT,
    "patterns.batch_size": rules.COUNT,
    "patterns.learning_rate": rules.POSITIVE,
    "patterns.renew_every": rules.COUNT,
    "patterns.adversarial": rules.Number(0, 255),
    "augment.flip": rules.SWITCH,
    "augment.crop_padding": rules.NATURAL,
    "augment.crop_share": rules.Number(0.1, 1),
    "augment.grey": rules.Number(0, 1),
    "augment.cutout": rules.Number(0, 1),
    "augment.mixup": rules.NONNEGATIVE,
    **{f"attack_layer.probability.{name}": rules.NONNEGATIVE for name in DISTORTIONS},
    **{
        f"attack_layer.{d.setting}": rules.Interval(rules.Number(*d.limits, whole=d.is_whole))
        for d in DISTORTIONS.values()
        if d.limits
    },
    "attack_layer.median_size": rules.COUNT,
    "loss.adversary": rules.OneOf(ADVERSARIES),
    "loss.kappa": rules.NONNEGATIVE,
    "loss.target_psnr": rules.PSNR,
    "loss.weight.adversary": rules.NONNEGATIVE,
    "loss.weight.robust": rules.NONNEGATIVE,
    "loss.weight.fidelity": rules.NONNEGATIVE,
    "loss.weight.ssim": rules.NONNEGATIVE,
    "loss.weight.gan": rules.NONNEGATIVE,
    "loss.weight.recovery": rules.NONNEGATIVE,
    "loss.weight.robust_recovery": rules.NONNEGATIVE,
    "loss.weight.token": rules.NONNEGATIVE,
    "loss.weight.range": rules.NONNEGATIVE,
    "loss.weight.poison": rules.NONNEGATIVE,
    "discriminator.width": rules.COUNT,
    "discriminator.layers": rules.COUNT,
    "discriminator.norm": rules.OneOf(NORMS),
    "optimizer.name": rules.OneOf(OPTIMIZERS),
    "optimizer.learning_rate": rules.POSITIVE,
    "optimizer.discriminator_learning_rate": rules.POSITIVE,
    "optimizer.warmup_steps": rules.NATURAL,
    "optimizer.weight_decay": rules.NONNEGATIVE,
    "optimizer.clip_norm": rules.NONNEGATIVE,
    "optimizer.ema_decay": rules.Number(0, 0.999999),
    "train.batch_size": rules.COUNT,
    "train.memory": rules.OneOf(MEMORY),
    "train.steps": rules.COUNT,
    "train.log_every": rules.COUNT,
    "train.eval_every": rules.COUNT,
    "train.eval_images": rules.COUNT,
    "train.checkpoint_every": rules.COUNT,
    "train.keep_last": rules.COUNT,
    "train.best_metric": rules.OneOf(IN_LOOP_METRICS),
    "train.best_mode": rules.OneOf(("min", "max")),
    "train.image_grids": rules.SWITCH,
    # What variants consist of: `study_runs`.
    "ablation.variants": rules.Each(rules.OfType(tuple), least=0),
    "ablation.seeds": rules.Each(rules.Number(0, 2**31 - 1, whole=True), least=0),
    "eval.batch_size": rules.COUNT,
    "eval.max_images": rules.NATURAL,
    "eval.pgd_steps": rules.NATURAL,
    **SETTINGS,
}
