"""The Xcode project: its objects, the files that it names, and the property lists."""

from __future__ import annotations

import json
import plistlib
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from toolchain.apps.delivery import APPS

TOKEN = re.compile(r'\s+|//[^\n]*|/\*.*?\*/|"(?:[^"\\]|\\.)*"|[A-Za-z0-9_./]+|[{}()=;,]', re.DOTALL)
# Keys of an object that name other objects.
SINGLE = (
    "fileRef", "productRef", "buildConfigurationList", "productReference", "mainGroup", "productRefGroup",
    "package",
)  # fmt: skip
SEVERAL = (
    "children", "files", "buildPhases", "targets", "buildConfigurations", "packageReferences",
    "packageProductDependencies", "dependencies",
)  # fmt: skip


def parsed(text: str) -> dict[str, Any]:
    """A property list in the old format of NeXT, as Xcode writes projects."""
    tokens, at = [], 0
    while at < len(text):
        found = TOKEN.match(text, at)
        assert found, f"unreadable at {text[at : at + 40]!r}"
        at = found.end()
        if not re.match(r"\s|//|/\*", found[0]):
            tokens.append(found[0])
    tokens.reverse()
    value = _value(tokens)
    assert not tokens
    return value


def _value(tokens: list[str]) -> Any:
    token = tokens.pop()
    if token == "{":
        members: dict[str, Any] = {}
        while tokens[-1] != "}":
            key = _value(tokens)
            assert key not in members, f"{key} twice"
            assert tokens.pop() == "="
            members[key] = _value(tokens)
            assert tokens.pop() == ";"
        tokens.pop()
        return members
    if token == "(":
        items = []
        while tokens[-1] != ")":
            items.append(_value(tokens))
            if tokens[-1] == ",":
                tokens.pop()
        tokens.pop()
        return items
    assert token not in "})=;,", token
    return token[1:-1] if token.startswith('"') else token


@pytest.fixture(scope="module")
def project(app: Path) -> dict[str, Any]:
    text = (app / "FaceParsingDemo.xcodeproj/project.pbxproj").read_text()
    assert text.startswith("// !$*UTF8*$!")
    return parsed(text)


