"""Takes classifiers of a run to another image size: they are trained on, from where they are.

    python benchmarks/enlarge.py --config=configs/caltech101.py:gradient --workdir=W \
        --config.data.source=DIR --to=V --config.data.image_size=224 \
        --config.augment.crop_padding=21 --config.classifiers.steps=150 \
        --config.classifiers.batch_size=32 --config.classifiers.learning_rate=1e-3 \
        --config.classifiers.warmup_steps=20

W has classifiers of the same classes, however they were trained; V gets them for the new size. On
two cores training at 224 pixels from scratch takes hours, and this minutes.
"""

import pathlib

from absl import flags
from ml_collections import ConfigDict

from raeg_jax.config import command_line

_TO = flags.DEFINE_string("to", "", "Workdir of the new classifiers.")


def main(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Trains on."""
    from raeg_jax import data
    from raeg_jax.config import validate
    from raeg_jax.errors import UserError
    from raeg_jax.networks.classifiers import build_classifier
    from raeg_jax.training import classifier as classifier_lib
    from raeg_jax.workdir import classifiers
    from raeg_jax.workdir.classifiers import check_classifiers

    to = pathlib.Path(_TO.value)
    if not _TO.value or to.resolve() == workdir.resolve():
        raise UserError(f"--to={_TO.value}: name another workdir, for the new classifiers")
    validate.validate(config)
    check_classifiers(workdir)
    splits = data.load(config.data)
    for name in (*config.classifiers.targets, *config.classifiers.held_out):
        if classifiers.load_classifier(name, splits, config, to) is not None:
            continue
        there = classifiers.trained_on(name, workdir).num_classes
        if there != splits.num_classes:
            raise UserError(f"{name} of {workdir} has {there} classes, not {splits.num_classes}")
        start = classifiers.read_variables(name, build_classifier(name, there), workdir)
        if classifier_lib.fit_classifier(name, splits, config, to, start=start) is None:
            raise KeyboardInterrupt


if __name__ == "__main__":
    command_line.run(main)
