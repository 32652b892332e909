"""Which operations are refused for neural networks of iOS 13, against what coremltools makes of them."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.converters.coreml.layers import missing_layer
from toolchain.converters.coreml.mil import Function, Placeholder, Program, mb
from toolchain.converters.coreml.quiet import import_coremltools, quiet_coremltools, spared_collections

IOS_13 = 4
PICTURE, VOLUME, VECTOR = (1, 4, 6, 8), (1, 4, 6, 8, 4), (6,)
ONE_BY_ONE = {rank: np.ones((4, 4, *[1] * (rank - 2)), np.float32) for rank in (4, 5)}
POOL = {"strides": [1, 1], "pad_type": "valid"}
POOL_3D = {"kernel_sizes": [2, 2, 2], "strides": [1, 1, 1], "pad_type": "valid"}

IN_IOS_13 = {
    "conv": (PICTURE, lambda x: mb.conv(x=x, weight=ONE_BY_ONE[4])),
    "max_pool": (PICTURE, lambda x: mb.max_pool(x=x, kernel_sizes=[2, 2], **POOL)),
    "concat": (PICTURE, lambda x: mb.concat(values=[x, x], axis=1)),
    "slice_by_index": (PICTURE, lambda x: mb.slice_by_index(x=x, begin=[0, 1, 1, 0], end=[1, 3, 5, 8])),
    "tile": (PICTURE, lambda x: mb.tile(x=x, reps=[1, 2, 1, 1])),
    "upsample_nearest_neighbor": (
        PICTURE,
        lambda x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3),
    ),
    "depth_to_space": (PICTURE, lambda x: mb.depth_to_space(x=x, block_size=2)),
    "resize_bilinear": (
        PICTURE,
        lambda x: mb.resize_bilinear(
            x=x, target_size_height=9, target_size_width=7, sampling_mode="STRICT_ALIGN_CORNERS"
        ),
    ),
    "gelu": (PICTURE, lambda x: mb.gelu(x=x, mode="EXACT")),
    "topk": (PICTURE, lambda x: mb.topk(x=x, k=2, axis=3)[0]),
    "instance_norm": (PICTURE, lambda x: mb.instance_norm(x=x, epsilon=np.float32(1e-3))),
    "reduce_mean": (VOLUME, lambda x: mb.reduce_mean(x=x, axes=[2, 3, 4], keep_dims=True)),
}
LATER = {
    "conv": (VOLUME, lambda x: mb.conv(x=x, weight=ONE_BY_ONE[5])),
    "conv_transpose": (VOLUME, lambda x: mb.conv_transpose(x=x, weight=ONE_BY_ONE[5])),
    "max_pool": (VOLUME, lambda x: mb.max_pool(x=x, **POOL_3D)),
    "avg_pool": (VOLUME, lambda x: mb.avg_pool(x=x, **POOL_3D)),
    "concat": (PICTURE, lambda x: mb.concat(values=[x, x], axis=1, interleave=True)),
    "slice_by_index": (
        PICTURE,
        lambda x: mb.slice_by_index(
            x=x, begin=[0, 1, 1, 0], end=[1, 3, 5, 8], squeeze_mask=[True, False, False, False]
        ),
    ),
    "upsample_bilinear": (
        PICTURE,
        lambda x: mb.upsample_bilinear(x=x, scale_factor_height=2, scale_factor_width=2),
    ),
    "upsample_nearest_neighbor": (
        PICTURE,
        lambda x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=1.5, scale_factor_width=2.0),
    ),
    "resize_nearest_neighbor": (
        PICTURE,
        lambda x: mb.resize_nearest_neighbor(x=x, target_size_height=9, target_size_width=16),
    ),
    "pixel_shuffle": (PICTURE, lambda x: mb.pixel_shuffle(x=x, upscale_factor=2)),
    "cumsum": (PICTURE, lambda x: mb.cumsum(x=x, axis=1)),
    "argsort": (PICTURE, lambda x: mb.argsort(x=x, axis=1)),
    "clamped_relu": (PICTURE, lambda x: mb.clamped_relu(x=x, alpha=0.0, beta=6.0)),
    "one_hot": (
        VECTOR,
        lambda x: mb.one_hot(
            indices=mb.cast(x=x, dtype="int32"), one_hot_vector_size=5, axis=-1, on_value=1.0, off_value=0.0
        ),
    ),
    "tile": (
        VECTOR,
        lambda x: mb.tile(x=x, reps=mb.cast(x=mb.slice_by_index(x=x, begin=[0], end=[1]), dtype="int32")),
    ),
}


@pytest.fixture(scope="module")
def write():
    """Writes the network that `build(x)` makes; its operations, and the version that the file gets."""
    coremltools = import_coremltools()

    def convert(shape, build):
        program = Program()
        with Function({"x": Placeholder(shape)}, opset_version=coremltools.target.iOS13) as function:
            function.set_outputs([build(function.inputs["x"])])
        program.add_function("main", function)
        operations = list(function.operations)
        with quiet_coremltools(), spared_collections():
            made = coremltools.convert(
                program,
                source="milinternal",
                convert_to="neuralnetwork",
                minimum_deployment_target=coremltools.target.iOS14,
                pass_pipeline=coremltools.PassPipeline.EMPTY,
                skip_model_load=True,
            )
        return operations, made.get_spec().specificationVersion

    return convert


@pytest.mark.parametrize("name", IN_IOS_13)
def test_layers_of_ios_13(name, write) -> None:
    operations, version = write(*IN_IOS_13[name])
    assert name in {operation.op_type for operation in operations}
    assert not any(missing_layer(operation) for operation in operations)
    assert version <= IOS_13


@pytest.mark.parametrize("name", LATER)
def test_later_layers_are_refused(name, write) -> None:
    operations, version = write(*LATER[name])
    (reason,) = filter(None, map(missing_layer, operations))
    assert f"'{name}'" in reason
    assert version > IOS_13


def test_operations_without_a_layer_are_refused() -> None:
    shape = (1, 4, 6, 8)
    with Function({"x": Placeholder(shape)}, opset_version=import_coremltools().target.iOS16) as function:
        mb.pixel_unshuffle(x=function.inputs["x"], downscale_factor=np.uint32(2))
    reasons = [reason for operation in function.operations if (reason := missing_layer(operation))]
    assert reasons == ["neural networks have no layer for 'pixel_unshuffle'"]
