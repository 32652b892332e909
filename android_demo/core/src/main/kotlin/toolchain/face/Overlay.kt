package toolchain.face

internal const val FULL = 255

internal fun requireShare(value: Double, name: String) {
    if (value !in 0.0..1.0) throw Refusal("$name $value is not between 0 and 1")
}

/** round(value / 255) of a value below 2^16 (Blinn, "Three wrongs make a right", 1995). */
internal fun dividedByFull(value: Int): Int {
    val shifted = value + 128
    return (shifted + (shifted shr 8)) shr 8
}

/**
 * The colour of every pixel's class over a picture; outlines are smoothed over one pixel.
 *
 * @param palette RGB (0-255) per label.
 * @param alpha opacity of the colours, 0-1.
 * @param hidden labels that are not drawn.
 */
class Overlay(palette: List<IntArray>, alpha: Double, hidden: Set<Int> = setOf(BACKGROUND)) {
    private val colors = IntArray(BYTE_VALUES * 3)
    private val drawn = BooleanArray(BYTE_VALUES)
    private val share: Int

    init {
        requireShare(alpha, "opacity")
        share = Math.rint(alpha * FULL).toInt()
        palette.forEachIndexed { label, color ->
            drawn[label] = label !in hidden
            if (drawn[label]) for (channel in 0..2) colors[3 * label + channel] = color[channel]
        }
    }

    /** Paints into [picture]; [labels] are (height, width). */
    fun paint(picture: Picture, labels: ByteArray) {
        val height = picture.height
        val width = picture.width
        require(labels.size == height * width) { "${labels.size} labels for $height x $width" }
        for (row in 0 until height) for (column in 0 until width) {
            val at = row * width + column
            if (row in 1 until height - 1 && column in 1 until width - 1 && isEven(labels, at, width)) {
                val label = labels[at].toInt() and 0xff
                if (drawn[label]) mix(picture.pixels, 3 * at, FULL, colors[3 * label], colors[3 * label + 1], colors[3 * label + 2])
            } else {
                smooth(picture, labels, row, column)
            }
        }
    }

    /** Whether a pixel has the label of all its neighbours. */
    private fun isEven(labels: ByteArray, at: Int, width: Int): Boolean {
        val label = labels[at]
        return labels[at - 1] == label && labels[at + 1] == label &&
            labels[at - width] == label && labels[at - width - 1] == label && labels[at - width + 1] == label &&
            labels[at + width] == label && labels[at + width - 1] == label && labels[at + width + 1] == label
    }

    private fun smooth(picture: Picture, labels: ByteArray, row: Int, column: Int) {
        var weight = 0
        var red = 0
        var green = 0
        var blue = 0
        for (dy in -1..1) for (dx in -1..1) {
            val y = mirrored(row + dy, picture.height)
            val x = mirrored(column + dx, picture.width)
            val label = labels[y * picture.width + x].toInt() and 0xff
            if (!drawn[label]) continue
            val times = (2 - dx * dx) * (2 - dy * dy)
            weight += times * FULL
            red += times * colors[3 * label]
            green += times * colors[3 * label + 1]
            blue += times * colors[3 * label + 2]
        }
        if (weight == 0) return
        val at = 3 * (row * picture.width + column)
        mix(picture.pixels, at, (weight + 8) shr 4, (red + 8) shr 4, (green + 8) shr 4, (blue + 8) shr 4)
    }

    /** below * (1 - alpha * opacity) + alpha * color, which is already multiplied by the opacity. */
    private fun mix(pixels: ByteArray, at: Int, opacity: Int, red: Int, green: Int, blue: Int) {
        val remains = Math.rint(FULL - share / FULL.toDouble() * opacity).toInt()
        pixels[at] = dividedByFull(red * share + (pixels[at].toInt() and 0xff) * remains).toByte()
        pixels[at + 1] = dividedByFull(green * share + (pixels[at + 1].toInt() and 0xff) * remains).toByte()
        pixels[at + 2] = dividedByFull(blue * share + (pixels[at + 2].toInt() and 0xff) * remains).toByte()
    }

    companion object {
        /** Opacity at which both the colours and the face can be seen. */
        const val ALPHA = 0.55
    }
}
