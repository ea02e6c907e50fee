"""All methods on the same images: their files, what is told of them, and where a run goes on."""

import dataclasses
import json

import numpy as np
import pytest

from raeg_jax.comparison import distortion, pirates, quality, report, run, tables
from raeg_jax.comparison.compared import Compared, Make
from raeg_jax.comparison.settings import check, choose
from raeg_jax.errors import UserError
from raeg_jax.experiments.store import Store
from raeg_jax.methods.files import collect
from raeg_jax.methods.method import Result
from raeg_jax.methods.registry import REVERSIBLE, TITLES
from tests.comparison.comparison_toys import subject

PSNR = 30.0


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    return Make(subject(tmp_path_factory.mktemp("images")))


@pytest.fixture(scope="module")
def measured(make):
    return {name: quality.measure(make(name, PSNR)) for name in TITLES}


def psnrs(files, originals):
    errors = np.mean((files.astype(float) - originals) ** 2, axis=(1, 2, 3))
    return 10 * np.log10(255**2 / errors)


@pytest.mark.parametrize("method", TITLES)
def test_files_have_the_psnr_and_what_is_told_of_them_is_so(make, measured, method):
    compared, told = make(method, PSNR), measured[method]
    files, (originals, labels) = compared.protected("test"), compared.originals("test")
    own = psnrs(files.images, originals)
    # Each file of the compared methods, the mean of a generator's.
    assert abs(np.mean(own) - PSNR) < 0.2
    np.testing.assert_allclose(told["psnr"]["file"], np.mean(own), rtol=1e-5)
    assert told["protected"] == len(files.kept) == len(labels)
    assert told["protected"] + sum(told["failures"].values()) == told["images"] == 5
    near = compared.frozen["near"]
    read = [np.asarray(near(x.astype(np.float32))).argmax(-1) for x in (originals, files.images)]
    right = read[0] == labels
    scores = told["classifiers"]["near"]
    assert scores["accuracy"]["original"] == np.mean(right)
    wrong = read[1][right] != labels[right]
    assert scores["success"]["file"] == np.mean(wrong)
    given = compared.given("test")
    all_right = np.asarray(near(given[0].astype(np.float32))).argmax(-1) == given[1]
    assert scores["of_all"] == wrong.sum() / all_right.sum()


def test_who_can_recover_does_so_exactly(measured):
    for method, told in measured.items():
        assert told["exact"] == (told["protected"] if method in REVERSIBLE else None)
        assert (told["seconds"]["recover"] is not None) == (method in REVERSIBLE)


def test_attacks_mislead_more_than_noise(measured):
    misled = {
        name: told["classifiers"]["near"]["success"]["adversarial"]
        for name, told in measured.items()
    }
    assert min(misled["pgd"], misled["rae"], misled["rit"]) > misled["noise"]


def test_another_run_takes_the_files_that_are_there(make, measured, monkeypatch):
    again = Make(subject(make.subject.folder))
    monkeypatch.setattr("raeg_jax.comparison.compared.Compared._make", None)
    for method in REVERSIBLE:
        told = quality.measure(again(method, PSNR))
        assert told["exact"] == measured[method]["exact"]
        assert told["psnr"] == measured[method]["psnr"]


def test_repetitions_differ_where_there_is_chance(make):
    for method in ("raeg", "noise"):
        one, other = (make(method, PSNR, chance).protected("test").images for chance in (0, 1))
        assert not np.array_equal(one, other)


def test_a_method_without_files_is_told_of(make):
    told = quality.measure(make("rit", 60.0))
    assert told["protected"] == told["exact"] == 0
    assert sum(told["failures"].values()) == told["images"]
    lost = distortion.measure(make("rit", 60.0), "jpeg_50")
    settings = make.subject.config.comparison.copy_and_resolve_references()
    settings.psnr = 60.0
    results = {"quality": [told], "distortion": [lost]}
    table = tables.comparison(results, ("near",), settings)
    assert (table.head, table.rows[0]) == (("", "RIT"), ("protected", "0 of 2"))
    assert ("by the file, of all images", "0.000") in table.rows
    for name, own in results.items():
        assert tables.TABLES[name](own).rows


def test_images_that_fail_count_as_not_misled(make, monkeypatch):
    """Two of five, of which no file is left; noise of 8 dB misleads about others."""

    def make_some(self, split):
        images, labels = self.given(split)
        index = np.arange(len(labels), dtype=np.int32)
        made = self.contender().protect(images, labels, index)
        lost = [one._replace(failure="no room") for one in made[:2]]
        return collect(lost + made[2:], images.shape[1:], 0.0, 8.0, whole=True)

    monkeypatch.setattr(Compared, "_make", make_some)
    monkeypatch.setattr(Compared, "_identity", lambda self, split: "with_failures")
    loud = dataclasses.replace(make("noise", 8.0), source=make("noise", PSNR).source)
    told = quality.measure(loud)
    assert (told["images"], told["protected"], told["failures"]) == (5, 3, {"no room": 2})
    images, labels = loud.given("test")
    for name in ("near", "off"):
        right = np.asarray(loud.frozen[name](images.astype(np.float32))).argmax(-1) == labels
        own = told["classifiers"][name]
        misled = own["success"]["file"] * right[2:].sum()
        np.testing.assert_allclose(own["of_all"], misled / right.sum())
        assert right[:2].any()


