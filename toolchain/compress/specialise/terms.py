"""What may be done with weights that come from several sources."""

from __future__ import annotations


def combined_terms(*terms: str) -> str:
    """What may be done with weights that come from several sources: the terms of all, each said once."""
    return "; ".join(dict.fromkeys(text for text in terms if text))
