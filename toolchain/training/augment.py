"""Augmentation of batches of pictures and label maps together."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor, nn
from torch.nn import functional

from toolchain.training.occlusion import occluders, textures
from toolchain.training.settings import check, choice, number, share, span
from toolchain.training.warp import POINTS, sampling_grid

# Flipping a face swaps the subject's left and right: brows (2, 3) and eyes (4, 5).
FLIPPED_CLASS = (0, 1, 3, 2, 5, 4, 6, 7, 8, 9)

BACKGROUND, SKIN = 0, 1

# Weights of red, green and blue in the brightness of a pixel (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class AugmentSettings:
    """The `[augment]` table of a recipe: how often each change happens to a sample, and how far it goes.

    Attributes:
        flip: probability of a flip from left to right.
        affine: probability of rotation, scale and shift.
        degrees: largest rotation either way.
        scale: smallest and largest zoom; above 1 shows less of the surroundings.
        shift: largest shift along each axis as share of the side.
        warp: probability of a thin-plate warp.
        warp_shift: largest shift of a control point of the warp along each axis as share of the side.
        padding: what pictures show where they are moved in from outside: "zeros" (black, as in
            `toolchain.face.region.crop`) or "border" (the outermost pixels go on). Labels become background.
        occlusion: probability of a rectangle, an ellipse or a hand that hides a part; hidden pixels become
            background.
        occlusion_size: smallest and largest extent of it from its centre as share of the side.
        colour: probability of a change of brightness, contrast, saturation and hue.
        brightness: largest relative change.
        contrast: largest relative change.
        saturation: largest relative change.
        hue: largest change as share of the colour circle.
        gamma: probability of a change of gamma.
        gamma_exponent: smallest and largest exponent.
        blur: probability of a Gaussian blur.
        blur_sigma: smallest and largest standard deviation in pixels.
        noise: probability of Gaussian noise, independent in every value.
        noise_sigma: smallest and largest standard deviation; pictures span 0-1.
        jpeg: probability of a JPEG compression.
        jpeg_quality: lowest and highest quality (1-100).
    """

    flip: float = share(0.5)
    affine: float = share(0.9)
    degrees: float = number(20.0, 0.0, 180.0)
    scale: tuple[float, float] = span((0.75, 1.4), 0.1, 10.0)
    shift: float = number(0.08, 0.0, 1.0)
    warp: float = share(0.25)
    warp_shift: float = number(0.03, 0.0, 0.15)
    padding: str = choice("zeros", ("zeros", "border"))
    occlusion: float = share(0.15)
    occlusion_size: tuple[float, float] = span((0.1, 0.3), 0.01, 1.0)
    colour: float = share(0.8)
    brightness: float = number(0.25, 0.0, 1.0)
    contrast: float = number(0.25, 0.0, 1.0)
    saturation: float = number(0.25, 0.0, 1.0)
    hue: float = number(0.03, 0.0, 0.5)
    gamma: float = share(0.2)
    gamma_exponent: tuple[float, float] = span((0.7, 1.5), 0.1, 10.0)
    blur: float = share(0.15)
    blur_sigma: tuple[float, float] = span((0.3, 1.5), 0.1, 10.0)
    noise: float = share(0.15)
    noise_sigma: tuple[float, float] = span((0.0, 0.05), 0.0, 1.0)
    jpeg: float = share(0.15)
    jpeg_quality: tuple[float, float] = span((30.0, 90.0), 1.0, 100.0)

    def __post_init__(self) -> None:
        check(self, "augment")


class FaceAugmentation(nn.Module):
    """Random changes of a batch, in the order in which a camera would meet them.

    The face moves (flip, affine map and thin-plate warp in one resampling, bilinear for pictures, nearest for
    labels), something hides part of it, light and colours change, then come lens, sensor and file: blur,
    noise and JPEG. Every sample draws its own numbers from torch's global CPU generator, on any device.
    """

    flipped_class: Tensor

    def __init__(self, settings: AugmentSettings = AugmentSettings()) -> None:
        super().__init__()
        self.settings = settings
        lookup = torch.arange(256)
        lookup[: len(FLIPPED_CLASS)] = torch.tensor(FLIPPED_CLASS)
        self.register_buffer("flipped_class", lookup, persistent=False)

    @torch.no_grad()
    def forward(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Change one batch.

        Args:
            image: (N, 3, H, W) float in 0-1.
            label: (N, H, W) int64 with classes 0-9, and 255 where unknown.

        Returns:
            The same shapes and ranges, the image float32; the arguments are left as they are.
        """
        # Positions and colours need more digits than bfloat16 has.
        with torch.autocast(image.device.type, enabled=False):
            image, label = self._moved(image.float(), label)
            self._occlude(image, label)
            image = self._recolored(image)
            self._degrade(image)
        return image.clamp_(0, 1), label

    def _moved(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        settings = self.settings
        count, _, height, width = image.shape
        flip = torch.rand(count) < settings.flip
        affine = _random_affine(count, flip, settings).to(image.device)
        displacement = 2 * settings.warp_shift * _uniform(count, POINTS**2, 2)
        displacement = displacement * (torch.rand(count) < settings.warp)[:, None, None]
        grid = sampling_grid(affine, displacement.to(image.device), height, width)
        image = functional.grid_sample(image, grid, "bilinear", settings.padding, align_corners=False)
        moved = functional.grid_sample(label[:, None].float(), grid, "nearest", "zeros", align_corners=False)
        label = moved[:, 0].long()
        flipped = flip.nonzero()[:, 0].to(label.device)
        label[flipped] = self.flipped_class[label[flipped]]
        return image, label

    def _occlude(self, image: Tensor, label: Tensor) -> None:
        chosen = _chosen(image, self.settings.occlusion)
        if len(chosen):
            part = image[chosen]
            cover = occluders(part, self.settings.occlusion_size)
            texture = textures(part, label[chosen] == SKIN)
            image[chosen] = torch.lerp(part, texture, cover[:, None])
            label[chosen] = torch.where(cover > 0.5, BACKGROUND, label[chosen])

    def _recolored(self, image: Tensor) -> Tensor:
        settings = self.settings
        count = len(image)
        on = (torch.rand(count) < settings.colour).float()[:, None, None]
        brightness = 1 + on * settings.brightness * _uniform(count, 1, 1)
        contrast = 1 + on * settings.contrast * _uniform(count, 1, 1)
        saturation = 1 + on * settings.saturation * _uniform(count, 1, 1)
        hue = on * settings.hue * _uniform(count, 1, 1)
        matrix = (contrast * brightness * _color_matrix(saturation, hue)).to(image.device)
        luma = torch.tensor(LUMA, device=image.device)
        # Contrast is about the mean brightness of the picture, which saturation and hue leave as it is.
        mean = (image.mean((2, 3)) @ luma)[:, None, None] * brightness.to(image.device)
        offset = (1 - contrast.to(image.device)) * mean
        image = torch.baddbmm(offset, matrix, image.flatten(2)).view(image.shape)
        chosen = _chosen(image, settings.gamma)
        if len(chosen):
            exponent = torch.empty(len(chosen), 1, 1, 1).uniform_(*settings.gamma_exponent).to(image.device)
            image[chosen] = image[chosen].clamp(0, 1) ** exponent
        return image

    def _degrade(self, image: Tensor) -> None:
        settings = self.settings
        chosen = _chosen(image, settings.blur)
        if len(chosen):
            sigma = torch.empty(len(chosen), 1).uniform_(*settings.blur_sigma).to(image.device)
            side = 2 * math.ceil(3 * settings.blur_sigma[1]) + 1
            image[chosen] = gaussian_blur2d(image[chosen], side, sigma.expand(-1, 2))
        chosen = _chosen(image, settings.noise)
        if len(chosen):
            part = image[chosen]
            sigma = torch.empty(len(chosen), 1, 1, 1).uniform_(*settings.noise_sigma)
            image[chosen] = part + (sigma * torch.randn(part.shape)).to(image.device)
        quality = torch.empty(len(image)).uniform_(*settings.jpeg_quality).round().int().tolist()
        for index in _chosen(image, settings.jpeg).tolist():
            image[index] = compress_jpeg(image[index], quality[index])


def _uniform(*shape: int) -> Tensor:
    """Uniform in -1..1."""
    return 2 * torch.rand(shape) - 1


def _chosen(image: Tensor, probability: float) -> Tensor:
    """Indices of the samples that something happens to."""
    return (torch.rand(len(image)) < probability).nonzero()[:, 0].to(image.device)


def _random_affine(count: int, flip: Tensor, settings: AugmentSettings) -> Tensor:
    """(count, 2, 3) maps from the new picture to the old one, in the coordinates of `sampling_grid`."""
    on = (torch.rand(count, 1) < settings.affine).float()
    angle = on * math.radians(settings.degrees) * _uniform(count, 1)
    # Uniform in the logarithm: twice and half as large are equally likely.
    low, high = (math.log(limit) for limit in settings.scale)
    zoom = torch.exp(-on * torch.empty(count, 1).uniform_(low, high))
    shift = on * 2 * settings.shift * _uniform(count, 2)
    cos, sin = zoom * torch.cos(angle), zoom * torch.sin(angle)
    mirror = torch.where(flip, -1.0, 1.0)[:, None]
    rows = [mirror * cos, -mirror * sin, mirror * shift[:, :1], sin, cos, shift[:, 1:]]
    return torch.cat(rows, dim=1).view(count, 2, 3)


def _color_matrix(saturation: Tensor, hue: Tensor) -> Tensor:
    """(N, 3, 3) matrices that scale and turn the colour difference of RGB and keep the brightness.

    Args:
        saturation: (N, 1, 1) factor.
        hue: (N, 1, 1) share of the colour circle.
    """
    # YIQ (NTSC, SMPTE 170M): brightness first, then the plane of colour differences.
    to_yiq = torch.tensor([LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])
    cos, sin = saturation * torch.cos(2 * math.pi * hue), saturation * torch.sin(2 * math.pi * hue)
    one, zero = torch.ones_like(cos), torch.zeros_like(cos)
    rows = [[one, zero, zero], [zero, cos, -sin], [zero, sin, cos]]
    turn = torch.cat([torch.cat(row, dim=2) for row in rows], dim=1)
    return torch.linalg.inv(to_yiq) @ turn @ to_yiq


def compress_jpeg(image: Tensor, quality: int) -> Tensor:
    """What a picture looks like after it was saved as JPEG.

    Args:
        image: (3, H, W) RGB in 0-1.
        quality: 1-100.
    """
    # OpenCV's files are BGR in memory, so both ways through it the planes are reversed.
    pixels = (255 * image.flip(0)).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().contiguous().numpy()
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = torch.from_numpy(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return (decoded.permute(2, 0, 1).flip(0).float() / 255).to(image.device)
