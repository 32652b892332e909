package toolchain.face

/** What the time of a frame is spent on, by the names of a results file. */
enum class Stage(val key: String) {
    DETECTION("detection"),
    CROP("crop"),
    INFERENCE("inference"),
    UNWARP("unwarp"),
    COLORIZATION("colorization"),
    TOTAL("total"),
}

/** Nanoseconds of each stage of one frame. */
class Stages {
    private val nanoseconds = LongArray(Stage.entries.size)

    fun clear() = nanoseconds.fill(0)

    fun milliseconds(stage: Stage): Double = nanoseconds[stage.ordinal] / 1e6

    /** Adds the time of a block to a stage. */
    inline fun <T> measure(stage: Stage, block: () -> T): T {
        val start = System.nanoTime()
        try {
            return block()
        } finally {
            add(stage, System.nanoTime() - start)
        }
    }

    fun add(stage: Stage, spent: Long) {
        nanoseconds[stage.ordinal] += spent
    }
}
