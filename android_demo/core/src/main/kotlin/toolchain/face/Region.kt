package toolchain.face

import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min
import kotlin.math.sqrt

/** A face in pixels of the picture; [x] and [y] are its left and its upper edge. */
data class Box(val x: Double, val y: Double, val width: Double, val height: Double) {
    val centreX: Double get() = x + width / 2
    val centreY: Double get() = y + height / 2

    /** The longer side, in which the contract's lengths are given. */
    val side: Double get() = max(width, height)

    companion object {
        /** The square box with that centre. */
        fun around(centreX: Double, centreY: Double, side: Double): Box =
            Box(centreX - side / 2, centreY - side / 2, side, side)
    }
}

/** An upright square in the picture, which may reach beyond it. */
data class Square(val x: Double, val y: Double, val side: Double) {
    /** The nearest square whose edges lie between pixels; halves go to even numbers. */
    fun whole(): Square {
        val whole = max(1.0, Math.rint(side))
        val middleX = x + side / 2
        val middleY = y + side / 2
        return Square(Math.rint(middleX - whole / 2), Math.rint(middleY - whole / 2), whole)
    }
}

/** Region of interest of a face: [margin] times the longer side of the box, moved down by [shift] times it. */
fun faceSquare(box: Box, margin: Double, shift: Double): Square {
    val unit = box.side
    val side = margin * unit
    return Square(box.x + box.width / 2 - side / 2, box.y + box.height / 2 + shift * unit - side / 2, side)
}

/** The smallest square that holds the whole picture, centred on it. */
fun wholeSquare(height: Int, width: Int): Square = centred(height, width, max(height, width))

/** The largest square inside the picture, centred. */
fun centralSquare(height: Int, width: Int): Square = centred(height, width, min(height, width))

private fun centred(height: Int, width: Int, side: Int): Square =
    Square((width - side) / 2.0, (height - side) / 2.0, side.toDouble())

/**
 * An affine map (x, y) -> (a x + b y + c, d x + e y + f) between pixel centres at whole numbers.
 *
 * It is changed in place, so that a video needs a few of them and no more.
 */
class Affine(
    var a: Double = 1.0, var b: Double = 0.0, var c: Double = 0.0,
    var d: Double = 0.0, var e: Double = 1.0, var f: Double = 0.0,
) {
    fun x(x: Double, y: Double): Double = a * x + b * y + c

    fun y(x: Double, y: Double): Double = d * x + e * y + f

    /** Length in the target of one pixel of the source. */
    val scale: Double get() = sqrt(abs(a * e - b * d))

    /** Whether it changes nothing, to a millionth of a pixel. */
    val isStill: Boolean
        get() = max(
            max(max(abs(a - 1), abs(b)), max(abs(c), abs(d))),
            max(abs(e - 1), abs(f)),
        ) < STILL

    fun set(a: Double, b: Double, c: Double, d: Double, e: Double, f: Double): Affine {
        this.a = a
        this.b = b
        this.c = c
        this.d = d
        this.e = e
        this.f = f
        return this
    }

    fun set(other: Affine): Affine = set(other.a, other.b, other.c, other.d, other.e, other.f)

    /** From picture pixels to those of a crop of [size] x [size]. */
    fun setCrop(square: Square, size: Int): Affine {
        val scale = size / square.side
        return set(scale, 0.0, scale * (0.5 - square.x) - 0.5, 0.0, scale, scale * (0.5 - square.y) - 0.5)
    }

    fun setInverse(of: Affine): Affine {
        val factor = 1 / (of.a * of.e - of.b * of.d)
        val a = of.e * factor
        val b = -of.b * factor
        val d = -of.d * factor
        val e = of.a * factor
        return set(a, b, -(a * of.c + b * of.f), d, e, -(d * of.c + e * of.f))
    }

    /** [first] applied to what [second] gives. */
    fun setJoined(first: Affine, second: Affine): Affine = set(
        first.a * second.a + first.b * second.d,
        first.a * second.b + first.b * second.e,
        first.a * second.c + first.b * second.f + first.c,
        first.d * second.a + first.e * second.d,
        first.d * second.b + first.e * second.e,
        first.d * second.c + first.e * second.f + first.f,
    )

    /** A map from a picture to a crop of [size] pixels, as one to the crop shrunk to [side]. */
    fun setShrunk(of: Affine, size: Int, side: Int): Affine {
        val scale = side.toDouble() / size
        val middle = 0.5 * scale - 0.5
        return set(
            scale * of.a, scale * of.b, scale * of.c + middle, scale * of.d, scale * of.e, scale * of.f + middle,
        )
    }

    /** From a crop to the crop before, of their maps from the picture. */
    fun setCropBetween(before: Affine, now: Affine): Affine = setJoined(before, Affine().setInverse(now))

    /** A map between crops of [size] pixels, as one between them when they are shrunk to [side]. */
    fun setShrunkRegion(of: Affine, size: Int, side: Int): Affine {
        val scale = side.toDouble() / size
        val middle = 0.5 / scale - 0.5
        return set(
            of.a, of.b, scale * ((of.a + of.b) * middle + of.c + 0.5) - 0.5,
            of.d, of.e, scale * ((of.d + of.e) * middle + of.f + 0.5) - 0.5,
        )
    }

    private companion object {
        const val STILL = 1e-6
    }
}
