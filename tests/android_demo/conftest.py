"""The tools that check the Android app here: Kotlin's compiler, Java, aapt2, an aarch64 Python.

What is compiled or fetched lies in a cache under the hash of what it is made of, so that a second run, or a
second worker, does not make the same again.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CHECKOUT = next(folder for folder in HERE.parents if (folder / "android_demo" / "core").is_dir())
ANDROID = CHECKOUT / "android_demo"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "toolchain" / "android_checks"
MINUTES = 60
# Of the npm package, what the compiler needs to run.
JARS = ("kotlin-compiler", "kotlin-stdlib", "kotlin-script-runtime", "kotlin-reflect", "annotations-13.0")
# What Debian's packages are called that have a tool.
PACKAGES = {
    "java": "openjdk-17-jdk-headless",
    "javac": "openjdk-17-jdk-headless",
    "npm": "npm",
    "aapt2": "aapt",
    "qemu-aarch64-static": "qemu-user-static",
    "apt-get": "apt, on a Debian system",
}
# Of Debian, for aarch64: Python and the libraries that it and the interpreter load.
AARCH64_PYTHON = "python3.11"
AARCH64_PACKAGES = (
    "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "libc6", "libgcc-s1", "libstdc++6",
    "zlib1g", "libexpat1", "libffi8", "libssl3", "libbz2-1.0", "liblzma5",
)  # fmt: skip
# The interpreter of the app's own version is added to it.
AARCH64_NUMPY = "numpy==1.26.4"


@pytest.fixture(scope="session")
def android() -> Path:
    """The Gradle project."""
    return ANDROID


@pytest.fixture(scope="session")
def run() -> Callable[..., str]:
    """Runs a command and returns what it prints; fails with that when the command does."""

    def run_command(*command: str | Path, minutes: float = 10) -> str:
        tool = shutil.which(str(command[0]))
        if tool is None:
            name = str(command[0])
            pytest.fail(f"'{name}' is not installed: apt-get install {PACKAGES.get(name, name)}")
        words = [tool, *map(str, command[1:])]
        done = subprocess.run(words, capture_output=True, text=True, timeout=minutes * MINUTES, check=False)
        if done.returncode:
            pytest.fail(
                f"{command[0]} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}", pytrace=False
            )
        return done.stdout + done.stderr

    return run_command


def made(name: str, sources: Iterable[Path], make: Callable[[Path], None], *more: str) -> Path:
    """A cached folder that `make` fills from sources; whole or not at all."""
    digest = hashlib.sha256("\0".join(more).encode())
    for path in sorted(sources):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    folder = CACHE / f"{name}-{digest.hexdigest()[:16]}"
    if not folder.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=CACHE))
        try:
            make(partial)
            partial.rename(folder)
        except OSError:
            # Another worker was faster.
            if not folder.is_dir():
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return folder


@pytest.fixture(scope="session")
def compiler(run: Callable[..., str]) -> Path:
    """The folder of the npm package `kotlin-compiler`, of the version in package.json."""

    def install(folder: Path) -> None:
        shutil.copy(HERE / "package.json", folder)
        run("npm", "install", "--prefix", folder, "--no-audit", "--no-fund", "--ignore-scripts")

    return made("npm", [HERE / "package.json"], install) / "node_modules" / "kotlin-compiler"


@pytest.fixture(scope="session")
def kotlinc(run: Callable[..., str], compiler: Path) -> Callable[..., Path]:
    """Compiles Kotlin sources with every warning as an error; returns the folder of the classes."""
    jars = os.pathsep.join(str(compiler / "lib" / f"{jar}.jar") for jar in JARS)

    def compile_sources(
        name: str, sources: Sequence[Path], *classes: Path, friend: Path | None = None
    ) -> Path:
        options = ["-kotlin-home", str(compiler), "-jvm-target", "17", "-no-reflect", "-Werror"]
        if classes:
            options += ["-cp", os.pathsep.join(map(str, classes))]
        if friend:
            # As Gradle does for tests: what is internal in a module is known to its test.
            options.append(f"-Xfriend-paths={friend}")

        def make(folder: Path) -> None:
            main = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"
            # A compiler that runs once does not pay for the optimizing one of the JVM.
            run(
                "java",
                "-Xmx1500m",
                "-XX:TieredStopAtLevel=1",
                "-cp",
                jars,
                main,
                *options,
                "-d",
                folder,
                *sources,
            )

        return made(name, sources, make, compiler.parent.parent.name, *map(str, classes))

    return compile_sources


@pytest.fixture(scope="session")
def core(android: Path, kotlinc: Callable[..., Path]) -> Path:
    """Classes of the core, which know nothing but Kotlin's standard library."""
    return kotlinc("core", sorted((android / "core/src/main/kotlin").rglob("*.kt")))


