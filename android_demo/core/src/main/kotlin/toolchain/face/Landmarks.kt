package toolchain.face

import kotlin.math.hypot

// Medians over CelebAMask-HQ, see toolchain/face/landmarks.py: side of the box in units of the hypotenuse of
// the distance between the eyes and that from between them to the mouth; and how far the centre of the box
// lies from the point midway between eyes and mouth, towards the eyes, in units of the side.
private const val SIDE_BY_POINTS = 1.742
private const val UP_FROM_POINTS = 0.0955

/** The box, as the contract counts it, of a face whose eyes and mouth are known in pixels of the picture. */
fun boxOfLandmarks(
    eyeX: Double, eyeY: Double, otherEyeX: Double, otherEyeY: Double, mouthX: Double, mouthY: Double,
): Box {
    val middleX = (eyeX + otherEyeX) / 2
    val middleY = (eyeY + otherEyeY) / 2
    val downX = mouthX - middleX
    val downY = mouthY - middleY
    val length = hypot(downX, downY)
    val side = SIDE_BY_POINTS * hypot(hypot(eyeX - otherEyeX, eyeY - otherEyeY), length)
    val up = if (length > 0) UP_FROM_POINTS * side / length else 0.0
    return Box.around(middleX + downX * (0.5 - up), middleY + downY * (0.5 - up), side)
}
