"""Pictures, labels, control flow and refusals of whole networks."""

from __future__ import annotations

import numpy as np
import pytest

from toolchain.errors import UnsupportedError, UnsupportedOpsError, UsageError
from toolchain.runtimes.neuralnetwork.execute import NeuralNetwork

RNG = np.random.default_rng(11)
BIASES = {"red_bias": -1.0, "green_bias": -2.0, "blue_bias": -3.0, "gray_bias": -4.0, "image_scale": 0.5}


def picture(channels: int) -> np.ndarray:
    return RNG.integers(0, 256, (1, channels, 4, 6)).astype(np.float32)


def copying(network_builder, channels=3, **options):
    """A network that gives out its picture, after preprocessing."""
    builder = network_builder({"x": (1, channels, 4, 6)}, ["y"])
    builder.add_copy("c", "x", "y")
    builder.set_pre_processing_parameters(image_input_names=["x"], **options)
    return builder.spec


@pytest.mark.parametrize(
    ("channels", "bgr", "offsets"),
    [(3, False, [-1, -2, -3]), (3, True, [-3, -2, -1]), (1, False, [-4])],
)
def test_scaler(network_builder, saved, channels, bgr, offsets):
    x = picture(channels)
    network = NeuralNetwork(saved(copying(network_builder, channels, is_bgr=bgr, **BIASES)))
    want = x * 0.5 + np.reshape(offsets, (-1, 1, 1))
    np.testing.assert_allclose(network.run({"x": x})["y"], want)


def test_mean_image(network_builder, saved):
    spec = copying(network_builder)
    mean = RNG.random((3, 4, 6)).astype(np.float32)
    spec.neuralNetwork.preprocessing[0].meanImage.meanImage.extend(mean.ravel().tolist())
    x = picture(3)
    np.testing.assert_allclose(NeuralNetwork(saved(spec)).run({"x": x})["y"], x - mean, rtol=1e-6)


@pytest.mark.parametrize("exact", [False, True])
def test_picture_mapping(network_builder, saved, exact):
    """With the mapping to five axes a picture becomes [1, 1, 3, H, W]."""
    builder = network_builder({"x": (3, 4, 6)}, [("y", (72,))], exact)
    builder.add_flatten("f", 0, "x", "y")
    builder.set_pre_processing_parameters(image_input_names=["x"], image_scale=2.0)
    spec = builder.spec
    if exact:
        spec.description.output[0].type.multiArrayType.shape[:] = [1, 72, 1, 1]
    x = picture(3)
    want = (x * 2).reshape([1, 72, 1, 1] if exact else [72])
    np.testing.assert_allclose(NeuralNetwork(saved(spec)).run({"x": x})["y"], want)


def test_arrays_of_five_axes(network_builder, saved):
    builder = network_builder({"x": (6,), "z": (2, 3, 4)}, [("y", (3,)), ("w", (4, 3, 2))], exact=False)
    weight = RNG.standard_normal((3, 6)).astype(np.float32)
    builder.add_inner_product("f", weight, None, 6, 3, False, "x", "y")
    builder.add_permute("p", [0, 3, 2, 1], "z", "w")
    x, z = RNG.standard_normal(6).astype(np.float32), RNG.standard_normal((2, 3, 4)).astype(np.float32)
    found = NeuralNetwork(saved(builder.spec)).run({"x": x, "z": z})
    np.testing.assert_allclose(found["y"], weight @ x, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["w"], z.transpose(2, 1, 0))


@pytest.mark.parametrize("labels", [["cat", "dog", "owl"], [7, 8, 9]])
@pytest.mark.parametrize("named", [False, True])
def test_classifier(coremltools, saved, labels, named):
    from coremltools.models import datatypes
    from coremltools.models.neural_network import NeuralNetworkBuilder

    builder = NeuralNetworkBuilder(
        [("x", datatypes.Array(3))], [("p", None)], mode="classifier", disable_rank5_shape_mapping=True
    )
    builder.add_softmax_nd("s", "x", "p", -1)
    builder.set_class_labels(labels, "label", "p" if named else "")
    x = np.array([0.0, 2.0, 1.0], np.float32)
    found = NeuralNetwork(saved(builder.spec)).run({"x": x})
    probabilities = np.exp(x) / np.exp(x).sum()
    assert found["label"] == labels[1]
    (by_label,) = (value for value in found.values() if isinstance(value, dict))
    assert list(by_label) == labels
    np.testing.assert_allclose(list(by_label.values()), probabilities, rtol=1e-5)


def nested(coremltools, message):
    return coremltools.models.neural_network.NeuralNetworkBuilder(
        nn_spec=message, disable_rank5_shape_mapping=True, use_float_arraytype=True
    )


@pytest.mark.parametrize(("condition", "want"), [(1.0, 2.0), (-3.0, 2.0), (0.0, -1.0), (1e-7, -1.0)])
def test_branch(coremltools, run_layers, condition, want):
    def build(builder):
        branch = builder.add_branch("b", "x1").branch
        for message, factor in ((branch.ifBranch, 2.0), (branch.elseBranch, -1.0)):
            nested(coremltools, message).add_elementwise("m", ["x"], "y", "MULTIPLY", alpha=factor)

    x = np.array([1.0, 3.0], np.float32)
    (y,) = run_layers(build, [x, np.array([condition], np.float32)])
    np.testing.assert_allclose(y, x * want)


