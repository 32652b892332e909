package toolchain.face

import kotlin.math.abs
import kotlin.math.floor

/** A field of steps in pixels of its own grid: what to add to x and y to find the same thing before. */
class Flow(val side: Int, val values: FloatArray = FloatArray(side * side * 2)) {
    init {
        require(values.size == side * side * 2) { "${values.size} values are no flow of $side x $side" }
    }
}

/**
 * Class probabilities of the frame before, carried to where its parts lie in the next one. One per face and video.
 *
 * Without a flow nothing but the region moves, which is what these apps do: they have no optical flow. The
 * places where the picture no longer looks the same are left out all the same.
 *
 * @param size side of the crop.
 * @param side of the mask that is kept: it is but a prior, and coarser than the crop.
 * @param greySide of the picture by which places are met again, and of flows.
 */
class PreviousMask(
    private val classes: Int,
    private val size: Int,
    private val side: Int = SIDE,
    private val greySide: Int = GREY_SIDE,
) {
    private val mask = FloatArray(classes * side * side)
    private val moved = FloatArray(classes * side * side)
    private val grey = IntArray(greySide * greySide)
    private val regrouped = IntArray(greySide * greySide)
    private val met = BooleanArray(greySide * greySide)
    private val eroded = BooleanArray(greySide * greySide)
    private val matrix = Affine()
    private val between = Affine()
    private val region = Affine()
    private val inverse = Affine()
    private val meeting = Meeting(greySide)
    private val enlarge = Enlarge(side, size)

    /** Whether there is a mask to carry. */
    var isKnown = false
        private set

    /** The next crop is the first of its kind. */
    fun forget() {
        isKnown = false
    }

    /**
     * Keeps what a network said of a crop; no argument is needed afterwards.
     *
     * @param shrunkGrey (greySide, greySide) of the crop.
     * @param toCrop picture to crop.
     * @param planes (classes, side, side) probabilities.
     */
    fun put(shrunkGrey: IntArray, toCrop: Affine, planes: FloatArray) {
        shrunkGrey.copyInto(grey)
        planes.copyInto(mask)
        matrix.set(toCrop)
        isKnown = true
    }

    /**
     * What was said of the crop before, where its parts lie in the next one; zero where that is not known.
     *
     * @param now (greySide, greySide) of the next crop.
     * @param toCrop picture to the next crop.
     * @param out (classes, size, size), all zero where nothing is carried.
     * @param flow from the next frame to the one before; null for none.
     * @param back from the frame before to the next one.
     * @return whether there was a mask, and most of the picture is still the same.
     */
    fun carried(now: IntArray, toCrop: Affine, out: FloatArray, flow: Flow? = null, back: Flow? = null): Boolean {
        require(out.size == classes * size * size) { "${out.size} values for $classes planes of $size x $size" }
        out.fill(0f)
        if (!isKnown) return false
        between.setJoined(matrix, inverse.setInverse(toCrop))
        regroup()
        meeting.find(regrouped, now, flow, back, met)
        if (met.count { it } < LEAST_MET * met.size) return false
        // What is doubtful is no prior for its neighbours either.
        erode(met, eroded, greySide)
        region.setShrunkRegion(between, size, side)
        carry(mask, classes, side, region, flow, eroded, greySide, moved)
        for (label in 0 until classes) enlarge.enlarge(moved, label * side * side, out, label * size * size)
        return true
    }

    /** Where places of the last answer of `carried` were met again. */
    internal fun metAgain(): BooleanArray = eroded

    /** The shrunk crop before, of the region of the next crop. */
    private fun regroup() {
        if (between.isStill) {
            grey.copyInto(regrouped)
            return
        }
        region.setShrunkRegion(between, size, greySide)
        for (row in 0 until greySide) for (column in 0 until greySide) {
            val x = region.x(column.toDouble(), row.toDouble())
            val y = region.y(column.toDouble(), row.toDouble())
            regrouped[row * greySide + column] = Math.rint(bordered(grey, greySide, x, y)).toInt()
        }
    }

    companion object {
        const val SIDE = 128
        const val GREY_SIDE = 64
        // After a cut, chance alone lets places look the same.
        private const val LEAST_MET = 0.5
    }
}

/**
 * Where a flow leads to the same thing in the frame before: the flows there and back cancel, and both look alike.
 *
 * Bounds of toolchain/face/motion.py: |w + w'|^2 < 0.01 (|w|^2 + |w'|^2) + 0.5 pixels, and 24 of 256 levels.
 */
class Meeting(private val side: Int) {
    private val seen = IntArray(side * side)

    fun find(before: IntArray, now: IntArray, flow: Flow?, back: Flow?, met: BooleanArray) {
        require((flow ?: back)?.side ?: side == side && (back ?: flow)?.side ?: side == side) { "flows of another side" }
        for (row in 0 until side) for (column in 0 until side) {
            val at = row * side + column
            val stepX = flow?.values?.get(2 * at)?.toDouble() ?: 0.0
            val stepY = flow?.values?.get(2 * at + 1)?.toDouble() ?: 0.0
            val x = column + stepX
            val y = row + stepY
            val backX = if (back == null) 0.0 else bordered(back, x, y, 0)
            val backY = if (back == null) 0.0 else bordered(back, x, y, 1)
            val bound = RELATIVE * (square(stepX, stepY) + square(backX, backY)) + ABSOLUTE
            met[at] = square(stepX + backX, stepY + backY) < bound
            seen[at] = if (flow == null) before[at] else Math.rint(bordered(before, side, x, y)).toInt()
        }
        for (row in 0 until side) for (column in 0 until side) {
            val unlike = abs(meanOfNine(seen, row, column) - meanOfNine(now, row, column))
            if (unlike >= GREY) met[row * side + column] = false
        }
    }

