"""Normalizations against torch and against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from toolchain.errors import UnsupportedError

RNG = np.random.default_rng(4)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


X = normal(2, 3, 4, 5)
GAMMA, BETA, MEAN = normal(3), normal(3), normal(3)
VARIANCE = np.abs(normal(3)) + 0.1


def test_batchnorm(check_layers):
    want = F.batch_norm(*map(torch.tensor, (X, MEAN, VARIANCE, GAMMA, BETA)), False, 0.0, 1e-3)
    check_layers(
        lambda b: b.add_batchnorm("n", 3, GAMMA, BETA, MEAN, VARIANCE, "x", "y", epsilon=1e-3), [X], want
    )
    check_layers(
        lambda b: b.add_batchnorm("n", 3, GAMMA, BETA, MEAN, VARIANCE, "x", "y", epsilon=1e-3),
        [X[0]],
        want[0],
    )


@pytest.mark.parametrize(("instance", "axes"), [(True, (2, 3)), (False, (0, 2, 3))])
def test_computed_statistics(check_layers, instance, axes):
    scaled = (X - X.mean(axes, keepdims=True)) / np.sqrt(X.var(axes, keepdims=True) + 1e-2)
    want = scaled * GAMMA[:, None, None] + BETA[:, None, None]

    def build(b):
        b.add_batchnorm(
            "n", 3, GAMMA, BETA, None, None, "x", "y", compute_mean_var=True, instance_normalization=True,
            epsilon=1e-2,
        )  # fmt: skip
        b.spec.neuralNetwork.layers[0].batchnorm.instanceNormalization = instance

    check_layers(build, [X], want)


def test_default_epsilon(check_layers):
    def build(b):
        b.add_batchnorm("n", 3, GAMMA, BETA, MEAN, np.zeros(3), "x", "y", epsilon=0)

    want = (X - MEAN[:, None, None]) / np.sqrt(1e-5) * GAMMA[:, None, None] + BETA[:, None, None]
    check_layers(build, [X], want, 1e-4)


def test_instance_flag_without_statistics_is_refused(run_layers):
    def build(b):
        b.add_batchnorm("n", 3, GAMMA, BETA, MEAN, VARIANCE, "x", "y", instance_normalization=True)
        b.spec.neuralNetwork.layers[0].batchnorm.computeMeanVar = False

    with pytest.raises(UnsupportedError, match="batchnorm 'n': instanceNormalization without computeMeanVar"):
        run_layers(build, [X])


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("variance", [False, True])
def test_mvn(check_layers, across, variance):
    axes = (1, 2, 3) if across else (2, 3)
    want = X - X.mean(axes, keepdims=True)
    if variance:
        want = want / np.sqrt(X.var(axes, keepdims=True) + 1e-2)
    check_layers(lambda b: b.add_mvn("n", "x", "y", across, variance, 1e-2), [X], want)


def test_l2_normalize(check_layers):
    want = X / np.sqrt((X**2).sum((1, 2, 3), keepdims=True) + 1e-2)
    check_layers(lambda b: b.add_l2_normalize("n", "x", "y", 1e-2), [X], want)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_lrn(check_layers, size):
    x = normal(1, 7, 2, 3)
    want = np.zeros_like(x)
    for channel in range(7):
        near = x[:, max(0, channel - size // 2) : channel + size // 2 + 1]
        want[:, channel] = x[:, channel] / (2 + 0.5 / size * (near**2).sum(1)) ** 0.75
    check_layers(lambda b: b.add_lrn("n", "x", "y", 0.5, 0.75, size, 2.0), [x], want)


def test_lrn_with_an_even_window_is_refused(run_layers):
    with pytest.raises(UnsupportedError, match="lrn 'n': a window of 4 channels has no centre"):
        run_layers(lambda b: b.add_lrn("n", "x", "y", 0.5, 0.75, 4), [X])


def test_softmax_is_over_channels(check_layers):
    want = torch.softmax(torch.tensor(X), 1)
    check_layers(lambda b: b.add_softmax("s", "x", "y"), [X], want)


@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_softmax_nd(check_layers, axis):
    check_layers(lambda b: b.add_softmax_nd("s", "x", "y", axis), [X], torch.softmax(torch.tensor(X), axis))


@pytest.mark.parametrize("axes", [1, 2])
def test_layer_normalization(check_layers, axes):
    shape = X.shape[-axes:]
    gamma, beta = normal(*shape), normal(*shape)
    want = F.layer_norm(torch.tensor(X), shape, torch.tensor(gamma), torch.tensor(beta), 1e-3)
    check_layers(
        lambda b: b.add_layer_normalization("n", "x", "y", list(shape), gamma, beta, 1e-3), [X], want
    )
