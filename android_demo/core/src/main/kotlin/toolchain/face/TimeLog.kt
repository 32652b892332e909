package toolchain.face

/** The times of the latest frames by stage, in rings that are made once. */
class TimeLog(private val most: Int) {
    private val times = Array(Stage.entries.size) { DoubleArray(most) }
    private val began = DoubleArray(most)
    private val sorted = DoubleArray(most)
    private var seen = 0
    private var start = 0L

    /** How many frames are known. */
    val count: Int get() = minOf(seen, most)

    fun clear() {
        seen = 0
    }

    /** @param beganAt `System.nanoTime()` of the frame's beginning. */
    fun add(stages: Stages, beganAt: Long) {
        if (seen == 0) start = beganAt
        val at = seen++ % most
        began[at] = (beganAt - start) / 1e9
        for (stage in Stage.entries) times[stage.ordinal][at] = stages.milliseconds(stage)
    }

    /** The milliseconds below which a share (0-1) of the latest times of a stage lies; null without any. */
    fun quantile(stage: Stage, share: Double): Double? {
        val known = count
        if (known == 0) return null
        times[stage.ordinal].copyInto(sorted, 0, 0, known)
        sorted.sort(0, known)
        val place = (known - 1) * share
        val below = place.toInt()
        return sorted[below] + (place - below) * (sorted[minOf(below + 1, known - 1)] - sorted[below])
    }

    /** Milliseconds by stage of every frame that is known, the oldest first. */
    fun frames(): List<Map<String, Double>> =
        order().map { at -> Stage.entries.associate { it.key to times[it.ordinal][at] } }

    /** When these frames began, in seconds from the first one. */
    fun atSeconds(): List<Double> = order().map { began[it] }

    private fun order(): List<Int> = (seen - count until seen).map { it % most }
}
