"""Swift sources: parsed by a grammar, held against the golden files and a sidecar; no compiler is at hand."""

from __future__ import annotations

import json
import plistlib
import re
from pathlib import Path

import pytest

from toolchain.apps.delivery import APPS
from toolchain.benchmarks.harness.results import Entry, MeasuredFile, Results
from toolchain.face.effects import BROW_COLOR, LIPSTICK_COLOR
from toolchain.spec import Artifact, Parity

APPLE_ONLY = {
    "Accelerate", "AVFoundation", "Combine", "CoreGraphics", "CoreML", "CoreVideo", "CryptoKit", "ImageIO",
    "Metal", "SwiftUI", "UIKit", "Vision",
}  # fmt: skip
# Class names by which the engine itself knows parts of a face (toolchain.face.parse, .tracking and .effects).
KNOWN_PARTS = {"nose", "upper lip", "inner mouth", "lower lip", "skin"}
# Values that say nothing about a network.
PLAIN_NUMBERS = {0, 255}


def _errors(file) -> list[str]:
    return [
        f"{file.path.name}:{node.start_point.row + 1}: {file.text(node)[:60]!r}"
        for node in file.nodes("ERROR", "MISSING")
    ] + ([f"{file.path.name} has a node that is missing"] if _has_missing(file) else [])


def _has_missing(file) -> bool:
    waiting = [file.root]
    while waiting:
        node = waiting.pop()
        if node.is_missing:
            return True
        waiting.extend(child for child in node.children if child.has_error)
    return False


def test_swift_files_have_no_syntax_errors(swift_files) -> None:
    assert len(swift_files) > 30
    assert [error for file in swift_files for error in _errors(file)] == []


def test_the_core_imports_foundation_only_outside_of_conditions(core) -> None:
    for file in core:
        depth = 0
        for line in file.source.decode().splitlines():
            depth += line.strip().startswith("#if canImport(")
            depth -= line.strip() == "#endif"
            found = re.match(r"\s*(?:@\w+ )?import (\w+)", line)
            if found and depth == 0:
                assert found[1] == "Foundation", f"{file.path.name} imports {found[1]}"


def test_every_file_of_the_app_imports_what_it_uses(swift_files) -> None:
    needs = {
        r"\bMLModel\b|\bMLMultiArray\b": "CoreML",
        r"\bVN[A-Z]\w+": "Vision",
        r"\bAV[A-Z]\w+": "AVFoundation",
        r"\bvImage\w+": "Accelerate",
        r"\bUIDevice\b|\bUIColor\b": "UIKit",
        r"\bSHA256\b": "CryptoKit",
        r"\bCGImageSource": "ImageIO",
        r": View\b|: App\b": "SwiftUI",
        r"\bObservableObject\b": "Combine|SwiftUI",
        r"\bCVPixelBuffer\w*": "CoreVideo|AVFoundation|CoreML",
        r"\bCGImage\b": "CoreGraphics|SwiftUI|UIKit",
        r"\b(Picture|Sidecar|Stages|Figures|Refusal)\b": "FaceParsing",
    }
    for file in swift_files:
        if "FaceParsingDemo" not in file.path.parts:
            continue
        source = file.source.decode()
        have = set(re.findall(r"^import (\w+)", source, re.MULTILINE))
        for use, modules in needs.items():
            if re.search(use, source):
                assert have & set(modules.split("|")), f"{file.path.name} uses {use} without {modules}"
        assert have <= APPLE_ONLY | {"FaceParsing", "Foundation"}


def _strings(file) -> list[str]:
    return [file.text(node) for node in file.nodes("line_str_text")]


def test_no_size_mean_colour_class_or_path_is_written_into_the_sources(swift_files, spec) -> None:
    sizes = {size for tensor in (*spec.inputs, *spec.outputs) for size in tensor.shape if size > 16}
    moments = {*spec.preprocess.mean, *spec.preprocess.std}
    region = {spec.preprocess.margin, spec.preprocess.shift}
    effects = (LIPSTICK_COLOR, BROW_COLOR)
    colors = {tuple(color) for color in (*spec.palette, *effects) if not set(color) <= PLAIN_NUMBERS}
    for file in swift_files:
        if "Tests" in file.path.parts or file.path.name == "Package.swift":
            continue
        literals = [
            file.text(node).replace("_", "") for node in file.nodes("integer_literal", "real_literal")
        ]
        numbers = [float(int(text, 0) if text.startswith("0x") else float(text)) for text in literals]
        assert not set(numbers) & (sizes | moments | region), file.path.name
        assert not colors & {tuple(numbers[at : at + 3]) for at in range(len(numbers))}, file.path.name
        assert not re.search(r"Color\(red: *[\d.]", file.source.decode()), file.path.name
        assert not (set(_strings(file)) & set(spec.labels)) - KNOWN_PARTS, file.path.name
        for text in _strings(file):
            assert not re.match(r"~?/\w|file:|[A-Z]:\\", text), f"{file.path.name}: {text!r} is a path"
        if "FaceParsingDemo" in file.path.parts:
            assert not re.search(r"\d{3,}x\d{3,}", file.source.decode()), f"{file.path.name} has a size"
            folders = {APPS.get("ios").models.name, APPS.get("ios").clip.name}
            assert not folders & set(_strings(file)), f"{file.path.name} has a folder"


