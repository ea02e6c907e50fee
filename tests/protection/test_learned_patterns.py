"""Generators with learned patterns: their file, and photographs of any size, in tiles or whole."""

import dataclasses

import jax
import numpy as np
import pytest

from raeg_jax.config.run_config import to_json
from raeg_jax.errors import UserError
from raeg_jax.generator.chain import Chain
from raeg_jax.generator.gradient_coupling import GradientCoupling
from raeg_jax.generator.learned_pattern import LearnedPattern
from raeg_jax.payload.key import Token
from raeg_jax.protection import generator_file, passes
from raeg_jax.protection.loaded_generator import load_generator, save_generator
from raeg_jax.protection.protect import Protector
from raeg_jax.protection.recover import Recoverer
from tests.networks import tiny_published
from tests.oracles import integer_pattern
from tests.payload.payloads import KEY
from tests.protection.generators import LEARNED, NAMES, PATTERNS, make, published, settings

STAGES = ("shortcut",)
NO_PLANES = {"generator.token_planes": 0, "generator.gradient.rounds": 4}


def noise(height, width, seed=0):
    return np.random.RandomState(seed).randint(100, 156, (height, width, 3)).astype(np.uint8)


def chain(rounds=4):
    stage = GradientCoupling(LearnedPattern(PATTERNS), step=8.0, max_mse=60.0, rounds=rounds)
    return Chain((stage,))


def test_tiles_get_their_part_of_the_pattern_that_their_photograph_drew():
    # Even numbers of tiles in each phase, for one program each way.
    sizes, labels = [(70, 50), (32, 32), (70, 50), (32, 32)], np.array([2, 0, 1, 2], np.int32)
    images = [noise(*size) for size in sizes]
    tokens = [Token(bytes(32), bytes(11) + bytes([number]), 0) for number in range(4)]
    draws = [token.draw for token in tokens]
    assert len({draw % 2 for draw in draws}) == 2
    sides = [32, 0, 32, 0]
    values, tables = passes.forward(chain(), images, labels, tokens, sides, batch_size=2)
    undone = passes.inverse(chain(), values, tables, tokens, sides, batch_size=2)
    for image, value, back, label, draw in zip(images, values, undone, labels, draws, strict=True):
        np.testing.assert_array_equal(back, image)
        (mine,), (other,) = (
            integer_pattern.directions(PATTERNS, [label], *image.shape[:2], [number])
            for number in (draw, draw + 1)
        )
        added = (value - image).ravel()
        assert np.corrcoef(added, mine.ravel())[0, 1] > 0.85
        assert np.corrcoef(added, other.ravel())[0, 1] < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("size", [(300, 500), (257, 90), (32, 32), (700, 40)])
