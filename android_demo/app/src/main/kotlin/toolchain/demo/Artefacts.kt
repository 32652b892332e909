package toolchain.demo

import android.content.Context
import java.io.FileInputStream
import java.io.IOException
import java.nio.MappedByteBuffer
import java.nio.channels.FileChannel
import java.security.MessageDigest
import toolchain.face.Contract
import toolchain.face.Refusal

/** A model file with its checked sidecar. */
class Artefact(val file: String, val contract: Contract, val content: MappedByteBuffer)

/** The model files that `toolchain export --app android` put into the assets. */
class Artefacts(private val context: Context) {
    private val folder = context.getString(R.string.models_folder)
    private val format = context.getString(R.string.model_format)
    private val sidecarSuffix = context.getString(R.string.sidecar_suffix)

    /** Names of all model files, in the order of the alphabet; empty when none was exported. */
    fun names(): List<String> = context.assets.list(folder).orEmpty().filter { it.endsWith(".$format") }.sorted()

    /**
     * Reads a model file and its sidecar.
     *
     * @throws Refusal one of them is missing or damaged, or the sidecar is that of another file or version.
     */
    fun load(name: String): Artefact {
        val contract = Contract.read(name, sidecar(name))
        if (contract.format != format) throw Refusal(context.getString(R.string.other_format, name, contract.format))
        val content = content(name)
        val digest = MessageDigest.getInstance(context.getString(R.string.digest)).digest(content)
        if (digest != contract.sha256) throw Refusal(context.getString(R.string.other_file, name))
        return Artefact(name, contract, content)
    }

    private fun MessageDigest.digest(content: MappedByteBuffer): String {
        update(content.duplicate())
        return digest().joinToString("") { "%02x".format(it) }
    }

    private fun sidecar(name: String): String = try {
        context.assets.open("$folder/$name$sidecarSuffix").use { it.readBytes().decodeToString() }
    } catch (error: IOException) {
        throw Refusal(context.getString(R.string.no_sidecar, name, name + sidecarSuffix), error)
    }

    private fun content(name: String): MappedByteBuffer = try {
        context.assets.openFd("$folder/$name").use { place ->
            FileInputStream(place.fileDescriptor).channel.use {
                it.map(FileChannel.MapMode.READ_ONLY, place.startOffset, place.declaredLength)
            }
        }
    } catch (error: IOException) {
        throw Refusal(context.getString(R.string.unreadable, name), error)
    }
}
