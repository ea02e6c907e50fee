"""Studies that nobody trained, and results of their runs."""

from configs import ablation, smoke


def study(variants, seeds=(0, 1)):
    """The configuration of a study of the smoke configuration."""
    config = ablation.study(smoke.get_config(), "toy & study", variants)
    config.ablation.seeds = seeds
    return config


def result(variant, seed, correct, **changes):
    """Of a run whose classifiers read the images so.

    Args:
      variant: its name.
      seed: of the run.
      correct: for each classifier '1' or '0' for each image; 'target_...' and 'held_...' are
        networks of the data set, others read all originals and are readers.
      changes: in place of made-up values.
    """
    classifiers = {}
    for name, bits in correct.items():
        is_target, is_held_out = name.startswith("target"), name.startswith("held")
        left = bits.count("1") / len(bits)
        classifiers[name] = {
            "role": "target" if is_target else "held_out" if is_held_out else "reader",
            "reference": "label" if is_target or is_held_out else "original",
            "accuracy": {"original": 0.75 + seed / 8, "protected": left, "wrong_token": left / 2},
            "attack_success": {"protected": 1 - left},
        }
    return {
        "variant": variant,
        "seed": seed,
        "step": smoke.get_config().train.steps,
        "images": len(next(iter(correct.values()))),
        "psnr": 38.25,
        "ssim": 0.9512,
        "recovered_psnr": None,
        "exact_pixels": 1.0,
        "exact_images": 1.0,
        "outside_range": 0.00125,
        "classifiers": classifiers,
        "correct": correct,
        "parameters": 12345,
        "images_per_s": {"protect": 100.0, "recover": 50.0},
        "seconds_per_step": 0.125,
        "memory_mib": 256.0,
        "curves": {
            "step": [2, 4, 6],
            "psnr": [30.0, 35.0, 38.0],
            "attack_success": [0.0, 0.5, None],
            "loss/adversary": [3.0, 2.0, 1.0],
            "loss/total": [4.0, 3.0, 2.0],
        },
    } | changes
