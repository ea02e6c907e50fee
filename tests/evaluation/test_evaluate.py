import csv
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from raeg_jax import evaluation
from raeg_jax.config import run_config
from raeg_jax.data import memory
from raeg_jax.data.decode import encode_png, to_rgb
from raeg_jax.evaluation import evaluate, result_files
from raeg_jax.evaluation.readers import published_readers
from raeg_jax.networks.weights import load_weights
from tests.evaluation.evaluation_toys import (
    Brightness,
    brightness_reader,
    files,
    flat_images,
    shift,
)
from tests.networks import tiny_published

SIZE = 32
LEVELS, LABELS = [60, 86, 120, 146, 180], [0, 0, 1, 1, 2]


def records(seed):
    pictures = flat_images(LEVELS, SIZE, seed=seed)
    return [
        {"image": encode_png(image), "label": label, "file_name": f"{seed}_{number}.png"}
        for number, (image, label) in enumerate(zip(pictures, LABELS, strict=True))
    ]


SPLITS = types.SimpleNamespace(
    train=records(1) + records(2),
    test=records(3),
    class_names=("dark", "middle", "bright"),
    num_classes=3,
    name="toy",
    fingerprint="0123456789abcdef",
)


@pytest.fixture
def config(monkeypatch):
    monkeypatch.setattr(
        evaluate,
        "protector_of",
        lambda config, names, generator, nets, size: files(generator, size),
    )
    config = base.get_config()
    config.data.image_size = SIZE
    config.classifiers.targets = ("near",)
    config.classifiers.held_out = ("far",)
    config.eval.batch_size = 4
    config.eval.pgd_steps = 2
    return config


def run(config, workdir, names=("near", "far"), **changes):
    near, far = Brightness(), Brightness()
    variables = near.init(jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)), train=False)
    moved = {**variables, "params": {"offset": jnp.float32(-2)}}
    return evaluation.run(
        config,
        workdir,
        SPLITS,
        shift(20),
        dict(zip(names, [(near, variables), (far, moved)], strict=True)),
        **({"step": 7, "command": "python eval.py"} | changes),
    )


def test_a_learned_generator_far_from_its_psnr_is_told(config, tmp_path, capsys):
    config.loss.target_psnr = 40.0
    run(config, tmp_path)
    assert "warning: the learned generator has diverged" in capsys.readouterr().err


def test_both_splits_are_measured_and_written(config, tmp_path):
    results = run(config, tmp_path)
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert [results["splits"][k]["images"] for k in ("train", "test")] == [10, 5]
    for split in ("train", "test"):
        accuracy = results["splits"][split]["classifiers"]["near"]["accuracy"]
        np.testing.assert_allclose(accuracy["original"], 1)
        np.testing.assert_allclose(accuracy["protected"], 0.6)
        assert results["splits"][split]["quality"]["recovered"]["exact_images"] == 1
    assert results["step"] == 7
    assert results["dataset"] == {"name": "toy", "classes": 3, "fingerprint": "0123456789abcdef"}
    assert results["versions"]["jax"] == jax.__version__
    assert results["checkpoint"] == "latest"
    assert results["settings"] == run_config.to_json(config)


def test_the_second_split_needs_no_compilation(config, tmp_path, monkeypatch, caplog):
    config.eval.batch_size = 7  # between the five images of the one and the ten of the other
    compilations = []

    def evaluate_split(*args, description, **options):
        with jax.log_compiles():
            caplog.clear()
            result = evaluation.evaluate_split(*args, description=description, **options)
        compilations.append((description, "Compiling" in caplog.text))
        return result

    monkeypatch.setattr(evaluate, "evaluate_split", evaluate_split)
    run(config, tmp_path)
    assert compilations == [
        ("evaluating on train images", True),
        ("evaluating on test images", False),
    ]


def test_images_above_the_memory_limit_are_decoded_batch_by_batch(config, tmp_path, monkeypatch):
    expected = run(config, tmp_path)["splits"]
    decoded, decode = [], memory.images_of

    def images_of(split, settings, chosen):
        decoded.append(len(chosen))
        return decode(split, settings, chosen)

    monkeypatch.setattr(memory, "images_of", images_of)
    config.data.memory_mib = 0
    assert run(config, tmp_path)["splits"] == expected
    # Three batches and two, and one for the picture.
    assert decoded == [4] * 6


def test_two_runs_write_the_same_bytes(config, tmp_path):
    run(config, tmp_path / "a")
    run(config, tmp_path / "b")
    for name in (result_files.RESULTS, result_files.TABLE, result_files.IMAGES, result_files.GRID):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_images_are_listed_one_by_one(config, tmp_path):
    run(config, tmp_path)
    with open(tmp_path / "images.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows if row["split"] == "test"] == [
        f"3_{number}.png" for number in range(5)
    ]
    assert [row["near/protected"] for row in rows if row["split"] == "test"] == [
        "dark",
        "middle",
        "middle",
        "bright",
        "bright",
    ]


