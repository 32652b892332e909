"""Stands in for adb: behaves as the files beside it say, and writes down what it was asked for."""

import json
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
PROPERTIES = {
    "ro.product.manufacturer": "Google",
    "ro.product.model": "Pixel 8",
    "ro.soc.manufacturer": "Google",
    "ro.soc.model": "Tensor G3",
    "ro.board.platform": "zuma",
    "ro.hardware": "shiba",
    "ro.build.version.release": "15",
    "ro.build.version.sdk": "35",
    "ro.build.fingerprint": "google/shiba/shiba:15/AP4A.250105.002/12701944:user/release-keys",
    "ro.product.cpu.abilist": "arm64-v8a",
}
THERMAL = """IsStatusOverride: false
ThermalEventListeners:
\tcallbacks: 3
\tkilled: false
\tbroadcasts count: -1
Thermal Status: {status}
Cached temperatures:
\tTemperature{{mValue=71.0, mType=0, mName=BIG, mStatus=0}}
HAL Ready: true
HAL connection:
\tThermalHAL AIDL 2  connected: yes
Current temperatures from HAL:
\tTemperature{{mValue=38.5, mType=0, mName=BIG, mStatus=0}}
\tTemperature{{mValue=31.25, mType=3, mName=VIRTUAL-SKIN, mStatus=0}}
\tTemperature{{mValue=NaN, mType=9, mName=TPU, mStatus=0}}
\tTemperature{{mValue=-99.9, mType=6, mName=PA, mStatus=0}}
Current cooling devices from HAL:
\tCoolingDevice{{mValue=0, mType=2, mName=thermal-cpufreq-0}}
"""
BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  Dock powered: false
  level: 83
  scale: 100
  temperature: 297
"""
# Two tabs-separated tables as tensorflow/core/util/stats_calculator.cc writes them.
PROFILE = """Profiling Info for Benchmark Initialization:
============================== Top by Computation Time ==============================
\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t         AllocateTensors\t    0.452\t    0.452\t100.000%\t100.000%\t     0.000\t        1\tAllocateTensors/0

Number of nodes executed: 1
Timings (microseconds): count=1 curr=452
Memory (bytes): count=0
1 nodes observed

Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t                 CONV_2D\t    3.100\t    3.000\t 75.000%\t 75.000%\t     0.000\t        1\t[conv]:0
\t         RESIZE_BILINEAR\t    1.100\t    1.000\t 25.000%\t100.000%\t     0.000\t        1\t[up]:1

============================== Top by Computation Time ==============================
\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t                 CONV_2D\t    3.100\t    3.000\t 75.000%\t 75.000%\t     0.000\t        1\t[conv]:0
\t         RESIZE_BILINEAR\t    1.100\t    1.000\t 25.000%\t100.000%\t     0.000\t        1\t[up]:1

Number of nodes executed: 2
============================== Summary by node type ==============================
\t             [Node type]\t  [count]\t  [avg ms]\t    [avg %]\t    [cdf %]\t  [mem KB]\t[times called]
\t                 CONV_2D\t        1\t     3.000\t    75.000%\t    75.000%\t     0.000\t        1

