package toolchain.face

import kotlin.math.abs

/**
 * Figures of the samples of one stage, in their unit; rules of benchmarks/harness/figures.py.
 *
 * @property spread median absolute deviation from the median, unscaled.
 * @property outliers how many samples have a modified z-score above 3.5 (Iglewicz and Hoaglin 1993).
 * @property drift median of the last third / median of the first third - 1; null below nine samples.
 */
data class Figures(
    val p50: Double,
    val p90: Double,
    val p99: Double,
    val mean: Double,
    val minimum: Double,
    val maximum: Double,
    val spread: Double,
    val outliers: Int,
    val drift: Double?,
    val count: Int,
) {
    /** Whether the time changed while it was measured, by more than 5 %. */
    val drifted: Boolean get() = drift != null && abs(drift) > DRIFT_BOUND

    companion object {
        private const val OUTLIER_SCORE = 3.5
        private const val NORMAL_MEDIAN_DEVIATION = 1.4826
        private const val NORMAL_MEAN_DEVIATION = 1.2533
        private const val DRIFT_BOUND = 0.05
        private const val DRIFT_SAMPLES = 9

        /** @throws Refusal no samples, or one that is not finite. */
        fun of(samples: DoubleArray): Figures {
            if (samples.isEmpty() || samples.any { !it.isFinite() }) {
                throw Refusal("figures need at least one sample, and finite ones")
            }
            val sorted = samples.sortedArray()
            val middle = quantile(sorted, 0.5)
            val apart = DoubleArray(samples.size) { abs(samples[it] - middle) }
            return Figures(
                middle, quantile(sorted, 0.9), quantile(sorted, 0.99), samples.average(), sorted.first(), sorted.last(),
                median(apart), outliers(apart), drift(samples), samples.size,
            )
        }

        /** Interpolated linearly between samples (Hyndman and Fan 1996, type 7). */
        fun quantile(sorted: DoubleArray, share: Double): Double {
            val place = (sorted.size - 1) * share
            val below = place.toInt()
            val above = minOf(below + 1, sorted.size - 1)
            return sorted[below] + (place - below) * (sorted[above] - sorted[below])
        }

        private fun median(values: DoubleArray): Double = quantile(values.sortedArray(), 0.5)

        private fun outliers(apart: DoubleArray): Int {
            var scale = NORMAL_MEDIAN_DEVIATION * median(apart)
            if (scale == 0.0) scale = NORMAL_MEAN_DEVIATION * apart.average()
            return if (scale > 0) apart.count { it > OUTLIER_SCORE * scale } else 0
        }

        private fun drift(samples: DoubleArray): Double? {
            if (samples.size < DRIFT_SAMPLES) return null
            val third = samples.size / 3
            val first = median(samples.copyOfRange(0, third))
            val last = median(samples.copyOfRange(samples.size - third, samples.size))
            return if (first > 0) last / first - 1 else null
        }
    }
}