@pytest.mark.parametrize(("method", "beside"), [("raeg", 1), ("rae", 1), ("rit", 0)])
def test_payloads_in_pixels_break_and_kept_ones_help_some(make, method, beside):
    """How much data RIT has of a block depends on its pixels: changed ones undo nothing."""
    told = distortion.measure(make(method, PSNR), "jpeg_50")
    assert told["alone"] == 0
    assert told["beside"] == beside
    assert (told["psnr"] is None) == (not beside)


def test_what_rae_averages_outlives_jpeg(make):
    told = distortion.measure(make("rae", PSNR), "jpeg_90")
    assert told["psnr"] > told["psnr_distorted"] + 1


@pytest.fixture
def written(make, measured, tmp_path, monkeypatch):
    """The report of everything, with models that are told and not trained."""

    def train(subject, loot, architecture, seed):
        peak = {"honest": 0.8}.get(loot.name, 0.4)
        return {
            "architecture": architecture, "seed": seed, "curve": [[1, peak]], "peak": peak,
            "last": peak, "changed": 1.0,
        }  # fmt: skip

    monkeypatch.setattr("raeg_jax.experiments.pirates.train", train)
    store, found = Store(tmp_path, {"config": "toy"}), {}
    settings = make.subject.config.comparison
    for name in ("quality", "distortion", "pirates"):
        units = run.EXPERIMENTS[name](make, tuple(TITLES), settings)
        short = [unit for unit in units if unit.name.split("-")[-1] in ("0", "jpeg_50")]
        found[name] = {unit.name: store.do(unit) for unit in short}
    return report.write(tmp_path, make, found, {"config": "toy"})


def test_the_report_has_all_methods(written):
    text = (written.parent / "report.md").read_text()
    table = text[text.index("## Comparison") : text.index("## Quality")]
    lines = [line for line in table.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    rows = {first: others for first, *others in cells}
    assert rows[""] == list(TITLES.values())
    assert rows["pirates"] == ["0.50"] * 5
    assert rows["exact"][1:4] == ["5 of 5", "5 of 5", ""]
    assert rows["back from the file after jpeg_50"] == ["0.00"] * 3 + [""] * 2
    assert float(rows["with the payload after jpeg_50, dB"][1].split()[0]) > 25
    page = written.read_text()
    assert page.count("<svg") == 1
    assert "data:image/png;base64," in page
    numbers = json.loads((written.parent / "report.json").read_text())
    assert numbers["experiments"].keys() == {"quality", "distortion", "pirates"}


def test_images_without_a_file_are_left_out_of_training(make, monkeypatch):
    seen = {}

    def train(subject, loot, architecture, seed):
        seen.update(files=loot.images(), unseen=subject.unseen()[0])
        return {}

    monkeypatch.setattr("raeg_jax.experiments.pirates.train", train)
    monkeypatch.setattr(Compared, "_make", lambda self, split: _last_two(self.given(split)[0]))
    told = pirates.train(make, "rae", 29.0, "densenet_small", 0)
    assert told["count"] == len(seen["files"]) == 2
    assert len(seen["unseen"]) == 5
    monkeypatch.setitem(make.subject.config.classifiers, "batch_size", 3)
    told = pirates.train(make, "rae", 29.0, "densenet_small", 1)
    assert (told["count"], told["peak"]) == (2, None)


def _last_two(images):
    made = [Result("no room" * (i == 0), one, one, one) for i, one in enumerate(images)]
    return collect(made, images.shape[1:], 0.0, 0.0, whole=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"psnr": 3.0}, r"config\.comparison\.psnr=3\.0 is impossible"),
        ({"attack": "fgsm"}, r"attack='fgsm' is impossible: .*pgd"),
        ({"rae.sides": (4, 0)}, r"rae\.sides=\(4, 0\) is impossible"),
        ({"rit.quantum": 0}, r"rit\.quantum=0 is impossible"),
        ({"distortions": ("fog",)}, r"distortions=\('fog',\) is impossible: .*jpeg_50"),
    ],
)
def test_impossible_settings_are_named(make, change, message):
    config = make.subject.config.copy_and_resolve_references()
    check(config)
    config.comparison.update_from_flattened_dict(change)
    with pytest.raises(UserError, match=message):
        check(config)


def test_methods_and_experiments_are_chosen_by_name():
    assert choose("rae,raeg,rae") == ("rae", "raeg")
    with pytest.raises(UserError, match=r"--method=rae,pdg: .*'pdg'; choose some of raeg, rae"):
        choose("rae,pdg")
    assert run.choose_experiments("full") == list(run.EXPERIMENTS)
    with pytest.raises(UserError, match=r"--suite=token: with --method there is no .*'token'"):
        run.choose_experiments("token")
