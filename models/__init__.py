"""Networks: one family a file, each entered into the zoo with its contract."""

from toolchain.models.zoo import ModelEntry, register_model, zoo

__all__ = ["ModelEntry", "register_model", "zoo"]