@pytest.fixture(scope="session")
def link(run: Callable[..., str]) -> Callable[[Path], Path]:
    """Links resources and manifest of a folder against Android's own: app.apk, and R.java under java/."""

    def linked(main: Path) -> Path:
        manifest = main / "AndroidManifest.xml"
        sources = [path for path in [*(main / "res").rglob("*"), manifest] if path.is_file()]

        def make(folder: Path) -> None:
            own = folder / "AndroidManifest.xml"
            own.write_text(for_aapt2(manifest.read_text(encoding="utf-8")), encoding="utf-8")
            run("aapt2", "compile", "--dir", main / "res", "-o", folder / "res.zip")
            run(
                "aapt2", "link", "-o", folder / "app.apk", "-I", framework(), "--manifest", own,
                "--java", folder / "java", "--min-sdk-version", "26", folder / "res.zip",
            )  # fmt: skip

        return made("resources", sources, make)

    return linked


@pytest.fixture(scope="session")
def resources(android: Path, link: Callable[[Path], Path]) -> Path:
    """The app's linked resources."""
    return link(android / "app/src/main")


@pytest.fixture(scope="session")
def stubs(run: Callable[..., str], resources: Path) -> Path:
    """Classes of what the app calls in the framework and in libraries, and the app's own R."""
    sources = [*(HERE / "stubs").rglob("*.java"), *(resources / "java").rglob("*.java")]
    return made("stubs", sources, lambda folder: run("javac", "-d", folder, *sources) and None)


@pytest.fixture(scope="session")
def aarch64(run: Callable[..., str], android: Path) -> tuple[str | Path, ...]:
    """The beginning of a command that runs an aarch64 Python with numpy and the app's version of LiteRT."""
    catalog = (android / "gradle/libs.versions.toml").read_text(encoding="utf-8")
    version = re.search(r'^litert = "([\d.]+)"', catalog, re.MULTILINE)
    assert version
    litert = f"ai-edge-litert=={version[1]}"

    def fetch(folder: Path) -> None:
        state = folder / "apt"
        for name in ("lists", "cache", "files"):
            (state / name).mkdir(parents=True)
        (state / "status").touch()
        settings = state / "apt.conf"
        settings.write_text(apt_settings(state), encoding="utf-8")
        run("apt-get", "-c", settings, "-qq", "update")
        run("env", "-C", state / "files", "apt-get", "-c", settings, "-qq", "download", *AARCH64_PACKAGES)
        for package in sorted((state / "files").glob("*.deb")):
            run("dpkg-deb", "-x", package, folder / "root")
        shutil.rmtree(state)
        # A wheel of another architecture is unpacked, which is all that it needs.
        run(
            sys.executable, "-m", "pip", "install", "-q", "--target", folder / "site", "--only-binary=:all:",
            "--platform", "manylinux_2_17_aarch64", "--platform", "manylinux2014_aarch64",
            "--implementation", "cp", "--python-version", AARCH64_PYTHON.removeprefix("python"),
            AARCH64_NUMPY, litert,
        )  # fmt: skip

    place = made("aarch64", [], fetch, litert, AARCH64_NUMPY, *AARCH64_PACKAGES)
    python = place / "root/usr/bin" / AARCH64_PYTHON
    return ("qemu-aarch64-static", "-L", place / "root", "-E", f"PYTHONPATH={place / 'site'}", python)


def apt_settings(state: Path) -> str:
    """Settings of apt for aarch64, with its state in a folder: this computer's own stays as it is."""
    return "\n".join(
        (
            'APT::Architecture "arm64";',
            'APT::Architectures { "arm64"; };',
            'APT::Sandbox::User "root";',
            f'Dir::State "{state}";',
            f'Dir::State::lists "{state / "lists"}";',
            f'Dir::State::status "{state / "status"}";',
            f'Dir::Cache "{state / "cache"}";',
            "",
        )
    )


def for_aapt2(manifest: str) -> str:
    """A manifest as Gradle hands it to aapt2: with the package, without what Debian's is too old for."""
    start, element, rest = manifest.partition("<uses-native-library")
    if element:
        manifest = start + rest.partition("/>")[2]
    return manifest.replace("<manifest ", '<manifest package="toolchain.demo" ', 1)


def framework() -> Path:
    """Android's own resources."""
    place = Path("/usr/share/android-framework-res/framework-res.apk")
    if not place.is_file():
        pytest.fail("Android's resources are not installed: apt-get install android-framework-res")
    return place