def test_the_table_is_printed_and_the_picture_drawn(config, tmp_path, capsys):
    run(config, tmp_path)
    out = capsys.readouterr()
    for words in ("test images (unseen), 5", "train images (fitted), 10", "0.600", "PGD-2"):
        assert words in out.out
    assert "results.json" in out.out
    assert "drawing a picture" in out.err
    for split in ("5 of 5", "10 of 10"):
        assert f"{split} came back bit for bit (payload in the pixels of" in out.out
    picture = to_rgb((tmp_path / "grid.png").read_bytes())
    assert picture.shape[0] > 4 * 128
    assert picture.shape[1] > 4 * 128


def test_a_log_has_all_columns_and_whole_lines(config, tmp_path, capsys):
    names = "a_target_whose_name_alone_takes_most_of_a_line_of_80_columns", "far"
    config.classifiers.targets = names[:1]
    run(config, tmp_path / ("folder" * 20), names)
    printed = capsys.readouterr().out.splitlines()
    (row,) = {line.strip() for line in printed if line.strip().startswith(names[0])}
    assert row.startswith(f"{names[0]} (target)")
    assert len(row.split()) == 2 + len(("original", "protected", "recovered", "noise", "PGD-2"))
    assert any("PNG" in line and "images (unseen)" in line for line in printed)
    assert any("folder" * 20 in line and "grid.png" in line for line in printed)


def test_no_number_is_cut_off_on_a_narrow_terminal(config, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")  # Rich takes this for a terminal.
    run(config, tmp_path)
    assert "…" not in capsys.readouterr().out


def test_another_checkpoint_has_files_of_its_own(config, tmp_path, capsys):
    latest = run(config, tmp_path)
    best = run(config, tmp_path, checkpoint="best", step=3)
    assert json.loads((tmp_path / "results.json").read_text()) == latest
    assert json.loads((tmp_path / "results-best.json").read_text()) == best
    assert (best["checkpoint"], best["step"]) == ("best", 3)
    assert "results-best.json, results-best.md" in capsys.readouterr().out


def test_only_the_main_process_writes_and_prints(config, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    run(config, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert "".join(capsys.readouterr()) == ""


def test_published_classifiers_and_readers_are_measured_beside_the_others(
    config, tmp_path, monkeypatch
):
    tiny_published.register(monkeypatch)
    folder = tmp_path / "folder of weights"
    folder.mkdir()
    network = tiny_published.write(folder / "tiny.safetensors")
    config.classifiers.held_out = ("tiny.safetensors",)
    config.classifiers.weights = str(folder)
    near = Brightness()
    pairs = {
        "near": (near, near.init(jax.random.key(0), jnp.zeros((1, SIZE, SIZE, 3)), train=False)),
        "tiny.safetensors": (network.module, load_weights(folder / "tiny.safetensors")[1]),
    }
    mine = brightness_reader()
    results = evaluation.run(
        config, tmp_path, SPLITS, shift(20), pairs, readers={"mine.onnx": mine}, command="eval"
    )
    described = results["classifiers"]
    assert {name: one["role"] for name, one in described.items()} == {
        "near": "target", "tiny.safetensors": "held_out", "mine.onnx": "reader",
    }  # fmt: skip
    assert described["tiny.safetensors"]["source"] == network.source
    assert described["tiny.safetensors"]["preprocessing"] == network.preprocessing.to_json()
    found = results["splits"]["test"]["classifiers"]
    assert list(found) == list(described)
    assert found["tiny.safetensors"]["accuracy"]["original"] == 1
    assert found["near"]["accuracy"]["protected"] == pytest.approx(0.6)
    assert "folder of weights" not in json.dumps(results)
    with open(tmp_path / "images.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["mine.onnx/protected"] for row in rows} == {"low", "high"}
    (reader,) = published_readers({"tiny.safetensors": pairs["tiny.safetensors"]}).values()
    images = [to_rgb(record["image"]) for record in SPLITS.test]
    read = [row["tiny.safetensors/original"] for row in rows if row["split"] == "test"]
    assert read == reader.predict(images)
    assert "- mine.onnx: made by hand" in (tmp_path / "results.md").read_text()


def test_max_images_limits_each_split(config, tmp_path):
    config.eval.max_images = 4
    results = run(config, tmp_path)
    assert [results["splits"][k]["images"] for k in ("train", "test")] == [4, 4]


def test_the_command_line_is_the_default_command(config, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["eval.py", "--workdir=my runs"])
    assert run(config, tmp_path, command=None)["command"] == "python eval.py '--workdir=my runs'"
