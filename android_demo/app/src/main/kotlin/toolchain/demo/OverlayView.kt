package toolchain.demo

import android.content.Context
import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Matrix
import android.graphics.Paint
import android.util.AttributeSet
import android.view.View
import toolchain.face.Picture

/**
 * Shows processed frames over the preview.
 *
 * The frame itself is drawn and not its labels alone: over a preview that is some frames ahead they would lag.
 */
class OverlayView(context: Context, attributes: AttributeSet?) : View(context, attributes) {
    private val lock = Any()
    private val screen = ScreenPicture()
    private val place = Matrix()
    private val paint = Paint(Paint.FILTER_BITMAP_FLAG)
    private var bitmap: Bitmap? = null
    private var mirrored = false

    /** Takes a copy of a frame; on any thread. */
    fun show(picture: Picture, mirror: Boolean) {
        synchronized(lock) {
            bitmap = screen.of(picture)
            mirrored = mirror
        }
        postInvalidate()
    }

    /** Shows the preview beneath again. */
    fun clear() {
        synchronized(lock) { bitmap = null }
        postInvalidate()
    }

    override fun onDraw(canvas: Canvas) {
        synchronized(lock) {
            val shown = bitmap ?: return
            // As PreviewView does by default: the middle fills the view.
            val scale = maxOf(width.toFloat() / shown.width, height.toFloat() / shown.height)
            place.setScale(if (mirrored) -scale else scale, scale)
            place.postTranslate(
                (width + (if (mirrored) scale else -scale) * shown.width) / 2,
                (height - scale * shown.height) / 2,
            )
            canvas.drawBitmap(shown, place, paint)
        }
    }
}
