"""What is said about a measured file: the hash of sidecars, size, and what the sidecar knows."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from toolchain.benchmarks.harness.files import digest_and_size, measured_file
from toolchain.benchmarks.harness.results import MeasuredFile
from toolchain.errors import UsageError
from toolchain.export import export
from toolchain.publish import sha256_of, size_of


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "net.mlpackage"
    (folder / "Data").mkdir(parents=True)
    (folder / "Manifest.json").write_text("{}", encoding="utf-8")
    (folder / "Data" / "weights.bin").write_bytes(bytes(5000))
    return folder


def test_a_package_has_the_hash_and_size_of_its_sidecar(package):
    assert digest_and_size(package) == (sha256_of(package), size_of(package))
    assert measured_file(package).format == "mlpackage"


def test_a_file_without_a_sidecar_is_described_by_itself(tmp_path):
    path = tmp_path / "Net.TFLITE.rejected"
    path.write_bytes(b"abc")
    digest = hashlib.sha256(b"abc").hexdigest()
    assert measured_file(path, "Net") == MeasuredFile("Net", digest, 3, "tflite")


def test_the_sidecar_says_precision_model_and_parity(cnn, tmp_path):
    [artifact] = export(cnn, formats=["tflite"], precisions=["fp32"], output=tmp_path)
    found = measured_file(artifact.path)
    assert (found.format, found.precision, found.model) == ("tflite", "fp32", "cnn")
    assert found.parity["sqnr_db"] > 80
    assert found.sha256 == artifact.sha256


def test_the_sidecar_of_another_file_is_refused(cnn, tmp_path):
    [artifact] = export(cnn, formats=["tflite"], precisions=["fp32"], output=tmp_path)
    artifact.path.write_bytes(artifact.path.read_bytes() + b" ")
    with pytest.raises(UsageError, match="describes another file"):
        measured_file(artifact.path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"gone\.onnx"):
        measured_file(tmp_path / "gone.onnx")


def test_records_are_plain_values(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"")
    assert replace(measured_file(path), bytes=1).bytes == 1