Timings (microseconds): count=20 first=4200 curr=4000 min=3990 max=4200 avg=4010 std=44
Memory (bytes): count=0
2 nodes observed
"""


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def fail(text: str, status: int = 1) -> None:
    sys.stderr.write(text + "\n")
    sys.exit(status)


def benchmark(behaviour: dict, words: list[str], start: int) -> None:
    flags = dict(word.removeprefix("--").split("=", 1) for word in words)
    crash = behaviour.get("crash_at")
    if crash == start:
        say("STARTING!\nINFO: Loaded model\nSegmentation fault")
        sys.exit(139)
    if behaviour.get("hang_at") == start:
        time.sleep(30)
    if "old_binary" in behaviour and "report_peak_memory_footprint" in flags:
        say("INFO: Unconsumed cmdline flags: --report_peak_memory_footprint=true")
    runs, average = int(flags["num_runs"]), 4000 + 10 * start
    if behaviour.get("short"):
        runs -= 1
    level = "" if behaviour.get("plain") else "INFO: "
    lines = [
        "STARTING!",
        f"Log parameter values verbosely: [0]\n{level}Num threads: [{flags['num_threads']}]",
        f"Graph: [{flags['graph']}]",
        f"Loaded model {flags['graph']}",
        "Initialized TensorFlow Lite runtime.\nINFO: Created TensorFlow Lite XNNPACK delegate for CPU.",
        "The input model file size (MB): 0.24088\nInitialized session in 12.5ms.",
        f"Running benchmark for at least {flags['warmup_runs']} iterations and at least 0 seconds but"
        " terminate if exceeding 100000 seconds.",
        "count=5 first=9800 curr=4020 min=4005 max=9800 avg=5170 std=2315\n",
        f"Running benchmark for at least {runs} iterations and at least 0 seconds but terminate"
        " if exceeding 100000 seconds.",
        f"count={runs} first=4100 curr=4005 min=3990 max=4400 avg={average} std=37"
        + ("" if behaviour.get("plain") else f" p5=3992 median={average - 5} p95=4210")
        if runs > 1
        else f"count=1 curr={average}",
        "",
        "Inference timings in us: Init: 12500, First inference: 9800, Warmup (avg): 5170, "
        f"Inference (avg): {average}",
        "Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to"
        " the actual memory footprint of the model at runtime. Take the information at your discretion.",
        "Memory footprint delta from the start of the tool (MB): init=2.5 overall=20.5",
    ]
    if "report_peak_memory_footprint" in flags:
        lines.append("Overall peak memory footprint (MB) via periodic monitoring: 25")
    for line in lines:
        say("\n".join(f"{level}{part}" if part else "" for part in line.split("\n")))
    if flags.get("enable_op_profiling") == "true":
        say(PROFILE)


def shell(behaviour: dict, words: list[str], calls: Path) -> None:
    if words[0] == "getprop":
        properties = {**PROPERTIES, **behaviour.get("properties", {})}
        say("\n".join(f"[{name}]: [{value}]" for name, value in properties.items()))
    elif words[:2] == ["dumpsys", "thermalservice"]:
        if behaviour.get("old_android"):
            say("Can't find service: thermalservice")
        else:
            say(THERMAL.format(status=behaviour.get("thermal", 0)))
    elif words[:2] == ["dumpsys", "battery"]:
        say(BATTERY)
    elif words[0].endswith("/benchmark_model"):
        start = sum('/benchmark_model", "--graph' in line for line in calls.read_text().splitlines())
        if behaviour.get("gone_at", 10**9) <= start:
            (HERE / "gone").touch()
            fail("", 255)
        benchmark(behaviour, words[1:], start)
    elif words[0] not in ("mkdir", "rm", "chmod"):
        fail(f"/system/bin/sh: {words[0]}: inaccessible or not found", 127)


def main() -> None:
    behaviour = json.loads((HERE / "behaviour.json").read_text())
    words, calls = sys.argv[1:], HERE / "calls.txt"
    with calls.open("a") as stream:
        stream.write(json.dumps(words) + "\n")
    if words == ["devices"]:
        if behaviour.get("starts"):
            say("* daemon not running; starting now at tcp:5037\n* daemon started successfully")
        say("List of devices attached")
        for serial, state in behaviour.get("devices", {"37281FDJH0": "device"}).items():
            say(f"{serial}\t{state}")
        say("")
        return
    assert words[0] == "-s", words
    if (HERE / "gone").exists():
        fail(f"adb: device '{words[1]}' not found")
    if words[2] == "get-state":
        say("device")
    elif words[2] == "push":
        if behaviour.get("full"):
            fail("adb: error: failed to copy: remote couldn't create file: No space left on device")
        (HERE / "pushed" / Path(words[4]).name).write_bytes(Path(words[3]).read_bytes())
        say(f"{words[3]}: 1 file pushed, 0 skipped. 30.1 MB/s")
    else:
        shell(behaviour, words[3:], calls)


if __name__ == "__main__":
    main()