    private fun meanOfNine(grey: IntArray, row: Int, column: Int): Double {
        var sum = 0
        for (dy in -1..1) for (dx in -1..1) sum += grey[mirrored(row + dy, side) * side + mirrored(column + dx, side)]
        return Math.rint(sum / 9.0)
    }

    private fun square(x: Double, y: Double): Double = x * x + y * y

    private companion object {
        const val RELATIVE = 0.01
        const val ABSOLUTE = 0.5
        const val GREY = 24
    }
}

/** Reads between pixels of a square, each of which [value] gives by its place; beyond the border lies the border. */
private inline fun bordered(side: Int, x: Double, y: Double, value: (Int) -> Double): Double {
    val x0 = floor(x).toInt()
    val y0 = floor(y).toInt()
    val right = x - x0
    val lower = y - y0
    val left = x0.coerceIn(0, side - 1)
    val next = (x0 + 1).coerceIn(0, side - 1)
    val upper = y0.coerceIn(0, side - 1) * side
    val under = (y0 + 1).coerceIn(0, side - 1) * side
    return (1 - lower) * ((1 - right) * value(upper + left) + right * value(upper + next)) +
        lower * ((1 - right) * value(under + left) + right * value(under + next))
}

private fun bordered(grey: IntArray, side: Int, x: Double, y: Double): Double =
    bordered(side, x, y) { grey[it].toDouble() }

private fun bordered(flow: Flow, x: Double, y: Double, axis: Int): Double =
    bordered(flow.side, x, y) { flow.values[2 * it + axis].toDouble() }

/** A pixel stays where it and all its neighbours are set; beyond the border all are. */
internal fun erode(from: BooleanArray, to: BooleanArray, side: Int) {
    for (row in 0 until side) for (column in 0 until side) {
        var all = true
        for (y in maxOf(0, row - 1)..minOf(side - 1, row + 1)) {
            for (x in maxOf(0, column - 1)..minOf(side - 1, column + 1)) all = all && from[y * side + x]
        }
        to[row * side + column] = all
    }
}

/**
 * Class probabilities moved along a flow and a region.
 *
 * @param mask (classes, side, side) of the crop before.
 * @param region new crop to the crop before, both of that side.
 * @param flow of any side; null for none.
 * @param met (metSide, metSide), false where nothing is to be carried to; null for everywhere.
 * @param out (classes, side, side); zero where `met` is not, and where the region before showed nothing.
 */
fun carry(
    mask: FloatArray, classes: Int, side: Int, region: Affine, flow: Flow?, met: BooleanArray?, metSide: Int, out: FloatArray,
) {
    val still = region.isStill
    val plane = side * side
    for (row in 0 until side) for (column in 0 until side) {
        val at = row * side + column
        if (met != null && !met[row * metSide / side * metSide + column * metSide / side]) {
            for (label in 0 until classes) out[label * plane + at] = 0f
            continue
        }
        var x = column.toDouble()
        var y = row.toDouble()
        if (flow != null) {
            val ratio = side.toDouble() / flow.side
            val fromX = (column + 0.5) / ratio - 0.5
            val fromY = (row + 0.5) / ratio - 0.5
            x += ratio * bordered(flow, fromX, fromY, 0)
            y += ratio * bordered(flow, fromX, fromY, 1)
        }
        if (still) {
            // A flow that leads out of the crop means its border.
            x = x.coerceIn(0.0, side - 1.0)
            y = y.coerceIn(0.0, side - 1.0)
        } else {
            val before = x
            x = region.x(before, y)
            y = region.y(before, y)
        }
        readAll(mask, classes, side, x, y, out, at)
    }
}

/** Bilinear, of all classes at one place; zero beyond the border. */
private fun readAll(mask: FloatArray, classes: Int, side: Int, x: Double, y: Double, out: FloatArray, at: Int) {
    val plane = side * side
    val x0 = floor(x).toInt()
    val y0 = floor(y).toInt()
    val right = (x - x0).toFloat()
    val lower = (y - y0).toFloat()
    val hasLeft = x0 in 0 until side
    val hasRight = x0 + 1 in 0 until side
    val hasUpper = y0 in 0 until side
    val hasLower = y0 + 1 in 0 until side
    val from = y0 * side + x0
    for (label in 0 until classes) {
        val first = label * plane + from
        var sum = 0f
        if (hasUpper && hasLeft) sum += (1 - lower) * (1 - right) * mask[first]
        if (hasUpper && hasRight) sum += (1 - lower) * right * mask[first + 1]
        if (hasLower && hasLeft) sum += lower * (1 - right) * mask[first + side]
        if (hasLower && hasRight) sum += lower * right * mask[first + side + 1]
        out[label * plane + at] = sum
    }
}

/** Luma of a crop, averaged to a small side. */
class GreyShrink(private val size: Int, private val side: Int) {
    private val full = FloatArray(size * size)
    private val small = FloatArray(side * side)
    private val shrink = AreaShrink(size, side)

    /** @param out (side, side), 0 to 255. */
    fun shrink(crop: Picture, out: IntArray) {
        require(crop.height == size && crop.width == size) { "a crop of ${crop.height} x ${crop.width}" }
        for (pixel in full.indices) full[pixel] = luma(crop.pixels, 3 * pixel).toFloat()
        shrink.shrink(full, 0, small, 0)
        for (pixel in small.indices) out[pixel] = (small[pixel] + 0.5f).toInt()
    }
}
