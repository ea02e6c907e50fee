"""Networks, imported weights and preprocessing against PyTorch, torchvision and timm."""

import collections

import jax
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict
from PIL import Image

from raeg_jax.errors import UserError
from raeg_jax.networks import imagenet
from raeg_jax.networks.architectures import VGG
from raeg_jax.networks.classifiers import build_classifier
from raeg_jax.networks.preprocessing import INTERPOLATIONS, PUBLISHED, Preprocessing
from raeg_jax.networks.torch_file import import_weights, read_state
from raeg_jax.networks.torch_weights import convert
from raeg_jax.networks.weights import load_weights
from tests.networks.golden_networks import NETWORKS, images_of, read_golden
from tests.networks.random_weights import random_state

pytestmark = pytest.mark.parity

# An even side and an odd one, each halved five times.
SHAPE = (2, 96, 79, 3)
RESIZED = [(7, 9), (64, 64), (101, 67), (67, 101), (33, 400), (256, 301), (499, 333)]


@pytest.fixture
def torch_models():
    """Our helpers that need PyTorch, torchvision and timm."""
    pytest.importorskip("timm", reason="the extra `parity` isn't installed", exc_type=ImportError)
    from tests.networks import torch_models

    return torch_models


def compare(torch_models, theirs, module, architecture):
    """Gives both modules the same weights, and compares their logits."""
    state = random_state(torch_models.shapes(theirs), 0)
    torch_models.load(theirs, state)
    images = images_of(1, SHAPE)
    expected = torch_models.logits(theirs, images, module.preprocessing)
    variables = unflatten_dict(convert(state, module, architecture, "file.pth"), sep="/")
    logits = jax.jit(lambda v, x: module.apply(v, x, train=False))(variables, images)
    size = np.abs(expected).max()
    assert np.abs(logits - expected).max() < 1e-4 * size
    assert np.abs(expected[0] - expected[1]).max() > 0.02 * size


@pytest.mark.parametrize("architecture", PUBLISHED)
def test_published_networks_give_the_same_logits(architecture, torch_models):
    theirs = torch_models.published(architecture)
    module = build_classifier(architecture, 1000, PUBLISHED[architecture])
    compare(torch_models, theirs, module, architecture)


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50", "densenet121"])
def test_networks_of_timm_give_the_same_logits(architecture, torch_models):
    import timm

    theirs = timm.create_model(architecture, num_classes=7).eval()
    module = build_classifier(architecture, 7, Preprocessing())
    compare(torch_models, theirs, module, architecture)


@pytest.mark.parametrize("norm", [False, True])
def test_vgg_of_timm_gives_the_same_logits(norm, torch_models):
    from timm.models.vgg import VGG as TIMM_VGG

    layer = torch_models.nn.BatchNorm2d if norm else None
    theirs = TIMM_VGG([8, "M", 8, "M", 16, "M", 16, "M"], num_classes=7, norm_layer=layer).eval()
    stages = ((8,), (8,), (16,), (16,))
    # Its map of 6 x 4 positions is averaged to 7 x 7, as all maps are here.
    compare(torch_models, theirs, VGG(7, stages, norm=norm, preprocessing=Preprocessing()), "vgg")


@pytest.mark.parametrize("name", NETWORKS)
def test_golden_files_hold_what_pytorch_computes(name, torch_models):
    golden, made = read_golden(name), torch_models.golden_content(name)
    assert (golden["seed"], golden["tensors"]) == (made["seed"], made["tensors"])
    np.testing.assert_allclose(golden["logits"], made["logits"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("size", RESIZED, ids=str)
@pytest.mark.parametrize(("resize", "crop"), [(64, 64), (67, 56), (70, 61)])
def test_photographs_are_fitted_as_torchvision_does(interpolation, size, resize, crop):
    transforms = pytest.importorskip("torchvision.transforms")
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    mode = transforms.InterpolationMode[interpolation.upper()]
    theirs = transforms.Compose([transforms.Resize(resize, mode), transforms.CenterCrop(crop)])(
        Image.fromarray(image)
    )
    ours = Preprocessing(resize, crop, interpolation).fit(image)
    np.testing.assert_array_equal(ours, np.asarray(theirs))


def test_published_preprocessing_and_classes_are_torchvisions():
    models = pytest.importorskip("torchvision.models")
    for architecture, ours in PUBLISHED.items():
        if architecture.startswith("efficientnet_lite"):
            continue
        weights = models.get_model_weights(architecture).IMAGENET1K_V1
        theirs = weights.transforms()
        assert [ours.resize, ours.crop] == [*theirs.resize_size, *theirs.crop_size]
        assert ours.interpolation == theirs.interpolation.value
        np.testing.assert_allclose(ours.mean, 255 * np.array(theirs.mean), rtol=1e-6)
        np.testing.assert_allclose(ours.std, 255 * np.array(theirs.std), rtol=1e-6)
    for ours, theirs in zip(imagenet.class_names(1000), weights.meta["categories"], strict=True):
        # Torchvision made two names its own, so that each is used once.
        assert ours.split(",")[0] == theirs or theirs in (
            "crane bird",
            "crane",
            "maillot tank suit",
        )


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_files_of_pytorch_are_imported(suffix, wrapper, tmp_path, torch_models):
    torch = torch_models.torch
    state = torch_models.published("efficientnet_lite0").bfloat16().state_dict()
    state = {name: torch.full_like(each, 0.5) for name, each in state.items()}
    path = (tmp_path / "lite").with_suffix(suffix)
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, path)
    network = import_weights("efficientnet_lite0", path, tmp_path / "out.safetensors")
    assert network.num_classes == 1000
    _, variables = load_weights(tmp_path / "out.safetensors")
    assert {float(each.min()) for each in jax.tree.leaves(variables)} == {0.5}


class Code:
    """What unpickling would run."""

    def __reduce__(self):
        return print, ("code ran",)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (Code(), "holds more than weights, or is damaged, and is not read, as its code would run"),
        ({"state_dict": {}, "args": Code()}, "holds more than weights"),
        ([1, 2], "holds a list, not a state dict: save `model.state_dict\\(\\)` alone"),
        ({"epoch": 3}, "its 'epoch' is a int, not a tensor"),
        (collections.OrderedDict(a="b"), "its 'a' is a str, not a tensor"),
    ],
)
def test_other_content_is_refused_without_running_it(
    content, complaint, tmp_path, capsys, torch_models
):
    torch_models.torch.save(content, tmp_path / "file.pth")
    with pytest.raises(UserError, match=complaint):
        read_state(tmp_path / "file.pth")
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"milk", b"PK\x03\x04", b"\x80\x02}"])
def test_damaged_files_are_told(content, tmp_path, torch_models):
    path = tmp_path / "file.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"file\.pth (holds more than|is no file of PyTorch, or)"):
        read_state(path)


def test_files_that_end_early_are_told(tmp_path, torch_models):
    path = tmp_path / "file.pth"
    torch_models.torch.save({"a": torch_models.torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"file\.pth is no file of PyTorch, or a damaged one \("):
        read_state(path)
