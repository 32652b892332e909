package toolchain.demo

import android.content.Context
import android.util.Size
import androidx.camera.core.CameraSelector
import androidx.camera.core.ImageAnalysis
import androidx.camera.core.ImageProxy
import androidx.camera.core.Preview
import androidx.camera.core.resolutionselector.ResolutionSelector
import androidx.camera.core.resolutionselector.ResolutionStrategy
import androidx.camera.lifecycle.ProcessCameraProvider
import androidx.camera.view.PreviewView
import androidx.core.content.ContextCompat
import androidx.lifecycle.LifecycleOwner
import java.util.concurrent.ExecutionException
import java.util.concurrent.Executor
import toolchain.face.Picture

/**
 * The camera's frames, upright. The newest one wins: frames that come while one is processed are dropped.
 *
 * @param executor the one thread that frames are handed to.
 * @param onFrame gets a picture that holds until it returns.
 * @param onFailure gets why there is no camera, on the main thread.
 */
class CameraFrames(
    private val context: Context,
    private val executor: Executor,
    private val onFrame: (Picture) -> Unit,
    private val onFailure: (String) -> Unit,
) {
    private var picture = Picture(0, 0)
    private var row = ByteArray(0)

    /** Shows the preview and hands frames out for as long as [owner] is started. */
    fun start(owner: LifecycleOwner, view: PreviewView, front: Boolean) {
        val coming = ProcessCameraProvider.getInstance(context)
        coming.addListener({
            try {
                bind(coming.get(), owner, view, front)
            } catch (error: ExecutionException) {
                onFailure(error.cause?.message ?: error.toString())
            } catch (error: IllegalArgumentException) {
                onFailure(error.message ?: error.toString())
            } catch (error: IllegalStateException) {
                onFailure(error.message ?: error.toString())
            }
        }, ContextCompat.getMainExecutor(context))
    }

    private fun bind(provider: ProcessCameraProvider, owner: LifecycleOwner, view: PreviewView, front: Boolean) {
        val preview = Preview.Builder().build()
        preview.setSurfaceProvider(view.surfaceProvider)
        val size = Size(context.resources.getInteger(R.integer.frame_width), context.resources.getInteger(R.integer.frame_height))
        val sizes = ResolutionSelector.Builder()
            .setResolutionStrategy(ResolutionStrategy(size, ResolutionStrategy.FALLBACK_RULE_CLOSEST_HIGHER_THEN_LOWER))
            .build()
        val analysis = ImageAnalysis.Builder()
            .setResolutionSelector(sizes)
            .setBackpressureStrategy(ImageAnalysis.STRATEGY_KEEP_ONLY_LATEST)
            .setOutputImageFormat(ImageAnalysis.OUTPUT_IMAGE_FORMAT_RGBA_8888)
            .setOutputImageRotationEnabled(true)
            .build()
        analysis.setAnalyzer(executor) { frame -> frame.use { onFrame(copied(it)) } }
        provider.unbindAll()
        val camera = if (front) CameraSelector.DEFAULT_FRONT_CAMERA else CameraSelector.DEFAULT_BACK_CAMERA
        provider.bindToLifecycle(owner, camera, preview, analysis)
    }

    private fun copied(frame: ImageProxy): Picture {
        if (picture.height != frame.height || picture.width != frame.width) picture = Picture(frame.height, frame.width)
        val plane = frame.planes[0]
        val pixel = plane.pixelStride
        val length = (frame.width - 1) * pixel + COLORS
        if (row.size != length) row = ByteArray(length)
        var to = 0
        for (line in 0 until frame.height) {
            plane.buffer.position(line * plane.rowStride)
            plane.buffer.get(row)
            for (column in 0 until frame.width) for (color in 0 until COLORS) picture.pixels[to++] = row[column * pixel + color]
        }
        return picture
    }

    private companion object {
        // Of RGBA, what is kept.
        const val COLORS = 3
    }
}
