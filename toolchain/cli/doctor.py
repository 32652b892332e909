"""`toolchain doctor`: what can run on this computer."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from toolchain.cli.output import say, show_json, show_table
from toolchain.converters.coreml.quiet import import_coremltools
from toolchain.errors import MissingDependencyError, ToolchainError
from toolchain.versions import version_of


@dataclass(frozen=True)
class Check:
    """One thing that may or may not work here.

    Attributes:
        what: capability.
        module: module that it needs, looked for without importing it.
        package: distribution whose version is shown.
        required: whether the tool is broken without it.
        hint: how to get it.
    """

    what: str
    module: str
    package: str
    required: bool
    hint: str


CHECKS = (
    Check("PyTorch networks", "torch", "torch", True, "pip install torch"),
    Check("ONNX graphs", "onnx_ir", "onnx-ir", True, "pip install onnx-ir"),
    Check("torch.onnx.export", "onnxscript", "onnxscript", True, "pip install onnxscript"),
    Check("run .onnx", "onnxruntime", "onnxruntime", True, "pip install onnxruntime"),
    Check("write and run .tflite", "ai_edge_litert", "ai-edge-litert", True, "pip install ai-edge-litert"),
    Check(
        "run .mlpackage and .mlmodel", "coremltools", "coremltools", sys.platform != "win32", "Linux or macOS"
    ),
    Check("pictures and face detection", "cv2", "opencv-python", True, 'pip install "opencv-python<5"'),
    Check("training", "lightning", "lightning", False, 'pip install "mobile-toolchain[train]"'),
    Check("augmentation", "kornia", "kornia", False, 'pip install "mobile-toolchain[train]"'),
    Check("training figures", "torchmetrics", "torchmetrics", False, 'pip install "mobile-toolchain[train]"'),
)


def _cascade() -> tuple[bool, str]:
    from toolchain.face.detector import cascade_path

    try:
        return True, f"bundled cascade {cascade_path().name}"
    except ToolchainError as error:
        return False, error.hint or error.message


def _litert() -> tuple[bool, str]:
    """Import the interpreter: the wheel can be there and its native library not load."""
    from ai_edge_litert import interpreter

    return hasattr(interpreter, "Interpreter"), "interpreter loads"


def _coreml() -> tuple[bool, str]:
    """The native library that writes weights; only packages for Linux and macOS have it."""
    import_coremltools()
    return True, "native storage library loads"


def _coreml_native() -> tuple[bool, str]:
    if sys.platform == "darwin":
        return True, "verify --runtime coreml-native"
    return False, "only on macOS: here the reference interpreter runs Core ML files"


def _accelerator() -> tuple[bool, str]:
    import torch

    if torch.cuda.is_available():
        return True, torch.cuda.get_device_name(0)
    if torch.backends.mps.is_available():
        return True, "Apple GPU"
    return False, f"none: training runs on {torch.get_num_threads()} CPU threads"


def _browser() -> tuple[bool, str]:
    """The page is what is needed; a browser on this computer is one of many that can open it."""
    from toolchain.benchmarks.devices.web_browser import find_browser
    from toolchain.benchmarks.devices.web_site import page_files

    page_files()
    found = find_browser()
    here = f"--browser {found}" if found else "open its URL on any phone or computer"
    return True, f"benchmark web: {here}; Node is not needed"


def _android() -> tuple[bool, str]:
    from toolchain.benchmarks.devices.android_adb import READY, devices, need_adb

    found = devices(need_adb())
    if not found:
        return False, "adb works, no device is connected"
    listed = ", ".join(f"{device.serial} ({device.state})" for device in found)
    return any(device.state == READY for device in found), f"benchmark android: {listed}"


def _camera() -> tuple[bool, str]:
    """Look without opening it, which switches its light on and may ask for permission."""
    if sys.platform != "linux":
        return False, "not looked for on this system: opening it would ask for permission"
    found = sorted(path.name for path in Path("/dev").glob("video*"))
    return bool(found), ", ".join(found) or "no /dev/video*"


PROBES: tuple[tuple[str, bool, Callable[[], tuple[bool, str]]], ...] = (
    ("face detector", True, _cascade),
    ("LiteRT interpreter", True, _litert),
    ("write .mlpackage and .mlmodel", False, _coreml),
    ("Apple's Core ML", False, _coreml_native),
    ("GPU for training", False, _accelerator),
    ("measure in a browser", False, _browser),
    ("measure on Android", False, _android),
    ("camera", False, _camera),
)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object, nothing else.")] = False,
) -> None:
    rows: list[tuple[str, bool, bool, str]] = []
    for check in CHECKS:
        found = importlib.util.find_spec(check.module) is not None
        detail = f"{check.package} {version_of(check.package) or ''}".strip() if found else check.hint
        rows.append((check.what, found, check.required, detail))
    for what, required, probe in PROBES:
        try:
            works, detail = probe()
        except ImportError as error:
            works, detail = False, str(error)
        except ToolchainError as error:
            works, detail = False, error.message
        rows.append((what, works, required, detail))
    python = platform.python_version()
    supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    rows.insert(0, ("Python 3.11 to 3.13", supported, True, python))
    missing = [what for what, works, required, _ in rows if required and not works]
    if as_json:
        show_json(
            {
                "platform": platform.platform(),
                "processors": os.cpu_count(),
                "checks": [{"what": w, "works": ok, "required": r, "detail": d} for w, ok, r, d in rows],
                "ready": not missing,
            }
        )
    else:
        say(f"{platform.platform()}, {os.cpu_count()} processors")
        marks = {(True, True): "yes", (True, False): "yes", (False, True): "MISSING", (False, False): "no"}
        show_table("", ("what", "works", "detail"), [(w, marks[ok, r], d) for w, ok, r, d in rows])
    if missing:
        raise MissingDependencyError(
            f"needed and not working: {', '.join(missing)}", "install what the table says"
        )
