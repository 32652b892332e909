package toolchain.demo

import android.content.Context
import toolchain.face.Picture
import toolchain.face.Refusal
import toolchain.face.TimeLog

/** What the camera's frames go through: one file on one accelerator with one effect. On the inference thread. */
class LiveNetwork(
    context: Context,
    artefacts: Artefacts,
    name: String,
    wanted: Accelerator,
    val effect: Effect,
    device: DeviceState,
) : AutoCloseable {
    private val began = System.nanoTime()
    val thermal: String = device.thermal()
    val artefact: Artefact = artefacts.load(name)
    val times = TimeLog(context.resources.getInteger(R.integer.live_frames))
    val network: LiteRtNetwork = LiteRtNetwork.load(context, artefact, wanted)
    private val finder = FaceFinder()
    private val processor = try {
        FrameProcessor(context, artefact.contract, network, finder, effect, times)
    } catch (error: Refusal) {
        close()
        throw error
    }
    val loadMs: Double = (System.nanoTime() - began) / 1e6

    /** Whether there was a face in the last frame. */
    val hasFace: Boolean get() = processor.hasFace

    /** Milliseconds of the first frame; 0 before it. */
    var firstMs = 0.0
        private set

    fun process(picture: Picture) {
        processor.process(picture)
        if (firstMs == 0.0) firstMs = processor.totalMs
    }

    override fun close() {
        finder.close()
        network.close()
    }
}
