"""Layers as node data for Google's Model Explorer."""

from __future__ import annotations

import json
from pathlib import Path

from toolchain.layers import LayerTable

# Where the colours begin and end, in dB; JSON knows no infinity.
LEAST, MOST = -20.0, 80.0


def write_explorer(table: LayerTable, path: Path) -> None:
    """Node data for Google's Model Explorer: the SQNR in dB that each layer adds, red where it is least.

    The form is that of one graph, `{"results": {output tensor: {"value": number}}, "gradient": [...]}`,
    which Model Explorer puts on the graph that is open. Layers without noise are given MOST.
    Source: node_data_builder.py of github.com/google-ai-edge/model-explorer.
    """
    results = {
        layer.tensor: {"value": round(min(max(layer.own_sqnr_db, LEAST), MOST), 2)} for layer in table.layers
    }
    gradient = [{"stop": 0, "bgColor": "#d73027"}, {"stop": 0.5, "bgColor": "#fee08b"}]
    gradient.append({"stop": 1, "bgColor": "#1a9850"})
    document = {"results": results, "gradient": gradient}
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
