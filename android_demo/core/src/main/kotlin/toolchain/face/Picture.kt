package toolchain.face

/** An RGB picture: [pixels] are rows of red, green and blue bytes. */
class Picture(val height: Int, val width: Int, val pixels: ByteArray = ByteArray(height * width * 3)) {
    init {
        require(pixels.size == height * width * 3) { "${pixels.size} bytes are no $height x $width picture" }
    }

    fun isLike(other: Picture): Boolean = height == other.height && width == other.width
}

// Luma of ITU-R BT.601 in 1 / 2^15, as whole numbers.
private const val LUMA_RED = 9798
private const val LUMA_GREEN = 19235
private const val LUMA_BLUE = 3735
private const val LUMA_BITS = 15

internal fun luma(red: Int, green: Int, blue: Int): Int =
    (red * LUMA_RED + green * LUMA_GREEN + blue * LUMA_BLUE + (1 shl (LUMA_BITS - 1))) shr LUMA_BITS

/** Luma of the pixel whose red byte is at [at]. */
internal fun luma(pixels: ByteArray, at: Int): Int =
    luma(pixels[at].toInt() and 0xff, pixels[at + 1].toInt() and 0xff, pixels[at + 2].toInt() and 0xff)

/** Position of a neighbour beyond the border: mirrored, without the border itself. */
internal fun mirrored(at: Int, length: Int): Int {
    if (length == 1) return 0
    var place = at
    while (place < 0 || place >= length) place = if (place < 0) -place else 2 * (length - 1) - place
    return place
}