def doubling(coremltools, body, leave=None):
    """y doubles; where y > 20 the loop or the pass is left before i grows."""
    inner = nested(coremltools, body)
    inner.add_elementwise("m", ["y"], "twice", "MULTIPLY", alpha=2.0)
    inner.add_copy("back", "twice", "y")
    if leave:
        inner.add_greater_than("g", ["y"], "large", alpha=20.0)
        nested(coremltools, inner.add_branch("b", "large").branch.ifBranch).__getattribute__(
            f"add_loop_{leave}"
        )("l")
    inner.add_elementwise("n", ["y1"], "next", "ADD", alpha=1.0)
    inner.add_copy("count", "next", "y1")


@pytest.mark.parametrize(
    ("options", "count_input", "limit", "leave", "want"),
    [
        pytest.param({"max_iterations": 3}, False, None, None, (8, 3), id="count"),
        pytest.param({"max_iterations": 9}, True, None, None, (32, 5), id="count as input"),
        pytest.param({"max_iterations": 0}, False, 4.0, None, (16, 4), id="condition"),
        pytest.param({"max_iterations": 2}, False, 4.0, None, (4, 2), id="count before condition"),
        pytest.param({"max_iterations": 7}, False, None, "break", (32, 4), id="break"),
        pytest.param({"max_iterations": 7}, False, None, "continue", (128, 4), id="continue"),
    ],
)
def test_loop(coremltools, run_layers, options, count_input, limit, leave, want):
    def build(builder):
        builder.add_copy("y0", "x", "y")
        builder.add_elementwise("zero", ["x"], "y1", "MULTIPLY", alpha=0.0)
        loop = builder.add_loop("loop", input_name="x1" if count_input else None, **options).loop
        doubling(coremltools, loop.bodyNetwork, leave)
        if limit is not None:
            nested(coremltools, loop.conditionNetwork).add_less_than("less", ["y1"], "go", alpha=limit)
            loop.conditionVar = "go"

    found = run_layers(build, [np.ones(1, np.float32), np.array([5], np.float32)], 2)
    assert [float(value[0]) for value in found] == list(want)


def test_all_unknown_layers_are_named(coremltools, network_builder):
    builder = network_builder({"x": (3,)}, ["y"])
    builder.add_random_normal_like("noise", "x", "n")
    params = coremltools.proto.NeuralNetwork_pb2.CustomLayerParams()
    params.className = "Own"
    builder.add_custom("own", ["n"], ["o"], params)
    branch = builder.add_branch("b", "o").branch
    nested(coremltools, branch.ifBranch).add_random_uniform_like("inside", "x", "y")
    with pytest.raises(UnsupportedOpsError) as caught:
        NeuralNetwork(builder.spec)
    found = {(refusal.op, refusal.node) for refusal in caught.value.refusals}
    assert found == {
        ("randomNormalLike", "noise"),
        ("custom (Own)", "own"),
        ("randomUniformLike", "inside"),
    }


def relu(network_builder, output="y"):
    builder = network_builder({"x": (3,)}, [output])
    builder.add_activation("a", "RELU", "x", "y")
    return builder.spec


def with_unknown_field(network_builder):
    """Field 99 of the layer's parameters holds the number 1."""
    spec = relu(network_builder)
    spec.neuralNetwork.layers[0].activation.ReLU.MergeFromString(b"\x98\x06\x01")
    return spec


def of_another_kind(network_builder):
    spec = relu(network_builder)
    spec.identity.SetInParent()
    return spec


def with_unknown_mapping(network_builder):
    spec = relu(network_builder)
    spec.neuralNetwork.arrayInputShapeMapping = 5
    return spec


def with_strange_preprocessing(network_builder):
    spec = relu(network_builder)
    spec.neuralNetwork.preprocessing.add().featureName = "other"
    return spec


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (with_unknown_field, r"activation 'a' has a parameter that this version does not know \(field 99"),
        (of_another_kind, "a model of kind identity is no neural network"),
        (with_unknown_mapping, "arrayInputShapeMapping 5 is not known"),
        (with_strange_preprocessing, "preprocessing is stated for 'other'"),
    ],
)
def test_what_is_not_known_is_refused(network_builder, make, message):
    with pytest.raises(UnsupportedError, match=message):
        NeuralNetwork(make(network_builder))


def test_missing_input_and_output(network_builder):
    with pytest.raises(UsageError, match=r"lacks its input\(s\) x"):
        NeuralNetwork(relu(network_builder)).run({})
    with pytest.raises(UnsupportedError, match="no layer computes 'z'"):
        NeuralNetwork(relu(network_builder, "z")).run({"x": np.zeros(3, np.float32)})


def test_stated_shape_is_checked(network_builder):
    network = NeuralNetwork(relu(network_builder, ("y", (4,))))
    with pytest.raises(UnsupportedError, match=r"'y' has shape \(3,\), the description says \(4,\)"):
        network.run({"x": np.zeros(3, np.float32)})


def test_results_belong_to_the_caller(network_builder):
    builder = network_builder({"x": (3,)}, ["y"])
    builder.add_load_constant_nd("l", "y", np.ones(3), (3,))
    network = NeuralNetwork(builder.spec)
    x = np.zeros(3, np.float32)
    network.run({"x": x})["y"][:] = 5
    np.testing.assert_array_equal(network.run({"x": x})["y"], np.ones(3))


def test_failure_inside_of_a_layer_names_it(network_builder):
    builder = network_builder({"x": (3,), "z": (4,)}, ["y"])
    builder.add_add_broadcastable("sum", ["x", "z"], "y")
    with pytest.raises(UnsupportedError, match="addBroadcastable 'sum' failed: RuntimeError"):
        NeuralNetwork(builder.spec).run({"x": np.zeros(3), "z": np.zeros(4)})
