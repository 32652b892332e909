package toolchain.demo

import android.content.Context
import android.graphics.BitmapFactory
import java.io.IOException
import toolchain.face.Box
import toolchain.face.Detector
import toolchain.face.Picture
import toolchain.face.Refusal

/** Frames of a benchmark, over and over. */
interface Frames {
    /** What a report calls them. */
    val source: String
    val width: Int
    val height: Int

    /** How many there are before they begin anew. */
    val count: Int

    /** A detector of their own; null when faces are to be searched. */
    val detector: Detector?

    /** Writes frame [number] into [out]. */
    fun read(number: Int, out: Picture)
}

/** The pictures in the clip folder of the assets, in the order of their names. */
class ClipFrames(private val context: Context) : Frames {
    private val folder = context.getString(R.string.clip_folder)
    private val suffix = context.getString(R.string.clip_suffix)
    private val names = context.assets.list(folder).orEmpty().filter { it.endsWith(suffix) }.sorted()
    private var colors = IntArray(0)
    override val source: String = context.getString(R.string.source_clip)
    override val count: Int = names.size
    override val detector: Detector? = null
    override val width: Int
    override val height: Int

    init {
        val first = if (names.isEmpty()) null else decode(names[0])
        width = first?.width ?: 0
        height = first?.height ?: 0
    }

    override fun read(number: Int, out: Picture) {
        val name = names[number % count]
        val bitmap = decode(name)
        if (bitmap.width != out.width || bitmap.height != out.height) throw Refusal(context.getString(R.string.bad_clip, name))
        if (colors.size != out.width * out.height) colors = IntArray(out.width * out.height)
        bitmap.getPixels(colors, 0, out.width, 0, 0, out.width, out.height)
        for (pixel in colors.indices) {
            out.pixels[3 * pixel] = (colors[pixel] shr 16).toByte()
            out.pixels[3 * pixel + 1] = (colors[pixel] shr 8).toByte()
            out.pixels[3 * pixel + 2] = colors[pixel].toByte()
        }
    }

    private fun decode(name: String) = try {
        context.assets.open("$folder/$name").use { BitmapFactory.decodeStream(it) }
    } catch (error: IOException) {
        null
    } ?: throw Refusal(context.getString(R.string.bad_clip, name))
}

/**
 * Frames without a clip: a moving pattern and a given box in its middle, so that one region is parsed a frame.
 *
 * There is no face in them: times of detection and effects are not those of a face, and reports say so.
 */
class SyntheticFrames(context: Context) : Frames {
    override val source: String = context.getString(R.string.source_synthetic)
    override val width: Int = context.resources.getInteger(R.integer.frame_width)
    override val height: Int = context.resources.getInteger(R.integer.frame_height)
    override val count: Int = Int.MAX_VALUE
    private val side = minOf(width, height) / 2.0
    private val boxes = listOf(Box.around(width / 2.0, height / 2.0, side))
    override val detector: Detector = Detector { boxes }

    override fun read(number: Int, out: Picture) {
        for (at in out.pixels.indices) out.pixels[at] = (at / 3 % width + at / 3 / width + number * (at % 3 + 1)).toByte()
    }
}
