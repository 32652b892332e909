package toolchain.face

import kotlin.math.ceil
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min

/**
 * Cuts regions out of pictures; what lies outside of the picture is black.
 *
 * @param size side of the crop.
 * @param resize "bilinear", or "area": whole blocks of pixels are averaged first where the picture is more than
 *   twice as fine as the crop.
 * @throws Refusal another resize rule.
 */
class Cropper(private val size: Int, private val resize: String) {
    private val inverse = Affine()
    private val toBlocks = Affine()
    private var blocks = FloatArray(0)
    private var left = 0
    private var top = 0
    private var wide = 0
    private var high = 0

    init {
        if (resize !in RULES) throw Refusal("unknown resize rule '$resize'; rules are $RULES")
    }

    /**
     * Writes the crop into [out].
     *
     * @param matrix picture to crop.
     * @param out (size, size) picture.
     */
    fun cut(picture: Picture, matrix: Affine, out: Picture) {
        inverse.setInverse(matrix)
        val block = (1 / matrix.scale + SLACK).toInt()
        if (resize == AREA && block >= 2 && average(picture, block)) {
            val middle = (block - 1) / 2.0
            toBlocks.set(block.toDouble(), 0.0, left + middle, 0.0, block.toDouble(), top + middle)
            toBlocks.setJoined(matrix, toBlocks)
            inverse.setInverse(toBlocks)
            sample(wide, high, out) { blocks[it] }
        } else {
            sample(picture.width, picture.height, out) { (picture.pixels[it].toInt() and 0xff).toFloat() }
        }
    }

    /** Bilinear, of a source of [columns] by [rows] pixels; [value] is that of one channel at its place. */
    private inline fun sample(columns: Int, rows: Int, out: Picture, value: (Int) -> Float) {
        var to = 0
        for (row in 0 until size) for (column in 0 until size) {
            val x = inverse.x(column.toDouble(), row.toDouble())
            val y = inverse.y(column.toDouble(), row.toDouble())
            val x0 = floor(x).toInt()
            val y0 = floor(y).toInt()
            val right = (x - x0).toFloat()
            val lower = (y - y0).toFloat()
            var red = 0f
            var green = 0f
            var blue = 0f
            for (corner in 0..3) {
                val px = x0 + (corner and 1)
                val py = y0 + (corner shr 1)
                if (px < 0 || py < 0 || px >= columns || py >= rows) continue
                val weight = (if (corner and 1 == 1) right else 1 - right) * (if (corner > 1) lower else 1 - lower)
                val at = (py * columns + px) * 3
                red += weight * value(at)
                green += weight * value(at + 1)
                blue += weight * value(at + 2)
            }
            to = put(out.pixels, to, red, green, blue)
        }
    }

    private fun put(pixels: ByteArray, at: Int, red: Float, green: Float, blue: Float): Int {
        pixels[at] = (red + 0.5f).toInt().toByte()
        pixels[at + 1] = (green + 0.5f).toInt().toByte()
        pixels[at + 2] = (blue + 0.5f).toInt().toByte()
        return at + 3
    }

    /** Means of whole blocks in what the crop shows and two blocks around it; false where there is no block. */
    private fun average(picture: Picture, block: Int): Boolean {
        val end = size - 0.5
        left = bound(floor(lowest(inverse.a, inverse.b, inverse.c, end)) - 2 * block, picture.width)
        top = bound(floor(lowest(inverse.d, inverse.e, inverse.f, end)) - 2 * block, picture.height)
        val right = bound(ceil(highest(inverse.a, inverse.b, inverse.c, end)) + 1 + 2 * block, picture.width)
        val bottom = bound(ceil(highest(inverse.d, inverse.e, inverse.f, end)) + 1 + 2 * block, picture.height)
        wide = (right - left) / block
        high = (bottom - top) / block
        if (wide < 1 || high < 1) return false
        // Grows with the first frames only.
        if (blocks.size < wide * high * 3) blocks = FloatArray(wide * high * 3)
        val share = 1f / (block * block)
        for (row in 0 until high) for (column in 0 until wide) {
            var red = 0
            var green = 0
            var blue = 0
            for (dy in 0 until block) {
                var at = ((top + row * block + dy) * picture.width + left + column * block) * 3
                repeat(block) {
                    red += picture.pixels[at].toInt() and 0xff
                    green += picture.pixels[at + 1].toInt() and 0xff
                    blue += picture.pixels[at + 2].toInt() and 0xff
                    at += 3
                }
            }
            val to = (row * wide + column) * 3
            blocks[to] = red * share
            blocks[to + 1] = green * share
            blocks[to + 2] = blue * share
        }
        return true
    }

    private fun lowest(a: Double, b: Double, c: Double, end: Double): Double =
        min(-0.5 * a, end * a) + min(-0.5 * b, end * b) + c

    private fun highest(a: Double, b: Double, c: Double, end: Double): Double =
        max(-0.5 * a, end * a) + max(-0.5 * b, end * b) + c

    private fun bound(value: Double, length: Int): Int = min(max(value, 0.0), length.toDouble()).toInt()

    companion object {
        private const val AREA = "area"
        // Rounding must not turn 8 whole pixels into 7.
        private const val SLACK = 1e-6
        val RULES = listOf("bilinear", AREA)
    }
}
