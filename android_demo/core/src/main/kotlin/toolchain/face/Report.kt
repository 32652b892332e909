package toolchain.face

/** The artefact behind an entry of a report, from its sidecar. */
class MeasuredFile(
    val path: String,
    val sha256: String,
    val bytes: Long,
    val format: String,
    val precision: String?,
    val model: String?,
    val parity: Map<String, Any?>?,
) {
    fun asJson(): Map<String, Any?> = linkedMapOf(
        "path" to path, "sha256" to sha256, "bytes" to bytes, "format" to format, "precision" to precision,
        "model" to model, "parity" to parity,
    )
}

/**
 * What was measured of one file; see `Entry` in benchmarks/harness/results.py.
 *
 * @property frames milliseconds by stage, frame by frame.
 * @property atSeconds when each frame began, from the start of the measurement.
 * @property memoryMb resident memory by moment; empty where not known.
 * @property partial why the measurement ended early; null when it did not.
 */
class Entry(
    val name: String,
    val runtime: String,
    val threads: Int?,
    val file: MeasuredFile,
    val loadMs: Double,
    val firstMs: Double,
    val warmupRuns: Int,
    val steady: Boolean,
    val repeats: Int,
    val frames: List<Map<String, Double>>,
    val atSeconds: List<Double>,
    val memoryMb: Map<String, Double>,
    val shares: Map<String, Double>,
    val partial: String?,
) {
    private val samples: Map<String, List<Double>> =
        Stage.entries.associate { stage -> stage.key to frames.mapNotNull { it[stage.key] } }

    internal fun check() {
        val lengths = samples.values.map { it.size }.toSet() + atSeconds.size
        if (lengths.size != 1) throw Refusal("samples of '$name' are incomplete")
        val times = samples.values.flatten() + atSeconds + loadMs + firstMs + memoryMb.values
        if (!times.all { it.isFinite() && it >= 0 && it < LARGEST }) throw Refusal("samples of '$name' are no times")
    }

    fun asJson(): Map<String, Any?> = linkedMapOf(
        "name" to name, "runtime" to runtime, "threads" to threads, "file" to file.asJson(), "load_ms" to loadMs,
        "first_ms" to firstMs, "warmup_runs" to warmupRuns, "steady" to steady, "repeats" to repeats,
        "samples" to samples, "at_s" to atSeconds, "memory_mb" to memoryMb, "operators" to null, "shares" to shares,
        "partial" to partial, "waited_ms" to emptyList<Double>(),
    )

    private companion object {
        // No time in milliseconds and no memory comes near.
        const val LARGEST = 1e15
    }
}

/**
 * A results file that `toolchain benchmark report` reads. Its figures are always those of a device.
 *
 * @param created UTC, ISO 8601.
 * @param lane name of the device as its owner knows it.
 * @param details what else is known of it: app, thermal state before and after.
 * @param machine system and cores.
 * @param settings what the measurement was asked for.
 * @throws Refusal times are missing or none, or entries share a name.
 */
class Report(
    private val created: String,
    private val command: List<String>,
    private val lane: String,
    private val details: Map<String, Any?>,
    private val machine: Map<String, Any?>,
    private val settings: Map<String, Any?>,
    private val entries: List<Entry>,
) {
    init {
        val names = entries.map { it.name }
        if (names.toSet().size != names.size) throw Refusal("entries share a name: $names")
        entries.forEach { it.check() }
    }

    fun asJson(): Map<String, Any?> = linkedMapOf(
        "format" to FORMAT, "version" to VERSION, "kind" to KIND, "created" to created, "command" to command,
        "lane" to linkedMapOf("where" to WHERE, "name" to lane, "details" to details), "machine" to machine,
        "settings" to settings, "entries" to entries.map { it.asJson() }, "profile_note" to null,
    )

    private companion object {
        const val FORMAT = "toolchain-benchmark"
        const val VERSION = 1
        const val KIND = "pipeline"
        const val WHERE = "device"
    }
}
