"""What a benchmark hands out: text on standard output, a complete file, known errors as lines."""

from __future__ import annotations

import json

import pytest

from toolchain.benchmarks.report import as_text, run_benchmark, save_json
from toolchain.errors import UnsupportedError, UsageError


def test_saved_json_is_read_back(tmp_path):
    path = tmp_path / "new" / "result.json"
    save_json({"seconds": [0.25, 1.5], "name": "größe"}, path)
    assert json.loads(path.read_text(encoding="utf-8")) == {"seconds": [0.25, 1.5], "name": "größe"}
    assert [entry.name for entry in path.parent.iterdir()] == ["result.json"]


def test_unwritable_path_is_a_usage_error_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="cannot be written"):
        save_json({}, tmp_path / "file" / "result.json")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_cannot_express_is_refused(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_text({"value": value})


def test_result_goes_to_standard_output(capsys):
    assert run_benchmark(lambda: "42 ms") == 0
    assert capsys.readouterr() == ("42 ms\n", "")


@pytest.mark.parametrize(
    ("error", "status", "shown"),
    [
        (UsageError("no file", "name one"), 2, "error: no file\nhint: name one\n"),
        (UnsupportedError("bad file"), 3, "error: bad file\n"),
    ],
)
def test_known_errors_become_a_line_and_an_exit_code(error, status, shown, capsys):
    def fail() -> str:
        raise error

    assert run_benchmark(fail) == status
    assert capsys.readouterr() == ("", shown)
