"""The app's own sources compile against stubs of what they call; resources link; code holds no constants."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from toolchain.apps.delivery import APPS
from toolchain.face.effects import BROW_COLOR, LIPSTICK_COLOR
from toolchain.models.zoo import zoo
from toolchain.spec import ModelSpec, TensorSpec

ANDROID_NAME = "{http://schemas.android.com/apk/res/android}name"


@pytest.fixture(scope="module")
def main(android) -> Path:
    return android / "app/src/main"


@pytest.fixture(scope="module")
def sources(main) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in main.rglob("*.kt")}


@pytest.fixture(scope="module")
def core_sources(android) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in (android / "core/src/main").rglob("*.kt")}


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    """The contract of the network that the README exports."""
    return zoo().get("mobile-hourglass").spec


def test_the_app_compiles_against_what_it_calls(main, core, stubs, kotlinc):
    classes = kotlinc("app", sorted((main / "kotlin").rglob("*.kt")), core, stubs)
    assert (classes / "toolchain/demo/MainActivity.class").is_file()


def test_a_call_that_no_library_has_fails(main, core, stubs, kotlinc, tmp_path):
    source = tmp_path / "Wrong.kt"
    text = (main / "kotlin/toolchain/demo/FaceFinder.kt").read_text(encoding="utf-8")
    source.write_text(text.replace("setLandmarkMode", "setLandmarks"), encoding="utf-8")
    with pytest.raises(pytest.fail.Exception, match="setLandmarks"):
        kotlinc("wrong", [source], core, stubs)


def test_resources_and_manifest_link(resources):
    assert (resources / "app.apk").stat().st_size > 0


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("layout/main.xml", "@string/benchmark", "@string/nothing", "nothing"),
        ("layout/main.xml", "android:orientation", "android:orientatoin", "orientatoin"),
        ("values/themes.xml", "Theme.Material.NoActionBar", "Theme.Nowhere", "Theme.Nowhere"),
        ("mipmap-anydpi-v26/ic_launcher.xml", "@drawable/icon_foreground", "@drawable/no", "drawable/no"),
    ],
)
def test_a_missing_string_or_a_bad_attribute_fails(main, link, tmp_path, name, old, new, message):
    shutil.copytree(main / "res", tmp_path / "res")
    shutil.copy(main / "AndroidManifest.xml", tmp_path)
    changed = tmp_path / "res" / name
    text = changed.read_text(encoding="utf-8")
    assert old in text
    changed.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(pytest.fail.Exception, match=re.escape(message)):
        link(tmp_path)


def test_every_resource_is_used_and_every_use_is_there(main, sources):
    code = "\n".join(sources.values())
    files = {path: path.read_text(encoding="utf-8") for path in (main / "res").rglob("*.xml")}
    markup = "\n".join([*files.values(), (main / "AndroidManifest.xml").read_text(encoding="utf-8")])
    for kind in ("string", "integer", "color"):
        known = {
            element.get("name")
            for text in files.values()
            for element in ElementTree.fromstring(text.encode()).iter(kind)
        }
        used = set(re.findall(rf"R\.{kind}\.(\w+)", code)) | set(re.findall(rf"@{kind}/(\w+)", markup))
        assert used == known


def test_the_activity_of_the_manifest_exists(main, sources):
    manifest = ElementTree.parse(main / "AndroidManifest.xml")
    (activity,) = manifest.iter("activity")
    assert f"class {activity.get(ANDROID_NAME).lstrip('.')} " in "\n".join(sources.values())
    permissions = [element.get(ANDROID_NAME) for element in manifest.iter("uses-permission")]
    assert permissions == ["android.permission.CAMERA"]


def code_of(text: str) -> str:
    """Kotlin without comments."""
    return re.sub(r"//[^\n]*", "", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL))


# 16 and 8 are shifts of ARGB, the others of Kotlin's own: a channel of 3, a fraction, a unit.
NUMBERS = {"0", "1", "2", "3", "8", "16", "24", "0xff", "0.0", "0.5", "0.9", "1.0", "2.0", "100.0", "1e6",
           "1024", "500_000_000L", "0L"}  # fmt: skip


def test_no_size_mean_or_colour_is_in_the_sources(sources):
    """Every number that is not one of a few that mean no size, mean or colour would need a reason here."""
    found = {
        (name, number)
        for name, text in sources.items()
        for number in re.findall(r"(?<![\w.$])\d(?:[\w.]*\w)?", re.sub(r'"[^"]*"', '""', code_of(text)))
        if number not in NUMBERS
    }
    assert found == set()
    assert not re.search(r"#[0-9a-fA-F]{6}|Color\.", "\n".join(map(code_of, sources.values())))


def test_neither_a_network_nor_a_colour_is_in_the_core(core_sources, spec):
    """The core's own numbers are those of the engine; none is of a network, and none is a colour."""
    sizes = {size for tensor in (*spec.inputs, *spec.outputs) for size in tensor.shape if size > 16}
    steps = spec.preprocess
    contract = {*steps.mean, *steps.std, steps.margin, abs(steps.shift)}
    colors = {color for color in (*spec.palette, LIPSTICK_COLOR, BROW_COLOR) if not set(color) <= {0, 255}}
    for name, text in core_sources.items():
        # As many as the network has pixels on a side.
        code = code_of(text).replace("const val BYTE_VALUES = 256", "")
        code = re.sub(r'"[^"]*"', '""', code)
        numbers = [float(found) for found in re.findall(r"(?<![\w.$])(\d+(?:\.\d+)?)(?![\w.]*\w)", code)]
        assert not set(numbers) & (sizes | contract), name
        assert not colors & {tuple(numbers[at : at + 3]) for at in range(len(numbers))}, name
        assert not re.search(r"0x[0-9a-fA-F]{6}|#[0-9a-fA-F]{6}|intArrayOf\(\d+, *\d+, *\d+\)", code), name


