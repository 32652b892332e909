"""Golden cases of sidecars: the contract that an app reads in one, or the reason why it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolchain.face.golden_cases import case, refusal
from toolchain.face.parse import Contract, contract_of
from toolchain.models.zoo import zoo
from toolchain.spec import (
    CLASSIFICATION,
    SEGMENTATION,
    SIDECAR_VERSION,
    Artifact,
    ModelSpec,
    Parity,
    Preprocess,
    TensorSpec,
    parse_sidecar,
)

NAME = "face-parser"
LABELS = ("background", "skin", "left eye", "nose", "mouth")
PALETTE = ((0, 0, 0), (120, 120, 255), (0, 130, 200), (245, 130, 48), (230, 25, 75))
PREPROCESS = Preprocess(resize="area", margin=1.56, shift=-0.08)
SIZE = 64
Change = Callable[[dict[str, Any]], Any]


def sidecar_cases() -> list[dict[str, Any]]:
    """All cases of sidecar.json."""
    good = {**_good(), **exported()}
    made = [_case(name, json.dumps(artifact.sidecar())) for name, artifact in good.items()]
    later = {**_artifact().sidecar(), "later": {"than": "this version of the app"}}
    made.append(_case("a key that nobody knows yet is no obstacle", json.dumps(later)))
    for name, (change, words) in _bad().items():
        raw = _artifact().sidecar()
        change(raw)
        made.append(_case(name, json.dumps(raw), *words))
    text = json.dumps(_artifact().sidecar())
    made.append(_case("cut off", text[: len(text) // 2], "sidecar"))
    made.append(_case("empty", "", "sidecar"))
    made.append(_case("a list", "[1, 2]", "sidecar"))
    return made


def _case(name: str, text: str, *words: str) -> dict[str, Any]:
    """A refusal where there are words that its message must have."""
    if not words:
        return case("contract", _contract, name, text=text)
    return {"name": name, "function": "contract", "input": {"text": text}, "expected": refusal(*words)}


def _contract(text: str) -> dict[str, Any]:
    artifact = parse_sidecar(Path(f"{NAME}-fp32.tflite"), text)
    contract: Contract = contract_of(artifact)
    return {
        "name": artifact.name,
        "format": artifact.format,
        "precision": artifact.precision,
        "size": contract.size,
        "classes": len(contract.labels),
        "labels": contract.labels,
        "palette": contract.palette,
        "image": contract.image,
        "previous": contract.previous,
        "logits": contract.logits,
        "preprocessing": contract.preprocess,
        "sha256": artifact.sha256,
        "bytes": artifact.bytes,
        "parity": artifact.parity.as_json() if artifact.parity else None,
    }


def _tensor(name: str, channels: int, layout: str = "NHWC", **more: Any) -> TensorSpec:
    shape = (1, SIZE, SIZE, channels) if layout == "NHWC" else (1, channels, SIZE, SIZE)
    return TensorSpec(name, shape, layout=layout, **more)


def _artifact(layout: str = "NHWC", previous: bool = True, **changes: Any) -> Artifact:
    before = (_tensor("previous", len(LABELS), layout),) if previous else ()
    fields: dict[str, Any] = {
        "path": Path(f"{NAME}-fp32.tflite"),
        "format": "tflite",
        "precision": "fp32",
        "name": NAME,
        "task": SEGMENTATION,
        "inputs": (_tensor("image", 3, layout), *before),
        "outputs": (_tensor("logits", len(LABELS), layout),),
        "preprocess": PREPROCESS,
        "labels": LABELS,
        "palette": PALETTE,
        "parity": Parity(112.5, 1.5e-5, 1.0, 8),
        "ops": {"CONV_2D": 40, "ADD": 8},
        "bytes": 1_234_567,
        "sha256": "5f" * 32,
        "versions": {"mobile-toolchain": "1.0"},
        "command": "toolchain export mobile-hourglass --app android",
    }
    return Artifact(**{**fields, **changes})


def _good() -> dict[str, Artifact]:
    whole: dict[str, Any] = {"dtype": "int8", "scale": 0.0078125, "zero_point": -1}
    integer = _artifact(
        inputs=(_tensor("image", 3, **whole), _tensor("previous", len(LABELS), **whole)),
        outputs=(_tensor("logits", len(LABELS), dtype="int8", scale=0.125, zero_point=5),),
        precision="int8",
        integer={"share": 1.0},
    )
    apple = _artifact(
        "NCHW",
        path=Path(f"{NAME}-fp16.mlpackage"),
        format="coreml",
        precision="fp16",
        inputs=(_tensor("image", 3, "NCHW", image="RGB"), _tensor("previous", len(LABELS), "NCHW")),
    )
    return {
        "with a previous mask": _artifact(),
        "without a previous mask": _artifact(previous=False),
        "planes, pixels that the file normalizes": apple,
        "integers": integer,
        "probabilities instead of logits": _artifact(outputs=(_tensor("probabilities", len(LABELS)),)),
        "bit-exact": _artifact(parity=Parity(float("inf"), 0.0, None, 8)),
        "not compared": _artifact(parity=None),
        "classes named in another script": _artifact(
            labels=("Hintergrund", "Haut", "Äuglein", "nose", "\u53e3")
        ),
    }


def exported() -> dict[str, Artifact]:
    """What the apps get by `toolchain export mobile-hourglass --app`, but for figures, hash and versions."""
    spec: ModelSpec = zoo().get("mobile-hourglass").spec
    image, previous = spec.inputs
    (logits,) = spec.outputs
    pixels = replace(_channels_last(image), dtype="uint8", image="RGB")
    versions = {"python": "3.11.7", "mobile-toolchain": "0.1.0", "torch": "2.13.0+cpu", "coremltools": "9.0"}
    ways: dict[str, dict[str, Any]] = {
        "ios": {
            "format": "coreml",
            "precision": "fp16",
            "inputs": (pixels, previous),
            "outputs": (logits,),
            "parity": Parity(66.48868594805839, 0.021945476531982422, 0.9999847412109375, 4),
            "ops": {"conv": 45, "relu6": 29, "add": 20, "upsample_nearest_neighbor": 5, "max_pool": 4},
            "bytes": 573_119,
            "sha256": "6f973236caa842a865cb440d3c892091b897dda53154d851fcb32c397a535720",
        },
        "android": {
            "format": "tflite",
            "precision": "fp32",
            "inputs": (_channels_last(image), _channels_last(previous)),
            "outputs": (_channels_last(logits),),
            "parity": Parity(132.68077994389387, 1.1444091796875e-05, 1.0, 4),
            "ops": {"CONV_2D": 32, "ADD": 20, "DEPTHWISE_CONV_2D": 13, "RESIZE_NEAREST_NEIGHBOR": 5},
            "bytes": 988_336,
            "sha256": "694115082b345c7a08b968afb0d5baf5c829418ff702ba7a9d148e62996b13de",
        },
    }
    return {
        f"{spec.name} as exported for the {app} app": Artifact(
            path=Path(spec.name),
            name=spec.name,
            task=spec.task,
            preprocess=spec.preprocess,
            labels=spec.labels,
            palette=spec.palette,
            versions=versions,
            command=f"toolchain export {spec.name} --app {app}",
            terms="trained on CelebAMask-HQ, which is for non-commercial research: these weights are for"
            " research use, and must not be used commercially",
            **said,
        )
        for app, said in ways.items()
    }


def _channels_last(tensor: TensorSpec) -> TensorSpec:
    batch, channels, height, width = tensor.shape
    return replace(tensor, shape=(batch, height, width, channels), layout="NHWC")


def _bad() -> dict[str, tuple[Change, tuple[str, ...]]]:
    def put(*keys: str | int, value: Any) -> Change:
        def change(raw: dict[str, Any]) -> None:
            place: Any = raw
            for key in keys[:-1]:
                place = place[key]
            place[keys[-1]] = value

        return change

    def drop(*keys: str | int) -> Change:
        def change(raw: dict[str, Any]) -> None:
            place: Any = raw
            for key in keys[:-1]:
                place = place[key]
            del place[keys[-1]]

        return change

    later = SIDECAR_VERSION + 1
    rows: dict[str, tuple[Change, tuple[str, ...]]] = {
        "of a later version": (put("version", value=later), ("version", str(later), str(SIDECAR_VERSION))),
        "of no version": (drop("version"), ("version",)),
        **{f"without {key}": (drop(key), (key,)) for key in (
            "inputs", "outputs", "preprocessing", "labels", "palette", "sha256", "precision", "format",
        )},
        "a tensor without a shape": (drop("inputs", 0, "shape"), ("shape",)),
        "a preprocessing step that nobody knows": (put("preprocessing", "gamma", value=2.2), ("gamma",)),
        "labels that are a number": (put("labels", value=5), ("sidecar",)),
        "a size that is a word": (put("bytes", value="many"), ("sidecar",)),
        "a colour of two numbers": (put("palette", 1, value=[1, 2]), ("sidecar",)),
        "of a classifier": (put("task", value=CLASSIFICATION), ("segmentation",)),
        "of no picture": (put("preprocessing", value=None), ("segmentation",)),
        "three inputs": (lambda raw: raw["inputs"].append(raw["inputs"][1]), ("3", "inputs")),
        "two outputs": (lambda raw: raw["outputs"].append(raw["outputs"][0]), ("2", "outputs")),
        "a picture that is not square": (put("inputs", 0, "shape", value=[1, 64, 48, 3]), ("64", "48")),
        "a picture of five channels": (put("inputs", 0, "shape", value=[1, 64, 64, 5]), ("5", "channels")),
        "two pictures at once": (put("inputs", 0, "shape", value=[2, 64, 64, 3]), ("image", "NHWC")),
        "no layout": (put("inputs", 0, "layout", value=""), ("image",)),
        "a mean too few": (put("preprocessing", "mean", value=[1.0, 2.0]), ("channels",)),
        "a colour too few": (lambda raw: raw["palette"].pop(), ("5", "4")),
        "classes other than the labels": (put("outputs", 0, "shape", value=[1, 64, 64, 7]), ("logits",)),
        "a previous mask of another size": (put("inputs", 1, "shape", value=[1, 32, 32, 5]), ("previous",)),
        "classes of no face": (put("labels", 3, value="tree"), ("faces",)),
        "a resize rule that nobody knows": (put("preprocessing", "resize", value="bicubic"), ("bicubic",)),
        "colours in another order": (put("preprocessing", "color", value="BGR"), ("BGR",)),
        "no labels": (lambda raw: raw.update(labels=[], palette=[]), ("0",)),
    }  # fmt: skip
    return rows
