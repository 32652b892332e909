package toolchain.face

import kotlin.math.ceil
import kotlin.math.exp
import kotlin.math.floor
import kotlin.math.hypot
import kotlin.math.max
import kotlin.math.min
import kotlin.math.sqrt

/**
 * Colours the lips and keeps their shading; teeth and tongue are left as they are.
 *
 * @param labels class names.
 * @param size side of the crop.
 * @param color RGB, 0-255.
 * @param strength largest opacity, 0-1.
 * @throws Refusal the network has no lips.
 */
class Lipstick(labels: List<String>, private val size: Int, color: IntArray, private val strength: Double = STRENGTH) {
    private val upper = required(labels, UPPER_LIP)
    private val lower = required(labels, LOWER_LIP)
    private val inner = required(labels, INNER_MOUTH)
    private val table = tones(color, LIGHTNESS_SHIFT)
    private val sum = FloatArray(size * size)
    private val rows = FloatArray(size * size)
    private val soft = FloatArray(size * size)
    private val inverse = Affine()
    private var kernel = DoubleArray(0)
    private var kernelOf = -1.0

    // Of the crop, where any opacity can be; right and bottom are not in it.
    private var left = 0
    private var top = 0
    private var right = 0
    private var bottom = 0

    init {
        requireShare(strength, "strength")
    }

    /** Paints into [picture]; [planes] are (classes, size, size), [matrix] is picture to crop. */
    fun paint(picture: Picture, planes: FloatArray, matrix: Affine) =
        cover(planes, matrix, picture.height, picture.width) { row, column, opacity ->
            val at = 3 * (row * picture.width + column)
            val tone = 3 * luma(picture.pixels, at)
            for (channel in 0..2) {
                val below = (picture.pixels[at + channel].toInt() and 0xff) * (FULL - opacity)
                val above = (table[tone + channel].toInt() and 0xff) * opacity
                picture.pixels[at + channel] = dividedByFull(below + above).toByte()
            }
        }

    /** Writes the opacity of every pixel of a picture into (height, width) [out], which is 0 before. */
    fun opacity(planes: FloatArray, matrix: Affine, height: Int, width: Int, out: ByteArray) =
        cover(planes, matrix, height, width) { row, column, opacity -> out[row * width + column] = opacity.toByte() }

    private inline fun cover(planes: FloatArray, matrix: Affine, height: Int, width: Int, put: (Int, Int, Int) -> Unit) {
        val scale = matrix.scale
        val smoothing = 0.5 * sqrt(max(scale * scale - 1, 0.0))
        useKernel(hypot(FEATHER, if (smoothing > SMALLEST_DEVIATION) smoothing else 0.0))
        if (strength == 0.0 || !findLips(planes)) return
        blur()
        inverse.setInverse(matrix)
        val fromColumn = bound(floor(inverse.a * (left - 1) + inverse.c), width)
        val toColumn = bound(ceil(inverse.a * right + inverse.c) + 1, width)
        val fromRow = bound(floor(inverse.e * (top - 1) + inverse.f), height)
        val toRow = bound(ceil(inverse.e * bottom + inverse.f) + 1, height)
        for (row in fromRow until toRow) for (column in fromColumn until toColumn) {
            val x = matrix.x(column.toDouble(), row.toDouble())
            val y = matrix.y(column.toDouble(), row.toDouble())
            val share = ramp(read(soft, 0, x, y), LOW, HIGH)
            if (share == 0) continue
            val opacity = share(share)
            val plane = size * size
            val ahead = max(max(read(planes, upper * plane, x, y), read(planes, lower * plane, x, y)), NEVER_FLOOR)
            val weight = ramp(ahead - read(planes, inner * plane, x, y), 0.0, NEVER_MARGIN)
            val found = Math.rint(opacity * weight / FULL.toDouble()).toInt()
            if (found > 0) put(row, column, found)
        }
    }

    /** strength * (3t^2 - 2t^3) in 1 / 255, of t in 1 / 255. */
    private fun share(level: Int): Int {
        val t = level / FULL.toDouble()
        return Math.rint(FULL * strength * t * t * (3 - 2 * t)).toInt()
    }

