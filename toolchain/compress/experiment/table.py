"""The report of an experiment as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toolchain.compress.experiment.recipe import BASELINE, SPARSE

NONE = "-"
KILO, MEGA = 1e3, 1e6
FILES = ("fp32", "int8", "packed")
VERDICTS = {True: "reached", False: "missed", None: "not measured"}
# A network with more layers shows the number of filters alone; the report has all of them.
SHOWN_LAYERS = 10


def table(report: Mapping[str, Any]) -> str:
    """The report of `make_report` as Markdown: schedule, caveat, the table, targets, what was published."""
    settings = report["settings"]
    heads = (
        "network",
        settings["error"],
        "validation, %",
        "filters left",
        "gone, %",
        "parameters",
        "multiply-adds, M",
        "kB fp32 / int8 / packed",
        "error int8 / packed, %",
        "ms fp32 / int8",
        "times faster fp32 / int8",
        "remark",
    )
    lines = [
        f"# {report['experiment']}: {report['description']}",
        "",
        _sentence(report),
        "",
        *_rows(heads, [_cells(entry) for entry in report["rows"]]),
        "",
        *_methods(report["rows"]),
        *_targets(report["targets"]),
        *_published(report["published"]),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def _rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows)]


def _sentence(report: Mapping[str, Any]) -> str:
    settings, machine = report["settings"], report["environment"]
    seeds = settings["seeds"]
    parts = [
        f"`{settings['model']}` on {settings['data']}. Schedule: {schedule_text(settings['schedule'])}",
    ]
    if settings["finetune"]:
        parts.append(
            f"; networks with removed filters are trained on without any term ({_finetune(settings)}),"
            " networks without removal have these epochs from the beginning"
        )
    parts.append(
        f". Seeds {', '.join(map(str, seeds))}: mean ± standard deviation of the sample. Epochs and trade-off"
        " points are chosen on the validation split; the test split only measures what was chosen."
    )
    if settings["runtime"] is not None:
        parts.append(
            f" Files and latency are those of seed {seeds[0]}: {settings['runtime']}, {settings['threads']}"
            " thread, median processor time of one run, all files in the same rounds, on"
            f" {machine['cpu']}; packed with shared weights of {settings['bits']} bits and Huffman codes."
        )
    caveats = [text for text in (settings["caveat"], settings["terms"]) if text]
    return "".join(parts) + "".join(f"\n\n**{text}**" for text in caveats)


def schedule_text(schedule: Mapping[str, Any]) -> str:
    """Settings in words: "8 epochs, batch 128, sgd at 0.05"."""
    optimizer = schedule.get("optimizer", {})
    parts = [f"{schedule['epochs']} epochs"]
    if "batch_size" in schedule:
        parts.append(f"batch {schedule['batch_size']}")
    if "learning_rate" in optimizer:
        parts.append(f"{optimizer.get('name', 'optimizer')} at {optimizer['learning_rate']:g}")
    parts += [f"{key} {schedule[key]}" for key in ("size", "precision") if key in schedule]
    return ", ".join(parts)


def _finetune(settings: Mapping[str, Any]) -> str:
    finetune = settings["finetune"]
    rate = finetune.get("optimizer", {}).get("learning_rate")
    return f"{finetune['epochs']} epochs" + (f", learning rate {rate:g}" if rate is not None else "")


def _cells(entry: Mapping[str, Any]) -> list[str]:
    name = entry["label"]
    remark = "; ".join(entry["remarks"]) or NONE
    if "error" not in entry:
        return [name, *[NONE] * 10, remark]
    return [
        name,
        _spread(entry["error"], 2),
        _spread(entry["validation_error"], 2),
        _filters(entry["filters"]),
        _mean(entry["gone"], 100, 1),
        f"{entry['parameters']['mean']:,.0f}",
        f"{entry['multiply_adds']['mean'] / MEGA:,.2f}",
        *_file_cells(entry),
        remark,
    ]


def _file_cells(entry: Mapping[str, Any]) -> list[str]:
    files, latency = entry.get("files", {}), entry.get("latency", {})
    kilobytes = [_figure(files.get(name), "bytes", 1 / KILO, 1) for name in FILES]
    errors = [_figure(files.get(name), "error", 1, 2) for name in FILES[1:]]
    times = [_figure(latency.get(name), "ms", 1, 3) for name in FILES[:2]]
    ratios = [
        "1.00"
        if entry["kind"] == BASELINE and latency.get(name)
        else _figure(latency.get(name), "faster", 1, 2)
        for name in FILES[:2]
    ]
    return [" / ".join(cells) for cells in (kilobytes, errors, times, ratios)]


def _figure(entry: Mapping[str, Any] | None, key: str, factor: float, digits: int) -> str:
    value = (entry or {}).get(key)
    return NONE if value is None else f"{value * factor:,.{digits}f}"


def _spread(found: Mapping[str, Any], digits: int) -> str:
    mean = f"{found['mean']:.{digits}f}"
    return mean if found["deviation"] is None else f"{mean} ± {found['deviation']:.{digits}f}"


def _mean(found: Mapping[str, Any], factor: float, digits: int) -> str:
    return f"{found['mean'] * factor:.{digits}f}"


def _filters(filters: Mapping[str, float]) -> str:
    if len(filters) > SHOWN_LAYERS:
        return f"{sum(filters.values()):g}"
    return " + ".join(f"{value:.3g}" for value in filters.values())


def _methods(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for entry in rows:
        settings = ", ".join(f"{key} {value}" for key, value in entry["settings"].items())
        rule = f"; kept: {entry['rule']}" if entry["kind"] == SPARSE else ""
        after = f" of {entry['of']}" if entry["of"] else ""
        lines.append(
            f"- {entry['label']}: {WHAT[entry['kind']]}{after}{f' ({settings})' if settings else ''}{rule}"
        )
    return [*lines, ""]


WHAT = {
    BASELINE: "trained as it is, at full size",
    "dense": "trained without any term",
    SPARSE: "kernel sparsity while training, then removal",
    "scratch": "trained from new weights at the widths",
    "group-norm": "torch-pruning's group norm while training, then pruned to the multiply-adds",
    "magnitude": "the trained network, pruned by magnitude to the multiply-adds",
    "distilled": "trained with the unpruned network as teacher, at the widths",
}


def _targets(targets: Sequence[Mapping[str, Any]]) -> list[str]:
    if not targets:
        return []
    rows = [
        [target["text"], target["of"], _found(target["found"]), VERDICTS[target["reached"]]]
        for target in targets
    ]
    return [*_rows(("required", "row", "found", "verdict"), rows), ""]


def _found(found: Mapping[str, Any]) -> str:
    if not found:
        return NONE
    parts = [
        f"error {found['error']:+.2f} points",
        f"{100 * found['gone']:.1f} % of filters gone",
        f"{found['fewer']:.2f} times fewer multiply-adds",
    ]
    if found["faster"] is not None:
        parts.append(f"{found['faster']:.2f} times faster")
    return f"{', '.join(parts)} ({found['seeds']} seed{'s' if found['seeds'] > 1 else ''})"


def _published(lines: Sequence[str]) -> list[str]:
    return ["Published, not comparable by value:", "", *(f"- {line}" for line in lines), ""] if lines else []