@pytest.fixture(scope="module")
def objects(project: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return project["objects"]


def of_kind(objects: dict[str, dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {key: value for key, value in objects.items() if value["isa"] == kind}


def test_all_references_are_to_objects_and_every_object_is_reached(project, objects) -> None:
    reached, waiting = set(), [project["rootObject"]]
    while waiting:
        key = waiting.pop()
        assert key in objects, key
        assert re.fullmatch(r"[0-9A-F]{24}", key)
        if key not in reached:
            reached.add(key)
            one = objects[key]
            waiting += [one[name] for name in SINGLE if name in one]
            waiting += [item for name in SEVERAL for item in one.get(name, [])]
    assert reached == set(objects)


def _paths(objects: dict[str, Any], group: str, folder: Path) -> dict[str, Path]:
    """Where every file reference below a group lies."""
    found = {}
    for key in objects[group]["children"]:
        one = objects[key]
        place = folder / one["path"] if "path" in one else folder
        if one["isa"] == "PBXGroup":
            found |= _paths(objects, key, place)
        elif one["sourceTree"] == "<group>":
            found[key] = place
    return found


@pytest.fixture(scope="module")
def paths(app, project, objects) -> dict[str, Path]:
    return _paths(objects, objects[project["rootObject"]]["mainGroup"], app)


def test_every_file_of_the_project_exists(paths) -> None:
    assert {path for path in paths.values() if not path.exists()} == set()


def test_every_swift_file_of_the_app_is_compiled_once(app, objects, paths) -> None:
    (phase,) = of_kind(objects, "PBXSourcesBuildPhase").values()
    built = [paths[objects[key]["fileRef"]] for key in phase["files"]]
    assert sorted(built) == sorted((app / "FaceParsingDemo").rglob("*.swift"))


def test_models_and_clips_are_copied_as_folders(app, objects, paths) -> None:
    (phase,) = of_kind(objects, "PBXResourcesBuildPhase").values()
    copied = {paths[objects[key]["fileRef"]]: objects[objects[key]["fileRef"]] for key in phase["files"]}
    settings = plistlib.loads((app / "FaceParsingDemo/Info.plist").read_bytes())
    ios = APPS.get("ios")
    for key, folder in (("ModelsFolder", ios.models), ("ClipsFolder", ios.clip)):
        assert copied[app / folder]["lastKnownFileType"] == "folder"
        assert settings[key] == folder.name


def test_the_package_is_linked(app, objects) -> None:
    (package,) = of_kind(objects, "XCLocalSwiftPackageReference").values()
    (product,) = of_kind(objects, "XCSwiftPackageProductDependency").values()
    manifest = (app / package["relativePath"] / "Package.swift").read_text()
    assert f'.library(name: "{product["productName"]}"' in manifest
    (phase,) = of_kind(objects, "PBXFrameworksBuildPhase").values()
    assert [objects[key].get("productRef") for key in phase["files"]] == list(
        of_kind(objects, "XCSwiftPackageProductDependency")
    )


def test_settings_are_for_ios_16_and_name_files_that_exist(app, objects) -> None:
    (target,) = of_kind(objects, "PBXNativeTarget").values()
    names = objects[target["buildConfigurationList"]]["buildConfigurations"]
    settings = [objects[key]["buildSettings"] for key in names]
    assert [one["IPHONEOS_DEPLOYMENT_TARGET"] for one in settings] == ["16.0", "16.0"]
    for one in settings:
        assert (app / one["INFOPLIST_FILE"]).is_file()
        for key, suffix in (
            ("ASSETCATALOG_COMPILER_APPICON_NAME", "appiconset"),
            ("ASSETCATALOG_COMPILER_GLOBAL_ACCENT_COLOR_NAME", "colorset"),
        ):
            contents = app / f"FaceParsingDemo/Assets.xcassets/{one[key]}.{suffix}/Contents.json"
            assert json.loads(contents.read_text())["info"]["version"] == 1


def test_the_property_list_asks_for_the_camera(app) -> None:
    with (app / "FaceParsingDemo/Info.plist").open("rb") as stream:
        found = plistlib.load(stream)
    assert len(found["NSCameraUsageDescription"]) > 20
    assert found["UISupportedInterfaceOrientations"] == ["UIInterfaceOrientationPortrait"]
    assert found["UIFileSharingEnabled"] is True
    # What Xcode fills in.
    for value in found.values():
        if isinstance(value, str) and "$" in value:
            assert re.fullmatch(r"\$\([A-Z_]+\)", value)


def test_the_scheme_runs_the_optimized_app(app, objects) -> None:
    scheme = app / "FaceParsingDemo.xcodeproj/xcshareddata/xcschemes/FaceParsingDemo.xcscheme"
    root = ElementTree.parse(scheme).getroot()
    launch = root.find("LaunchAction")
    assert launch is not None
    assert launch.get("buildConfiguration") == "Release"
    targets = {one.get("BlueprintIdentifier") for one in root.iter("BuildableReference")}
    assert targets == set(of_kind(objects, "PBXNativeTarget"))


def test_golden_files_are_those_of_the_other_app(app) -> None:
    ours = app / "FaceParsing/Tests/FaceParsingTests/Golden"
    theirs = app.parent / "android_demo/core/src/test/resources/golden"
    names = {path.name for path in ours.iterdir()}
    assert names == {path.name for path in theirs.iterdir()}
    assert len(names) >= 12
    for name in names:
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name


def test_the_readme_leads_to_a_running_app_in_five_steps(app) -> None:
    text = (app / "README.md").read_text()
    steps = re.findall(r"^(\d)\. (.+)$", text, re.MULTILINE)
    assert [int(number) for number, _ in steps] == list(range(1, len(steps) + 1))
    assert len(steps) <= 5
    assert "--app ios" in steps[0][1]
    assert "Not compiled and not run" in text
    for named in re.findall(r"`(FaceParsing[\w./]*)`", text):
        assert (app / named).exists(), named


@pytest.mark.parametrize("text", ["{a = b}", "{a = b; a = c;}", "{a = (b;}", "{a = b;} c", "{a = ?;}"])
def test_damaged_projects_are_noticed(text: str) -> None:
    with pytest.raises((AssertionError, IndexError)):
        parsed(text)
