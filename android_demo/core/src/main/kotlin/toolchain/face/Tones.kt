package toolchain.face

import kotlin.math.cbrt
import kotlin.math.pow

/**
 * The colour that takes the place of each grey: (256, 3) RGB, by the luma of the pixel.
 *
 * Hue is the colour's. Lightness is the grey's, moved by at most 20; black and white stay. Chroma falls with
 * lightness as the shades of one paint do, and is as small as sRGB makes it necessary (toolchain/face/tones.py).
 *
 * @param color RGB, 0-255.
 * @param shift how far the lightness of middle grey moves towards the colour's own, 0-1.
 */
fun tones(color: IntArray, shift: Double): ByteArray {
    val own = lab(DoubleArray(3) { color[it] / 255.0 })
    val step = (shift * (own[0] - MIDDLE_LIGHTNESS)).coerceIn(-LARGEST_SHIFT, LARGEST_SHIFT)
    val table = ByteArray(BYTE_VALUES * 3)
    for (level in 0..255) {
        val grey = lab(DoubleArray(3) { level / 255.0 })[0]
        val lightness = grey + step * 4 * (grey / 100) * (1 - grey / 100)
        // L* + 16 is proportional to the cube root of the luminance, and so are a* and b* of a paint in shade.
        val gain = minOf((lightness + 16) / (own[0] + 16), LARGEST_GAIN)
        val share = largestShare(lightness, own[1] * gain, own[2] * gain)
        val linear = linear(lightness, own[1] * gain * share, own[2] * gain * share)
        for (channel in 0..2) {
            val value = linear[channel].coerceIn(0.0, 1.0)
            val encoded = if (value <= 0.0031308) 12.92 * value else 1.055 * value.pow(1 / 2.4) - 0.055
            table[3 * level + channel] = Math.rint(255 * encoded).toInt().toByte()
        }
    }
    return table
}

private const val MIDDLE_LIGHTNESS = 55.0
private const val LARGEST_SHIFT = 20.0
private const val LARGEST_GAIN = 1.0
private const val HALVINGS = 20
private const val SLACK = 1e-6

// Linear RGB with the primaries of sRGB to CIE XYZ, white point D65 (IEC 61966-2-1).
private val TO_XYZ = arrayOf(
    doubleArrayOf(0.4124, 0.3576, 0.1805),
    doubleArrayOf(0.2126, 0.7152, 0.0722),
    doubleArrayOf(0.0193, 0.1192, 0.9505),
)
private val WHITE = DoubleArray(3) { TO_XYZ[it].sum() }
private val FROM_XYZ = inverseOf(TO_XYZ)

/** The largest share of a chroma that sRGB has at that lightness. */
private fun largestShare(lightness: Double, a: Double, b: Double): Double {
    var low = 0.0
    var high = 1.0
    repeat(HALVINGS) {
        val middle = (low + high) / 2
        if (linear(lightness, a * middle, b * middle).all { it >= -SLACK && it <= 1 + SLACK }) low = middle else high = middle
    }
    return low
}

/** sRGB of 0-1 to CIE L*a*b* (CIE 15). */
private fun lab(encoded: DoubleArray): DoubleArray {
    val linear = DoubleArray(3) { encoded[it].let { v -> if (v <= 0.04045) v / 12.92 else ((v + 0.055) / 1.055).pow(2.4) } }
    val root = DoubleArray(3) { row ->
        val ratio = (0..2).sumOf { TO_XYZ[row][it] * linear[it] } / WHITE[row]
        if (ratio > (6.0 / 29).pow(3)) cbrt(ratio) else ratio / (3 * (6.0 / 29).pow(2)) + 4.0 / 29
    }
    return doubleArrayOf(116 * root[1] - 16, 500 * (root[0] - root[1]), 200 * (root[1] - root[2]))
}

/** Linear RGB, beyond 0-1 where sRGB has no such colour. */
private fun linear(lightness: Double, a: Double, b: Double): DoubleArray {
    val y = (lightness + 16) / 116
    val root = doubleArrayOf(y + a / 500, y, y - b / 200)
    val xyz = DoubleArray(3) {
        val value = root[it]
        WHITE[it] * if (value > 6.0 / 29) value.pow(3) else 3 * (6.0 / 29).pow(2) * (value - 4.0 / 29)
    }
    return DoubleArray(3) { row -> (0..2).sumOf { FROM_XYZ[row][it] * xyz[it] } }
}

private fun inverseOf(m: Array<DoubleArray>): Array<DoubleArray> {
    fun minor(row: Int, column: Int): Double {
        val rows = (0..2).filter { it != row }
        val columns = (0..2).filter { it != column }
        return m[rows[0]][columns[0]] * m[rows[1]][columns[1]] - m[rows[0]][columns[1]] * m[rows[1]][columns[0]]
    }
    val determinant = (0..2).sumOf { m[0][it] * minor(0, it) * (if (it == 1) -1 else 1) }
    return Array(3) { row -> DoubleArray(3) { column -> minor(column, row) * (if ((row + column) % 2 == 1) -1 else 1) / determinant } }
}
