package toolchain.face

import kotlin.math.sqrt

/**
 * A face as its mask shows it.
 *
 * @property box as the contract counts it, in pixels of the picture.
 * @property confidence mean probability (0-1) of "face" over the pixels where it is likely.
 * @property lost why there is no face to follow; "" when there is one.
 * @property doubt why a detector should have a look; "" when there is no reason.
 */
data class MaskFace(val box: Box, val confidence: Double, val lost: String = "", val doubt: String = "")

/**
 * Finds the face in class probabilities; the classes of facial parts are known by the words in their names.
 *
 * @param labels class names.
 * @param side of the planes that are read.
 */
class MaskReader(labels: List<String>, private val side: Int) {
    private val classes = labels.size
    private val kinds: List<List<Part>>
    private val parts: List<Part>
    private val face: IntArray
    private val onlyFace: Boolean
    private val whole = Blob(side)
    private val inverse = Affine()

    init {
        val eyes = named(labels, EYE)
        val nose = named(labels, NOSE)
        val mouth = named(labels, MOUTH)
        kinds = listOf(eyes.map { intArrayOf(it) }, listOf(nose), listOf(mouth))
            .map { kind -> kind.filter { it.isNotEmpty() }.map { Part(it, Blob(side)) } }
            .filter { it.isNotEmpty() }
        parts = kinds.flatten()
        val known = listOf(SKIN, EYE, BROW, NOSE, MOUTH).flatMap { named(labels, it).asList() }
        face = known.toSortedSet().toIntArray()
        onlyFace = face.size == classes - 1
    }

    /**
     * The face in the answer to one crop.
     *
     * @param planes (classes, side, side) probabilities.
     * @param matrix picture to these planes.
     * @param box where the face was when the crop was made.
     * @param height of the picture.
     * @param width of the picture.
     */
    fun read(planes: FloatArray, matrix: Affine, box: Box, height: Int, width: Int): MaskFace {
        require(planes.size == classes * side * side) { "${planes.size} values are no $classes planes of $side x $side" }
        val scale = matrix.scale
        val unit = box.side * scale
        if (onlyFace) whole.readRest(planes) else whole.read(planes, face)
        if (whole.area == 0 || whole.area < LEAST_FACE * unit * unit) return MaskFace(box, 0.0, lost = HARDLY)
        for (part in parts) {
            part.blob.read(planes, part.classes)
            part.seen = part.blob.area > 0 && part.blob.area >= LEAST_PART * unit * unit
        }
        val found = SIDE_BY_SPREAD * whole.spread
        val all = parts.isNotEmpty() && parts.all { it.seen }
        val x = if (all) parts.sumOf { it.blob.x } / parts.size else whole.x
        val y = if (all) parts.sumOf { it.blob.y } / parts.size else whole.y
        val up = y - (if (all) UP_FROM_CENTROID else UP_FROM_FACE) * found
        inverse.setInverse(matrix)
        val place = Box.around(inverse.x(x, up), inverse.y(x, up), found / scale)
        val seenKinds = kinds.count { kind -> kind.any { it.seen } }
        val lost = when {
            seenKinds < minOf(2, kinds.size) -> NO_PARTS
            found / unit !in 1 / JUMP..JUMP -> JUMPED
            whole.confidence < LEAST_CONFIDENCE -> UNSURE
            else -> ""
        }
        val doubt = if (whole.onOutline(matrix, height, width) > 4 * OUTLINE * side) AT_EDGE else ""
        return MaskFace(place, whole.confidence, lost, doubt)
    }

    private class Part(val classes: IntArray, val blob: Blob) {
        var seen = false
    }

    companion object {
        const val HARDLY = "the mask shows hardly any face"
        const val NO_PARTS = "the mask has no eyes, nose or mouth"
        const val JUMPED = "the mask changed its size abruptly"
        const val UNSURE = "the mask is not sure"
        const val AT_EDGE = "the mask reaches the edge of the region or of the picture"

        // Names of kinds of classes and bounds of toolchain/face/tracking.py and landmarks.py, where their
        // origin is told: in units of the box's side, or of its area.
        private val EYE = listOf("eye")
        private val BROW = listOf("brow")
        private val NOSE = listOf("nose")
        private val MOUTH = listOf("lip", "mouth")
        private val SKIN = listOf("skin")
        private const val LEAST_FACE = 0.2
        private const val LEAST_PART = 4e-4
        private const val JUMP = 1.5
        private const val LEAST_CONFIDENCE = 0.85
        private const val OUTLINE = 0.05
        private const val SIDE_BY_SPREAD = 2.760
        private const val UP_FROM_CENTROID = 0.029
        private const val UP_FROM_FACE = 0.002

        /** Classes with one of the words in their names; an eyebrow is no eye, and the background is nothing. */
        private fun named(labels: List<String>, words: List<String>): IntArray = labels.indices.filter { index ->
            val label = labels[index].lowercase()
            index != BACKGROUND && words.any { it in label } && (words == BROW || BROW.none { it in label })
        }.toIntArray()
    }
}

/** Label of what is no class of the network's own. */
internal const val BACKGROUND = 0

/** Where something is likely: area, centroid, spread, and mean probability there. */
private class Blob(private val side: Int) {
    private val likely = BooleanArray(side * side)
    var area = 0
    var x = 0.0
    var y = 0.0
    var spread = 0.0
    var confidence = 0.0

    /** Of the sum of some classes. */
    fun read(planes: FloatArray, classes: IntArray) = measure { at ->
        var sum = 0.0
        for (index in classes) sum += planes[index * side * side + at]
        sum
    }

    /** Of everything but the background. */
    fun readRest(planes: FloatArray) = measure { at -> 1.0 - planes[BACKGROUND * side * side + at] }

    private inline fun measure(value: (Int) -> Double) {
        var count = 0
        var total = 0.0
        var sumX = 0L
        var sumY = 0L
        var squares = 0L
        for (row in 0 until side) for (column in 0 until side) {
            val at = row * side + column
            val share = value(at)
            likely[at] = share >= LIKELY
            if (share < LIKELY) continue
            count++
            total += share
            sumX += column
            sumY += row
            squares += (column * column + row * row).toLong()
        }
        area = count
        if (count == 0) return
        x = sumX.toDouble() / count
        y = sumY.toDouble() / count
        spread = sqrt(maxOf(0.0, squares.toDouble() / count - x * x - y * y))
        confidence = total / count
    }

    /** How many of its pixels lie on the outline of what the (upright) crop shows of the picture. */
    fun onOutline(matrix: Affine, height: Int, width: Int): Int {
        val left = bound(matrix.x(0.0, 0.0))
        val top = bound(matrix.y(0.0, 0.0))
        val right = bound(matrix.x(width - 1.0, height - 1.0))
        val bottom = bound(matrix.y(width - 1.0, height - 1.0))
        var count = 0
        for (at in 0 until side) {
            if (likely[top * side + at]) count++
            if (likely[bottom * side + at]) count++
            if (likely[at * side + left]) count++
            if (likely[at * side + right]) count++
        }
        return count
    }

    private fun bound(place: Double): Int = Math.rint(place).coerceIn(0.0, side - 1.0).toInt()

    private companion object {
        const val LIKELY = 0.5
    }
}
