"""Which arithmetic a computer trains in."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

from toolchain.training import precision
from toolchain.training.precision import AUTO, BFLOAT16, CPU, CUDA, FLOAT32, MPS, PRECISIONS, computed, remark
from toolchain.training.recipe import read_recipe, recipe_names
from toolchain.training.trainer import make_trainer


@pytest.fixture(params=[True, False], ids=["bfloat16", "no bfloat16"])
def has_it(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """An x86 processor with or without instructions for bfloat16."""
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: request.param)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return bool(request.param)


def test_what_the_user_names_stays(has_it: bool) -> None:
    for name in PRECISIONS[1:]:
        assert computed(name, CPU) == name


def test_auto_is_what_the_processor_has_instructions_for(has_it: bool) -> None:
    assert computed(AUTO, CPU) == (BFLOAT16 if has_it else FLOAT32)


def test_emulated_bfloat16_is_said(has_it: bool) -> None:
    assert ("float32" in remark(AUTO, CPU)) is not has_it
    assert ("emulated" in remark(BFLOAT16, CPU)) is not has_it
    assert remark(FLOAT32, CPU) == ""


@pytest.mark.parametrize("native", [True, False])
def test_a_gpu_is_asked_for_real_bfloat16(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def supported(including_emulation: bool = True) -> bool:
        asked.append(including_emulation)
        return native

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert computed(AUTO, "gpu") == computed(AUTO, CUDA) == (BFLOAT16 if native else FLOAT32)
    assert asked == [False, False]


def test_apples_gpu_computes_in_float32() -> None:
    assert not precision.has_bfloat16(MPS)


def test_other_processors_are_asked_by_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert precision.has_bfloat16(CPU) is bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def test_recipes_leave_it_to_the_computer() -> None:
    assert {read_recipe(name).precision for name in recipe_names()} <= {AUTO, FLOAT32}


def test_the_trainer_computes_so_and_says_so(has_it: bool, tmp_path: Path) -> None:
    lines: list[str] = []
    arguments = {"precision": AUTO, "callbacks": [], "max_epochs": 1, "default_root_dir": tmp_path}
    trainer = make_trainer(arguments, {"accelerator": CPU}, progress=False, report=lines.append)
    assert trainer.precision == (BFLOAT16 if has_it else "32-true")
    assert len(lines) == (0 if has_it else 1)
