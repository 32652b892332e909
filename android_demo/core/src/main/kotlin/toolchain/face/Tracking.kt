package toolchain.face

import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min

/** A face box that stays while the face is near: labels in a region that shakes would flicker. */
class HeldBox(box: Box) {
    /** The one to make the region from. */
    var box: Box = Box.around(box.centreX, box.centreY, box.side)
        private set

    // Centres of the latest boxes, in a ring.
    private val latestX = DoubleArray(REMEMBERED)
    private val latestY = DoubleArray(REMEMBERED)
    private var seen = 0

    /** Takes the newest box; says whether the region moves. */
    fun follow(newest: Box): Boolean {
        val x = newest.centreX
        val y = newest.centreY
        val side = newest.side
        latestX[seen % REMEMBERED] = x
        latestY[seen % REMEMBERED] = y
        seen++
        if (!isOff(newest)) return false
        // Met halfway, a face that moves steadily moves the region half as often.
        val reach = DRIFT / 2 * side
        val known = min(seen, REMEMBERED)
        val first = (seen - known) % REMEMBERED
        val ahead = AHEAD / 2.0 / max(1, known - 1)
        box = Box.around(
            x + ((x - latestX[first]) * ahead).coerceIn(-reach, reach),
            y + ((y - latestY[first]) * ahead).coerceIn(-reach, reach),
            side,
        )
        return true
    }

    /** Whether a face there is too far from the middle of the region, or of another size. */
    fun isOff(face: Box): Boolean {
        val held = box.side
        val away = max(abs(face.centreX - box.centreX), abs(face.centreY - box.centreY))
        return away > DRIFT * held || face.side / held !in 1 / GROWTH..GROWTH
    }

    // See toolchain/face/tracking.py and clip.py.
    private companion object {
        const val DRIFT = 0.12
        const val GROWTH = 1.2
        const val AHEAD = 15
        const val REMEMBERED = 5
    }
}

/**
 * What a detector says differently from the mask of the same frame, for the masks to come.
 *
 * @property scale side of the detector's box in units of that of the mask's.
 * @property shiftX from the centre of the mask's box to that of the detector's, in units of the mask's side.
 * @property shiftY the same, down.
 */
data class Correction(val scale: Double = 1.0, val shiftX: Double = 0.0, val shiftY: Double = 0.0) {
    /** The box that the detector would draw. */
    fun applied(mask: Box): Box {
        val side = mask.side
        return Box.around(mask.centreX + shiftX * side, mask.centreY + shiftY * side, scale * side)
    }

    companion object {
        private const val MOST_SCALE = 1.25
        private const val MOST_SHIFT = 0.12

        /** From two boxes of one face, within limits: a single detection may be wrong. */
        fun between(mask: Box, detected: Box): Correction {
            val side = mask.side
            return Correction(
                (detected.side / side).coerceIn(1 / MOST_SCALE, MOST_SCALE),
                ((detected.centreX - mask.centreX) / side).coerceIn(-MOST_SHIFT, MOST_SHIFT),
                ((detected.centreY - mask.centreY) / side).coerceIn(-MOST_SHIFT, MOST_SHIFT),
            )
        }
    }
}

/** Intersection over union (0-1). */
fun overlap(first: Box, second: Box): Double {
    val wide = min(first.x + first.width, second.x + second.width) - max(first.x, second.x)
    val high = min(first.y + first.height, second.y + second.height) - max(first.y, second.y)
    val shared = max(0.0, wide) * max(0.0, high)
    return min(1.0, shared / (first.width * first.height + second.width * second.height - shared))
}