def test_large_photographs_come_back_from_tiles_of_the_usual_side(size):
    token, image = Token(bytes(32), bytes(12), 0), noise(*size)
    image[: size[0] // 2] = np.random.RandomState(1).randint(0, 256, image[: size[0] // 2].shape)
    labels = np.array([1], np.int32)
    values, tables = passes.forward(chain(16), [image], labels, [token], [256], 4)
    assert np.any(values[0] != image)
    (back,) = passes.inverse(chain(16), values, tables, [token], [256], 4)
    np.testing.assert_array_equal(back, image)


def round_trip(generator, images, labels, **options):
    protected = Protector(generator, KEY, batch_size=2, **options).protect(images, labels)
    blobs = [None if one.in_pixels else one.blob for one in protected]
    found = Recoverer(generator, KEY).recover([one.pixels for one in protected], blobs)
    for one, image, original in zip(protected, images, found, strict=True):
        assert np.any(one.pixels != image)
        np.testing.assert_array_equal(original.pixels, image)
    return found


def test_a_generator_of_a_file_recovers_what_another_one_protected(tmp_path):
    generator = make(STAGES, **LEARNED, **NO_PLANES)
    assert generator.portable
    save_generator(tmp_path / "generator", generator)
    loaded = load_generator(tmp_path / "generator")
    images = [noise(32, 32, seed) for seed in range(2)]
    protected = Protector(generator, KEY).protect(images, [1, 2])
    blobs = [None if one.in_pixels else one.blob for one in protected]
    found = Recoverer(loaded, KEY).recover([one.pixels for one in protected], blobs)
    assert [one.label for one in found] == [1, 2]
    for image, one in zip(images, found, strict=True):
        np.testing.assert_array_equal(one.pixels, image)


@pytest.mark.slow
def test_they_go_before_a_gradient_stage_of_tiles_and_after_a_learned_one():
    generator = make(("learned", "shortcut", "gradient"), **LEARNED, **{"loss.target_psnr": 40.0})
    round_trip(generator, [noise(40, 33)], [1], tile=32)


@pytest.mark.slow
def test_they_go_before_a_stage_that_sees_whole_photographs(monkeypatch):
    tiny_published.register(monkeypatch)
    changes = {
        "generator.gradient.arithmetic": "fixed",
        "generator.gradient.views": ("crop", "whole+jpeg:75"),
        "generator.gradient.attack_steps": 2,
        "generator.gradient.target_psnr": 32.0,
        "generator.gradient.rounds": 2,
    }
    stages = ("shortcut", "gradient")
    generator = published(stages, tiny_published.classifier(), **LEARNED, **changes)
    round_trip(generator, [noise(40, 52)], None, tile=32)


def test_patterns_come_back_from_a_file(tmp_path):
    generator = make(STAGES, **LEARNED)
    save_generator(tmp_path / "generator", generator)
    loaded = load_generator(tmp_path / "generator")
    np.testing.assert_array_equal(loaded.patterns, PATTERNS)
    assert loaded.patterns.dtype == np.int8
    assert loaded.id == generator.id != make(STAGES).id
    assert dataclasses.replace(generator, patterns=PATTERNS[::-1]).id != generator.id
    assert jax.tree.structure(loaded.chain) == jax.tree.structure(generator.chain)
    jax.tree.map(np.testing.assert_array_equal, loaded.chain, generator.chain)
    save_generator(tmp_path / "again", loaded)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "generator").read_bytes()


@pytest.mark.parametrize(
    ("stages", "changes", "patterns", "message"),
    [
        (STAGES, LEARNED, None, "pattern='learned' needs patterns, and there are none"),
        (STAGES, LEARNED, np.float32(PATTERNS), r"patterns are float32 \[3, 2, 8, 8, 3\], not"),
        (STAGES, LEARNED, PATTERNS[0], r"patterns are int8 \[2, 8, 8, 3\], not int8"),
        (STAGES, LEARNED, PATTERNS[:, :, :1, :1], "have 1 cells along a side, not 2 to 128"),
        (STAGES, {}, PATTERNS, "there are patterns, and .*pattern='waves' have none: leave"),
        (("gradient",), LEARNED, PATTERNS, r"there are patterns, and .*stages=\('gradient',\)"),
    ],
)
def test_patterns_that_can_not_be_are_named(stages, changes, patterns, message, tmp_path):
    generator = make(stages)
    config = settings(stages, **changes)
    description = {"config": to_json(config), "class_names": list(NAMES)}
    more = {} if patterns is None else {"patterns": patterns}
    generator_file.write(tmp_path / "generator", description, generator.stored_arrays | more)
    with pytest.raises(UserError, match=rf"{tmp_path}/generator can't be used: .*{message}"):
        load_generator(tmp_path / "generator")
    with pytest.raises(UserError, match=message):
        dataclasses.replace(generator, config=config, patterns=patterns)


def test_an_array_below_the_patterns_is_of_no_network(tmp_path):
    generator = make(STAGES, **LEARNED)
    description = {"config": to_json(generator.config), "class_names": list(NAMES)}
    arrays = generator.stored_arrays | {"patterns/0": np.zeros(2, np.float32)}
    generator_file.write(tmp_path / "generator", description, arrays)
    with pytest.raises(UserError, match=r"patterns/0 is \[2\] in it and missing in this"):
        load_generator(tmp_path / "generator")


def test_damaged_patterns_are_noticed(tmp_path):
    save_generator(tmp_path / "generator", make(STAGES, **LEARNED))
    content = bytearray((tmp_path / "generator").read_bytes())
    content[content.index(PATTERNS.tobytes()) + 100] ^= 1
    (tmp_path / "generator").write_bytes(content)
    with pytest.raises(UserError, match="generator is damaged or cut off"):
        load_generator(tmp_path / "generator")
