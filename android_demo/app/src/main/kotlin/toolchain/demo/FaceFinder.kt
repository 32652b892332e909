package toolchain.demo

import android.graphics.Bitmap
import com.google.android.gms.tasks.Tasks
import com.google.mlkit.vision.common.InputImage
import com.google.mlkit.vision.face.Face
import com.google.mlkit.vision.face.FaceDetection
import com.google.mlkit.vision.face.FaceDetectorOptions
import com.google.mlkit.vision.face.FaceLandmark
import toolchain.face.Box
import toolchain.face.Detector
import toolchain.face.Picture
import toolchain.face.boxOfLandmarks

/**
 * Faces by ML Kit, as boxes of the contract.
 *
 * ML Kit and not MediaPipe: its model is inside of the library, so that there is no file to fetch, and it gives
 * eyes and mouth, from which the contract's box follows. A face without them, such as a profile, is not taken:
 * ML Kit's own box is another one. To be used on one thread, and not on the main one.
 */
class FaceFinder : Detector, AutoCloseable {
    private val detector = FaceDetection.getClient(
        FaceDetectorOptions.Builder()
            .setPerformanceMode(FaceDetectorOptions.PERFORMANCE_MODE_FAST)
            .setLandmarkMode(FaceDetectorOptions.LANDMARK_MODE_ALL)
            .build(),
    )
    private val screen = ScreenPicture()

    override fun detect(picture: Picture): List<Box> {
        val image = InputImage.fromBitmap(screen.of(picture), 0)
        return Tasks.await(detector.process(image)).mapNotNull { box(it) }.sortedByDescending { it.side }
    }

    override fun close() = detector.close()

    private fun box(face: Face): Box? {
        val eye = face.getLandmark(FaceLandmark.LEFT_EYE)?.position ?: return null
        val other = face.getLandmark(FaceLandmark.RIGHT_EYE)?.position ?: return null
        val left = face.getLandmark(FaceLandmark.MOUTH_LEFT)?.position ?: return null
        val right = face.getLandmark(FaceLandmark.MOUTH_RIGHT)?.position ?: return null
        return boxOfLandmarks(
            eye.x.toDouble(), eye.y.toDouble(), other.x.toDouble(), other.y.toDouble(),
            (left.x + right.x) / 2.0, (left.y + right.y) / 2.0,
        )
    }
}

/** A picture as a bitmap, in arrays that are made once per size. */
class ScreenPicture {
    private var bitmap: Bitmap? = null
    private var colors = IntArray(0)

    /** The bitmap holds until the next call. */
    fun of(picture: Picture): Bitmap {
        var target = bitmap
        if (target == null || target.width != picture.width || target.height != picture.height) {
            target = Bitmap.createBitmap(picture.width, picture.height, Bitmap.Config.ARGB_8888)
            colors = IntArray(picture.width * picture.height)
            bitmap = target
        }
        for (pixel in colors.indices) {
            val at = 3 * pixel
            colors[pixel] = OPAQUE or
                ((picture.pixels[at].toInt() and BYTE) shl 16) or
                ((picture.pixels[at + 1].toInt() and BYTE) shl 8) or
                (picture.pixels[at + 2].toInt() and BYTE)
        }
        target.setPixels(colors, 0, picture.width, 0, 0, picture.width, picture.height)
        return target
    }

    private companion object {
        const val BYTE = 0xff
        const val OPAQUE = BYTE shl 24
    }
}
