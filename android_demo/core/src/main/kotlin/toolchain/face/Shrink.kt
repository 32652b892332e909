package toolchain.face

import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min

/** Mean over the area that each of fewer pixels covers, of square planes; pixels in part count in part. */
class AreaShrink(private val size: Int, private val side: Int) {
    private val first = IntArray(side)
    private val count = IntArray(side)
    private val shares: Array<FloatArray>
    private val rows = FloatArray(side * size)

    init {
        val step = size.toDouble() / side
        shares = Array(side) { at ->
            val start = at * step
            val end = (at + 1) * step
            first[at] = floor(start).toInt()
            val last = min(size, Math.ceil(end - SLACK).toInt())
            count[at] = last - first[at]
            FloatArray(count[at]) { k ->
                val pixel = first[at] + k
                ((min(end, pixel + 1.0) - max(start, pixel.toDouble())) / step).toFloat()
            }
        }
    }

    /** Plane [from] (size, size) at [fromAt] of an array, into (side, side) at [toAt] of another one. */
    fun shrink(from: FloatArray, fromAt: Int, to: FloatArray, toAt: Int) {
        for (row in 0 until side) for (column in 0 until size) {
            var sum = 0f
            for (k in 0 until count[row]) sum += shares[row][k] * from[fromAt + (first[row] + k) * size + column]
            rows[row * size + column] = sum
        }
        for (row in 0 until side) for (column in 0 until side) {
            var sum = 0f
            for (k in 0 until count[column]) sum += shares[column][k] * rows[row * size + first[column] + k]
            to[toAt + row * side + column] = sum
        }
    }

    private companion object {
        const val SLACK = 1e-9
    }
}

/** Bilinear enlargement of square planes; the outer half of the border pixels is as they are. */
class Enlarge(private val side: Int, private val size: Int) {
    private val first = IntArray(size)
    private val share = FloatArray(size)

    init {
        for (at in 0 until size) {
            val place = ((at + 0.5) * side / size - 0.5).coerceIn(0.0, side - 1.0)
            first[at] = min(floor(place).toInt(), max(0, side - 2))
            share[at] = (place - first[at]).toFloat()
        }
    }

    fun enlarge(from: FloatArray, fromAt: Int, to: FloatArray, toAt: Int) {
        val next = if (side > 1) 1 else 0
        for (row in 0 until size) {
            val upper = fromAt + first[row] * side
            val lower = upper + next * side
            val down = share[row]
            for (column in 0 until size) {
                val x = first[column]
                val across = share[column]
                val above = from[upper + x] * (1 - across) + from[upper + x + next] * across
                val below = from[lower + x] * (1 - across) + from[lower + x + next] * across
                to[toAt + row * size + column] = above * (1 - down) + below * down
            }
        }
    }
}
