package toolchain.face

import kotlin.math.ceil
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min

/**
 * Puts the classes of a crop back into the picture: the most probable one after bilinear interpolation.
 *
 * Where one class is the most probable one of all four neighbours it is so between them, and nothing has to be
 * interpolated: only outlines cost time.
 *
 * @param size side of the crop.
 */
class Unwarper(private val classes: Int, private val size: Int) {
    private val best = ByteArray(size * size)
    private val inverse = Affine()

    /**
     * Writes into [labels] (height, width), which stay where this crop shows the background or nothing.
     *
     * @param planes (classes, size, size) probabilities.
     * @param matrix picture to crop.
     */
    fun unwarp(planes: FloatArray, matrix: Affine, labels: ByteArray, height: Int, width: Int) {
        require(labels.size == height * width) { "${labels.size} labels for $height x $width" }
        argmax(planes, classes, best)
        inverse.setInverse(matrix)
        val ends = size.toDouble()
        val left = bound(floor(lowest(inverse.a, inverse.b, inverse.c)), width)
        val right = bound(ceil(highest(inverse.a, inverse.b, inverse.c, ends)) + 1, width)
        val top = bound(floor(lowest(inverse.d, inverse.e, inverse.f)), height)
        val bottom = bound(ceil(highest(inverse.d, inverse.e, inverse.f, ends)) + 1, height)
        for (row in top until bottom) for (column in left until right) {
            val label = label(planes, matrix.x(column.toDouble(), row.toDouble()), matrix.y(column.toDouble(), row.toDouble()))
            if (label != BACKGROUND) labels[row * width + column] = label.toByte()
        }
    }

    private fun label(planes: FloatArray, x: Double, y: Double): Int {
        val x0 = floor(x).toInt()
        val y0 = floor(y).toInt()
        if (x0 < -1 || y0 < -1 || x0 >= size || y0 >= size) return BACKGROUND
        var common = UNKNOWN
        for (corner in 0..3) {
            val place = place(x0, y0, corner)
            if (place < 0) continue
            val label = best[place].toInt() and 0xff
            if (common != UNKNOWN && label != common) return mixed(planes, x - x0, y - y0, x0, y0)
            common = label
        }
        // On the outermost line a corner inside may have no weight at all.
        val outside = (x0 < 0 && x == x0.toDouble()) || (y0 < 0 && y == y0.toDouble())
        return if (common == UNKNOWN || outside) BACKGROUND else common
    }

    private fun mixed(planes: FloatArray, right: Double, lower: Double, x0: Int, y0: Int): Int {
        var most = BACKGROUND
        var highest = Double.NEGATIVE_INFINITY
        for (label in 0 until classes) {
            var sum = 0.0
            for (corner in 0..3) {
                val place = place(x0, y0, corner)
                if (place < 0) continue
                val weight = (if (corner > 1) lower else 1 - lower) * (if (corner and 1 == 1) right else 1 - right)
                sum += weight * planes[label * size * size + place]
            }
            if (sum > highest) {
                highest = sum
                most = label
            }
        }
        return most
    }

    private fun place(x0: Int, y0: Int, corner: Int): Int {
        val x = x0 + (corner and 1)
        val y = y0 + (corner shr 1)
        return if (x < 0 || y < 0 || x >= size || y >= size) -1 else y * size + x
    }

    private fun lowest(a: Double, b: Double, c: Double): Double =
        min(-a, size * a) + min(-b, size * b) + c

    private fun highest(a: Double, b: Double, c: Double, end: Double): Double =
        max(-a, end * a) + max(-b, end * b) + c

    private fun bound(value: Double, length: Int): Int = min(max(value, 0.0), length.toDouble()).toInt()

    private companion object {
        const val UNKNOWN = -1
    }
}
