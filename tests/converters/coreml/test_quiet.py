"""What stands between coremltools and the process that calls it."""

from __future__ import annotations

import gc
import logging

import pytest
import tqdm

from toolchain.converters.coreml.quiet import LOGGER, quiet_coremltools, spared_collections


@pytest.fixture(autouse=True)
def thawed():
    """No frozen objects before and after."""
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_collections_are_spared_for_a_while() -> None:
    with pytest.raises(ValueError, match="inside"), spared_collections():
        assert gc.get_freeze_count()
        raise ValueError("inside")
    assert not gc.get_freeze_count()


def test_objects_that_others_froze_stay_frozen() -> None:
    gc.freeze()
    with spared_collections():
        pass
    assert gc.get_freeze_count()


def test_noise_is_let_through_again(capfd) -> None:
    level = logging.getLogger(LOGGER).level
    with quiet_coremltools():
        list(tqdm.tqdm(range(2)))
        logging.getLogger(LOGGER).error("noise")
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger(LOGGER).level == level
    list(tqdm.tqdm(range(2)))
    assert "2/2" in capfd.readouterr().err
