"""PyTorch's side of the comparisons: modules with drawn weights, and their logits.

    PYTHONPATH=. python tests/networks/torch_models.py

writes the golden files anew; `test_parity` checks that they are what PyTorch computes.
"""

import functools
import itertools
import json

import numpy as np
import timm
import torch
import torchvision
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from timm.models.efficientnet import EfficientNet
from torch import nn
from torchvision.models import densenet, resnet, vgg

from raeg_jax.networks.preprocessing import Preprocessing
from tests.networks.golden_networks import CLASSES, NETWORKS, golden_file, images_of
from tests.networks.random_weights import random_state

_BOTTLENECKS = {"resnet": resnet.BasicBlock, "resnet_bottleneck": resnet.Bottleneck}
_SEEDS = {name: seed for seed, name in enumerate(NETWORKS)}


def published(architecture: str) -> nn.Module:
    """An untrained module of torchvision, or of timm for EfficientNet-Lite."""
    # Without the seconds that initialisation takes.
    with torch.device("meta"):
        if architecture.startswith("efficientnet_lite"):
            module = timm.create_model(f"tf_{architecture}")
        else:
            module = torchvision.models.get_model(architecture)
    return module.to_empty(device="cpu").eval()


def golden(name: str) -> nn.Module:
    """PyTorch's module of a golden network."""
    ours = NETWORKS[name]
    if name.startswith("resnet"):
        return _resnet(_BOTTLENECKS[name], ours.stage_sizes, ours.width)
    if name.startswith("vgg"):
        return _vgg(ours.stages, ours.hidden, ours.norm)
    if name == "densenet":
        return densenet.DenseNet(
            ours.growth, ours.block_sizes, ours.width, ours.bottleneck, num_classes=CLASSES
        ).eval()
    stages = [
        [f"{'ds' if expansion == 1 else 'ir'}_r{blocks}_k{side}_s{stride}_e{expansion}_c{features}"]
        for side, blocks, features, expansion, stride in ours.stages
    ]
    return EfficientNet(
        decode_arch_def(stages, ours.depth, fix_first_last=True),
        num_classes=CLASSES,
        num_features=ours.head,
        stem_size=ours.stem,
        fix_stem=True,
        round_chs_fn=functools.partial(round_channels, multiplier=ours.width),
        act_layer=nn.ReLU6,
        norm_layer=functools.partial(nn.BatchNorm2d, eps=1e-3),
        pad_type="same",
    ).eval()


def _resnet(block, sizes, width):
    """Torchvision's, whose widths are fixed, with layers of other widths in the same places."""
    module = resnet.ResNet(block, [1, 1, 1, 1], num_classes=CLASSES)
    module.inplanes = width
    module.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
    module.bn1 = nn.BatchNorm2d(width)
    for stage in range(4):
        made = nn.Identity()
        if stage < len(sizes):
            made = module._make_layer(block, width * 2**stage, sizes[stage], 1 + (stage > 0))
        setattr(module, f"layer{stage + 1}", made)
    module.fc = nn.Linear(module.inplanes, CLASSES)
    return module.eval()


def _vgg(stages, hidden, norm):
    """Torchvision's with narrower dense layers."""
    places = [place for widths in stages for place in (*widths, "M")]
    module = vgg.VGG(vgg.make_layers(places, norm), init_weights=False)
    sizes = [49 * stages[-1][-1], *hidden, CLASSES]
    parts = [
        part
        for width, following in itertools.pairwise(sizes)
        for part in (nn.Linear(width, following), nn.ReLU(), nn.Dropout())
    ]
    module.classifier = nn.Sequential(*parts[:-2])
    return module.eval()


def shapes(module: nn.Module) -> dict[str, list[int]]:
    """Shapes of the tensors of a module, in their order."""
    return {name: list(tensor.shape) for name, tensor in module.state_dict().items()}


def load(module: nn.Module, state: dict[str, np.ndarray]) -> None:
    """Gives a module its tensors."""
    module.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})


def logits(module: nn.Module, images: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """What PyTorch computes of images [B, H, W, 3] in pixel units: float32 [B, K]."""
    mean, std = (np.float32(each) for each in (preprocessing.mean, preprocessing.std))
    scaled = np.ascontiguousarray(((images - mean) / std).transpose(0, 3, 1, 2))
    with torch.no_grad():
        return module(torch.from_numpy(scaled)).numpy()


def golden_content(name: str) -> dict:
    """What the golden file of a network holds."""
    module, seed = golden(name), _SEEDS[name]
    load(module, random_state(shapes(module), seed))
    computed = logits(module, images_of(seed), NETWORKS[name].preprocessing)
    rounded = [[float(f"{each:.7g}") for each in row] for row in computed]
    return {"seed": seed, "tensors": shapes(module), "logits": rounded}


if __name__ == "__main__":
    for _name in NETWORKS:
        golden_file(_name).write_text(json.dumps(golden_content(_name)) + "\n")