def test_every_setting_that_the_app_reads_is_in_its_property_list(app, swift_files) -> None:
    settings = plistlib.loads((app / "FaceParsingDemo/Info.plist").read_bytes())
    sources = "".join(file.source.decode() for file in swift_files)
    keys = set(re.findall(r'AppSettings\.text\("(\w+)"\)', sources))
    assert keys == {"CameraPreset", "ModelsFolder", "ClipsFolder"}
    assert all(settings[key] for key in keys)


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("CameraSource", r"\.alwaysDiscardsLateVideoFrames = true\b"),
        ("BenchmarkRun", r"thermalBefore: String = DeviceState\.thermal\b"),
        ("BenchmarkRun", r"thermalAfter: String = DeviceState\.thermal\b"),
        (
            "BenchmarkRun",
            r'"thermal": \.object\(\["before": \.string\(before\), "after": \.string\(after\)\]\)',
        ),
        ("BenchmarkRun", r"if number % source\.count == 0 \{\s+pipeline\.reset\(\)"),
    ],
)
def test_what_a_fair_measurement_rests_on_stays(swift_files, name: str, pattern: str) -> None:
    (source,) = (file.source.decode() for file in swift_files if file.path.name == f"{name}.swift")
    assert len(re.findall(pattern, source)) == 1


def test_every_message_that_is_used_exists_and_every_one_that_exists_is_used(swift_files) -> None:
    demo = {
        file.path.name: file.source.decode() for file in swift_files if "FaceParsingDemo" in file.path.parts
    }
    exist = set(re.findall(r"static (?:let|func) (\w+)", demo.pop("Messages.swift")))
    assert len(exist) >= 12
    assert set(re.findall(r"\bMessages\.(\w+)", "".join(demo.values()))) == exist


def test_the_colour_of_lipstick_is_the_catalogs_and_by_default_the_engines(app, swift_files) -> None:
    (source,) = (file for file in swift_files if file.path.name == "EffectColors.swift")
    (name,) = re.findall(r'named\("(\w+)"\)', source.source.decode())
    catalog = app / f"FaceParsingDemo/Assets.xcassets/{name}.colorset/Contents.json"
    (entry,) = json.loads(catalog.read_text())["colors"]
    assert entry["color"]["color-space"] == "srgb"
    parts = entry["color"]["components"]
    assert tuple(int(parts[key], 0) for key in ("red", "green", "blue")) == LIPSTICK_COLOR


def _keys(core, name: str) -> set[str]:
    """What the CodingKeys of a Swift type are in JSON."""
    for file in core:
        for node in file.nodes("class_declaration"):
            source = file.text(node)
            found = re.match(r"(?:public )?struct (\w+)", source)
            if found and found[1] == name:
                body = re.search(r"enum CodingKeys[^{]*\{(.*?)\}", source, re.DOTALL)
                assert body, f"{name} has no CodingKeys"
                return {text or key for key, text in re.findall(r'case (\w+)(?: = "(\w+)")?', body[1])}
    raise AssertionError(f"there is no struct {name}")


def test_the_decoders_keys_are_those_of_an_exported_sidecar(core, spec) -> None:
    artifact = Artifact(
        Path("net-fp16.mlpackage"), "coreml", "fp16", spec.name, spec.task, spec.inputs, spec.outputs,
        spec.preprocess, spec.labels, spec.palette, Parity(50.0, 0.1, 1.0, 8),
    )  # fmt: skip
    written = json.loads(json.dumps(artifact.sidecar()))
    assert _keys(core, "Sidecar") == set(written)
    assert _keys(core, "TensorSpec") == set(written["inputs"][0]) == set(written["outputs"][0])
    assert _keys(core, "Preprocessing") == set(written["preprocessing"])
    assert _keys(core, "Parity") == set(written["parity"])


def test_the_reports_keys_are_those_of_a_results_file(core) -> None:
    assert _keys(core, "Report") == {*Results.__dataclass_fields__, "format", "version"}
    assert _keys(core, "ReportEntry") == set(Entry.__dataclass_fields__)
    assert _keys(core, "MeasuredFile") == set(MeasuredFile.__dataclass_fields__)


def test_every_golden_file_is_compared_and_every_function_in_it(app, swift_files) -> None:
    tests = [file.source.decode() for file in swift_files if file.path.name.endswith("Tests.swift")]
    for path in sorted((app / "FaceParsing/Tests/FaceParsingTests/Golden").glob("*.json")):
        source = next(text for text in tests if f'GoldenCase.check("{path.stem}")' in text)
        functions = {one["function"] for one in json.loads(path.read_text())}
        if len(functions) > 1:
            assert functions <= set(re.findall(r'case "(\w+)":', source)), path.name
