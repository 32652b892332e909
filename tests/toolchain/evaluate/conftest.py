"""Pictures painted in the colours of their labels, and networks that read the colours back."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

import toolchain
from toolchain.models.faces import PALETTE

SIDE = 32
# toolchain.models.faces.LABELS -> index of CelebAMask-HQ; glasses are not annotated.
INDEX_OF_CLASS = np.array([0, 1, 6, 7, 4, 5, 2, 11, 10, 12], np.uint8)
GLASSES = 3

FACTORIES = '''
import torch
from torch import nn

from toolchain.models.faces import PALETTE, face_spec


class Painted(nn.Module):
    """Scores a class by how near its colour is; `blind` is a class that is never found."""

    def __init__(self, blind=None):
        super().__init__()
        colors = torch.tensor(PALETTE).float() / 127.5 - 1
        self.conv = nn.Conv2d(3, 10, 1)
        with torch.no_grad():
            self.conv.weight.copy_(2 * colors[:, :, None, None])
            self.conv.bias.copy_(-(colors**2).sum(1))
            if blind is not None:
                self.conv.bias[blind] = -12

    def forward(self, image):
        return self.conv(image)


class Memory(nn.Module):
    """Knows nothing but the mask before."""

    def forward(self, image, previous):
        return previous + 0.01 * image.mean(1, keepdim=True)


class Second(Painted):
    """Finds no nose, unless there is a mask before whose probabilities add up to 1."""

    def __init__(self):
        super().__init__(6)
        self.hold = nn.Conv2d(10, 10, 1, bias=False)
        with torch.no_grad():
            self.hold.weight.zero_()
            self.hold.weight[6] = 12 + Painted().conv.bias[6]

    def forward(self, image, previous):
        return self.conv(image) + self.hold(previous)


def painted():
    return Painted(), face_spec("painted", "", "", False, 32)


def painted_64():
    return Painted(), face_spec("painted", "", "", False, 64)


def noseless():
    return Painted(6), face_spec("noseless", "", "", False, 32)


def memory():
    return Memory(), face_spec("memory", "", "", True, 32)


def second():
    return Second(), face_spec("second", "", "", True, 32)


def bare():
    return Painted()


def foreign():
    from dataclasses import replace
    spec = face_spec("foreign", "", "", False, 32)
    return Painted(), replace(spec, labels=("hair", *spec.labels[1:]))


def broken():
    network = Painted()
    with torch.no_grad():
        network.conv.bias[3] = float("nan")
    return network, face_spec("broken", "", "", False, 32)
'''


def labels_of_face(number: int) -> np.ndarray:
    """(SIDE, SIDE) classes; the nose grows with `number`, and some pixels are not annotated."""
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[4:28, 6:26] = 1
    labels[7:9, 17:24], labels[7:9, 8:15] = 2, 3
    labels[10:13, 18:23], labels[10:13, 9:14] = 4, 5
    labels[14 : 17 + number, 14:18] = 6
    labels[22, 12:20], labels[23, 12:20], labels[24, 12:20] = 7, 8, 9
    return labels


def write_zip(path: Path, names: list[str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(names):
            labels = labels_of_face(number)
            picture = np.array(PALETTE, np.uint8)[labels]
            index = INDEX_OF_CLASS[labels]
            # Glasses hide a corner of the left brow.
            index[7, 22:24] = GLASSES
            # PNG keeps the colours; readers go by the content.
            for place, pixels in ((f"images/{name}.jpg", picture[:, :, ::-1]), (f"labels/{name}.png", index)):
                archive.writestr(f"val/{place}", cv2.imencode(".png", pixels)[1].tobytes())
    return path


@pytest.fixture(scope="session")
def painted_data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four pairs, called a, b, c and <d>."""
    return f"celebamask:{write_zip(tmp_path_factory.mktemp('data') / 'faces.zip', ['a', 'b', 'c', '<d>'])}"


@pytest.fixture(scope="session")
def factories(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The file with the networks."""
    path = tmp_path_factory.mktemp("networks") / "networks.py"
    path.write_text(FACTORIES)
    return str(path)


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of painted pictures to calibrate with."""
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(4):
        cv2.imwrite(
            str(folder / f"{number}.png"), np.array(PALETTE, np.uint8)[labels_of_face(number)][:, :, ::-1]
        )
    return folder


@pytest.fixture(scope="session")
def painted_file(factories: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network that makes no mistakes, as a .tflite file with its sidecar."""
    folder = tmp_path_factory.mktemp("painted")
    [artifact] = toolchain.export(f"{factories}:painted", formats=["tflite"], output=folder)
    return artifact.path
