package toolchain.demo

import android.content.Context
import toolchain.face.Contract
import toolchain.face.Detector
import toolchain.face.FaceEngine
import toolchain.face.FaceParser
import toolchain.face.Lipstick
import toolchain.face.Network
import toolchain.face.Overlay
import toolchain.face.Picture
import toolchain.face.Stage
import toolchain.face.Stages
import toolchain.face.TimeLog

/** What is drawn over a face; the colour of lipstick is in colors.xml. */
enum class Effect(val label: Int, val key: String) {
    COLORS(R.string.effect_colors, "mask"),
    LIPSTICK(R.string.effect_lipstick, "lipstick"),
}

/**
 * Finds, follows and parses the face of a video, draws the effect, and keeps the times of the stages.
 *
 * @param times gets the times of every frame.
 * @throws toolchain.face.Refusal the network has no classes for the effect.
 */
class FrameProcessor(
    context: Context, contract: Contract, network: Network, detector: Detector, effect: Effect, private val times: TimeLog,
) {
    private val stages = Stages()
    private val engine = FaceEngine(contract.preprocessing, detector, stages) { FaceParser(contract, network, stages) }
    private val overlay = if (effect == Effect.COLORS) Overlay(contract.palette, Overlay.ALPHA) else null
    private val lipstick = if (effect == Effect.LIPSTICK) {
        Lipstick(contract.labels, contract.size, rgb(context.getColor(R.color.lipstick)))
    } else {
        null
    }

    /** Whether the detector ran for the last frame. */
    val detected: Boolean get() = engine.detected

    /** Whether there was a face in the last frame. */
    var hasFace = false
        private set

    /** Milliseconds of the last frame. */
    val totalMs: Double get() = stages.milliseconds(Stage.TOTAL)

    /** The next frame is the first one of another video. */
    fun reset() = engine.reset()

    /**
     * Draws into [picture].
     *
     * @throws toolchain.face.Refusal the network's output is not finite.
     */
    fun process(picture: Picture) {
        val began = System.nanoTime()
        stages.clear()
        val faces = engine.process(picture)
        stages.measure(Stage.COLORIZATION) {
            overlay?.paint(picture, engine.labels)
            for (index in faces.indices) lipstick?.paint(picture, faces[index].parser.probabilities, faces[index].parser.matrix)
        }
        hasFace = faces.isNotEmpty()
        stages.add(Stage.TOTAL, System.nanoTime() - began)
        times.add(stages, began)
    }

    private companion object {
        /** Red, green and blue of an ARGB colour. */
        fun rgb(color: Int): IntArray = IntArray(3) { (color shr (16 - 8 * it)) and 0xff }
    }
}