    private fun ramp(value: Double, low: Double, high: Double): Int =
        Math.rint(FULL * (value - low) / (high - low)).coerceIn(0.0, FULL.toDouble()).toInt()

    private fun useKernel(deviation: Double) {
        if (deviation == kernelOf) return
        kernelOf = deviation
        val count = Math.rint(8 * deviation + 1).toInt() or 1
        kernel = DoubleArray(count) { (it - count / 2).let { x -> exp(-(x * x) / (2 * deviation * deviation)) } }
        val total = kernel.sum()
        for (at in kernel.indices) kernel[at] /= total
    }

    /** The box of the lips, as far as the blur reaches; false where there are none. */
    private fun findLips(planes: FloatArray): Boolean {
        left = size
        top = size
        right = 0
        bottom = 0
        for (row in 0 until size) for (column in 0 until size) {
            val at = row * size + column
            sum[at] = planes[upper * size * size + at] + planes[lower * size * size + at]
            if (sum[at] <= LOW) continue
            left = min(left, column)
            top = min(top, row)
            right = max(right, column + 1)
            bottom = max(bottom, row + 1)
        }
        if (right == 0) return false
        val reach = kernel.size / 2 + 1
        left = max(0, left - reach)
        top = max(0, top - reach)
        right = min(size, right + reach)
        bottom = min(size, bottom + reach)
        return true
    }

    /** The sum of the lips through the kernel, in the box and nowhere else. */
    private fun blur() {
        val reach = kernel.size / 2
        for (row in max(0, top - reach) until min(size, bottom + reach)) for (column in left until right) {
            var value = 0.0
            for (k in kernel.indices) value += kernel[k] * sum[row * size + mirrored(column + k - reach, size)]
            rows[row * size + column] = value.toFloat()
        }
        for (row in top until bottom) for (column in left until right) {
            var value = 0.0
            for (k in kernel.indices) value += kernel[k] * rows[blurred(row + k - reach) * size + column]
            soft[row * size + column] = value.toFloat()
        }
    }

    private fun blurred(row: Int): Int = mirrored(row, size)

    /** Bilinear, 0 beyond the crop; of the blurred lips 0 beyond their box as well. */
    private fun read(plane: FloatArray, from: Int, x: Double, y: Double): Double {
        val x0 = floor(x).toInt()
        val y0 = floor(y).toInt()
        val across = x - x0
        val down = y - y0
        return (1 - down) * (1 - across) * pixel(plane, from, x0, y0) + (1 - down) * across * pixel(plane, from, x0 + 1, y0) +
            down * (1 - across) * pixel(plane, from, x0, y0 + 1) + down * across * pixel(plane, from, x0 + 1, y0 + 1)
    }

    private fun pixel(plane: FloatArray, from: Int, x: Int, y: Int): Float = when {
        x < 0 || y < 0 || x >= size || y >= size -> 0f
        plane === soft && (x < left || y < top || x >= right || y >= bottom) -> 0f
        else -> plane[from + y * size + x]
    }

    private fun bound(value: Double, length: Int): Int = min(max(value, 0.0), length.toDouble()).toInt()

    companion object {
        const val STRENGTH = 0.7

        // The effect's own classes and softness, as in toolchain/face/effects.py and coverage.py.
        private const val UPPER_LIP = "upper lip"
        private const val LOWER_LIP = "lower lip"
        private const val INNER_MOUTH = "inner mouth"
        private const val LIGHTNESS_SHIFT = 0.6
        private const val FEATHER = 1.3
        private const val LOW = 0.3
        private const val HIGH = 0.8
        private const val SMALLEST_DEVIATION = 0.15
        private const val NEVER_FLOOR = 0.2
        private const val NEVER_MARGIN = 0.25

        private fun required(labels: List<String>, name: String): Int {
            val index = labels.indexOf(name)
            if (index < 0) throw Refusal("the network has no class '$name', which lipstick needs")
            return index
        }
    }
}
