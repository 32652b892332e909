"""The int8 comparison of trained networks as Markdown."""

from __future__ import annotations

from typing import Any

PEER_COLUMNS = ("peer", "peer-minmax")
FILES = {
    "float": "ours, fp32",
    "ours": "ours, int8",
    "refined": "ours, int8 --refine",
    "peer": "ai-edge-quantizer static_wi8_ai8",
    "peer-minmax": "the same, extremes of all samples",
}


def table(report: dict[str, Any]) -> str:
    """The report of `int8_trained.compare` as two tables."""
    lines = [
        "| network | file | SQNR dB | against the peer, dB | agreement % | accuracy % | bytes |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, entry in report["networks"].items():
        lines += [_accuracy_row(name, key, shown, entry) for key, shown in FILES.items()]
    lines += [
        "",
        "Accuracy: share of pictures for classifiers, of pixels for face parsers. Against the peer: its"
        " defaults, and the extremes of all samples; 95 % intervals over samples are in the JSON file.",
        "",
        "| network | time int8 / fp32, minimum (median) | int8 / peer's int8 | int8 / peer's fp32"
        " | bytes int8 / fp32 |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [_speed_row(name, entry) for name, entry in report["networks"].items()]
    return "\n".join(lines) + "\n"


def _accuracy_row(name: str, key: str, shown: str, entry: dict[str, Any]) -> str:
    score = entry["scores"][key]
    gains = [entry["gain_db"][peer].get(key) for peer in PEER_COLUMNS]
    gain = ", ".join(f"{found['db']:+.1f}" for found in gains if found)
    ratio = "-" if score["sqnr_db"] is None else f"{score['sqnr_db']:.1f}"
    rates = " | ".join(f"{100 * score[figure]:.2f}" for figure in ("agreement", "accuracy"))
    return f"| {name} | {shown} | {ratio} | {gain or '-'} | {rates} | {entry['bytes'][key]:,} |"


def _speed_row(name: str, entry: dict[str, Any]) -> str:
    against = entry["latency"]["against"]
    ratios = " | ".join(
        f"{against[key]['minimum']:.2f} ({against[key]['median']:.2f})"
        for key in ("float", "peer", "peer_float")
    )
    return f"| {name} | {ratios} | {entry['bytes']['ours_to_float']:.3f} |"