# What the engine looks for by name: see MaskReader.kt and Lipstick.kt.
ENGINE_WORDS = {"skin", "eye", "brow", "nose", "lip", "mouth", "upper lip", "lower lip", "inner mouth"}


def test_the_core_names_no_class_but_those_of_the_engine(core_sources):
    labels = {label for name in zoo() for label in zoo().get(name).spec.labels}
    words = labels | {word for label in labels for word in label.split()}
    code = "\n".join(map(code_of, core_sources.values()))
    assert set(re.findall(r'"([^"\n]*)"', code)) & words == ENGINE_WORDS


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("CameraFrames.kt", ".setBackpressureStrategy(ImageAnalysis.STRATEGY_KEEP_ONLY_LATEST)"),
        ("CameraFrames.kt", "analysis.setAnalyzer(executor)"),
        ("MainActivity.kt", "inference: ExecutorService = Executors.newSingleThreadExecutor()"),
        ("MainActivity.kt", "camera = CameraFrames(this, inference, ::onFrame)"),
        ("Benchmark.kt", "val thermal = device.thermal()"),
        ("Benchmark.kt", '"thermal" to linkedMapOf("before" to thermal, "after" to device.thermal())'),
        ("Benchmark.kt", "command, device.name, details, machine"),
    ],
)
def test_the_newest_frame_one_thread_and_the_thermal_state_are_in_the_code(sources, name, said):
    assert said in code_of(sources[name])


def test_the_colour_of_lipstick_is_a_resource_and_by_default_the_engines(main):
    colors = {
        element.get("name"): element.text
        for element in ElementTree.parse(main / "res/values/colors.xml").getroot()
    }
    assert colors["lipstick"] == "#{:02x}{:02x}{:02x}".format(*LIPSTICK_COLOR)


def test_no_class_or_path_is_in_the_sources(sources, main):
    """Texts in code are keys of reports, names of states and element types; no class, no path."""
    artifact_words = {"background", "skin", "nose", "lip", "mouth", "eye", "brow", "hair", "hourglass"}
    for name, text in sources.items():
        for literal in re.findall(r'"([^"\n]*)"', code_of(text)):
            bare = re.sub(r"\$\{?[\w.()\[\]]+\}?", "", literal)
            assert not re.search(r"\w/|/\w|\.tflite|\.json", bare), (name, literal)
            assert not artifact_words & set(re.findall(r"[a-z]+", bare.lower())), (name, literal)


def test_what_export_delivers_is_what_the_app_looks_for(main):
    app = APPS.get("android")
    config = {
        element.get("name"): element.text
        for element in ElementTree.parse(main / "res/values/config.xml").getroot()
    }
    assert app.models == Path("app/src/main/assets") / config["models_folder"]
    assert (main.parent.parent.parent / app.part).is_dir()
    assert app.format == config["model_format"]
    assert TensorSpec("a", (1,)).dtype in (main / "kotlin/toolchain/demo/LiteRtNetwork.kt").read_text()


def test_the_build_files_name_what_the_catalog_has(android):
    catalog = (android / "gradle/libs.versions.toml").read_text()
    names = {name.replace("-", ".") for name in re.findall(r"^([\w-]+) = \{ module", catalog, re.MULTILINE)}
    used = set(
        re.findall(r"implementation\(libs\.([\w.]+)\)", (android / "app/build.gradle.kts").read_text())
    )
    assert used == names
    versions = set(re.findall(r'^([\w-]+) = "', catalog, re.MULTILINE))
    assert set(re.findall(r'version\.ref = "([\w-]+)"', catalog)) == versions
    litert = re.search(r'^litert = "([\d.]+)"', catalog, re.MULTILINE)
    assert litert
    assert f"LiteRT {litert[1]} " in (android / "app/src/main/res/values/config.xml").read_text()


def test_the_compiler_here_is_of_the_version_that_gradle_takes(android):
    package = json.loads((Path(__file__).parent / "package.json").read_text(encoding="utf-8"))
    catalog = (android / "gradle/libs.versions.toml").read_text(encoding="utf-8")
    assert f'kotlin = "{package["dependencies"]["kotlin-compiler"]}"' in catalog


def test_readme_has_at_most_five_steps(android):
    text = (android / "README.md").read_text(encoding="utf-8")
    steps = re.findall(r"^(\d+)\. ", text.partition("## From clone")[2].partition("\n## ")[0], re.MULTILINE)
    assert 1 <= len(steps) <= 5
    assert steps == [str(number + 1) for number in range(len(steps))]
    for said in re.findall(r"`(app/[\w/.-]+|core/)`", text):
        folder = android / said
        assert folder.exists() or "assets" in said, json.dumps(said)
