package toolchain.demo

import android.content.Context
import java.io.File
import java.io.IOException
import java.text.SimpleDateFormat
import java.util.Date
import java.util.Locale
import java.util.TimeZone
import toolchain.face.Entry
import toolchain.face.Figures
import toolchain.face.Json
import toolchain.face.MeasuredFile
import toolchain.face.Picture
import toolchain.face.Refusal
import toolchain.face.Report
import toolchain.face.Stage
import toolchain.face.TimeLog

/** What a measurement ended with. */
class Measured(val file: File, val total: Figures)

/** Reports of the times of frames, in the format that `toolchain benchmark report` reads. */
class Benchmark(private val context: Context, private val device: DeviceState) {
    private val runs = context.resources.getInteger(R.integer.benchmark_frames)
    private val warmup = context.resources.getInteger(R.integer.benchmark_warmup)

    /**
     * Measures a file anew on the bundled clip, or on synthetic frames without one. On the inference thread.
     *
     * @throws Refusal the file cannot be run, the clip shows no face, or the report cannot be written.
     */
    fun run(name: String, wanted: Accelerator, effect: Effect, artefacts: Artefacts): Measured {
        val clip = ClipFrames(context)
        val frames = if (clip.count > 0) clip else SyntheticFrames(context)
        val thermal = device.thermal()
        val memory = linkedMapOf<String, Double>()
        device.residentMb()?.let { memory["before"] = it }
        val began = System.nanoTime()
        val artefact = artefacts.load(name)
        return LiteRtNetwork.load(context, artefact, wanted).use { network ->
            FaceFinder().use { finder ->
                val times = TimeLog(runs)
                val processor = FrameProcessor(context, artefact.contract, network, frames.detector ?: finder, effect, times)
                val loadMs = (System.nanoTime() - began) / NANOSECONDS
                device.residentMb()?.let { memory["loaded"] = it }
                val course = course(frames, processor, times)
                device.peakMb()?.let { memory["peak"] = it }
                val entry = entry(artefact, network, times, loadMs, course, memory)
                val settings = linkedMapOf<String, Any?>(
                    "runs" to runs, "source" to frames.source, "size" to listOf(frames.width, frames.height),
                    "effect" to effect.key, "faces" to 1, "accelerator" to network.accelerator.name.lowercase(),
                    "wanted" to wanted.name.lowercase(), "fallback" to network.fallback,
                )
                write(entry, settings, thermal)
            }
        }
    }

    /** Saves the times of the latest frames of the camera. */
    fun saveLive(live: LiveNetwork, size: List<Int>): Measured {
        // Nothing says whether the times had settled when the latest frames began.
        val entry = entry(live.artefact, live.network, live.times, live.loadMs, Course(live.firstMs, 0, false, emptyMap()), emptyMap())
        val settings = linkedMapOf<String, Any?>(
            "runs" to live.times.count, "source" to context.getString(R.string.source_camera), "size" to size,
            "effect" to live.effect.key, "faces" to 1, "accelerator" to live.network.accelerator.name.lowercase(),
        )
        return write(entry, settings, live.thermal)
    }

    private class Course(val firstMs: Double, val warmup: Int, val steady: Boolean, val shares: Map<String, Double>)

    private fun course(frames: Frames, processor: FrameProcessor, times: TimeLog): Course {
        val picture = Picture(frames.height, frames.width)
        var number = 0
        fun next() {
            if (number % frames.count == 0) processor.reset()
            frames.read(number++, picture)
            processor.process(picture)
        }
        next()
        val firstMs = processor.totalMs
        val before = DoubleArray(warmup) {
            next()
            processor.totalMs
        }
        times.clear()
        var detected = 0
        var withFace = 0
        repeat(runs) {
            next()
            if (processor.detected) detected++
            if (processor.hasFace) withFace++
        }
        // Without a face there is nothing to measure; frames with a given box say that they have none.
        if (withFace == 0 && frames.detector == null) throw Refusal(context.getString(R.string.no_face_in_clip, runs, frames.source))
        val shares = linkedMapOf(
            "detected" to detected.toDouble() / runs, "tracked" to 1 - detected.toDouble() / runs,
            "with_face" to withFace.toDouble() / runs,
        )
        return Course(firstMs, warmup, warmup > 0 && !Figures.of(before).drifted, shares)
    }

    private fun entry(
        artefact: Artefact, network: LiteRtNetwork, times: TimeLog, loadMs: Double, course: Course, memory: Map<String, Double>,
    ): Entry {
        val contract = artefact.contract
        val file = MeasuredFile(
            artefact.file, contract.sha256, contract.bytes, contract.format, contract.precision, contract.name,
            contract.parity?.asJson(),
        )
        val onCpu = network.accelerator == Accelerator.CPU
        return Entry(
            artefact.file, context.getString(R.string.runtime, context.getString(network.accelerator.label)),
            if (onCpu) context.resources.getInteger(R.integer.threads) else null, file, loadMs, course.firstMs,
            course.warmup, course.steady, 1, times.frames(), times.atSeconds(), memory, course.shares, null,
        )
    }

    private fun write(entry: Entry, settings: Map<String, Any?>, thermal: String): Measured {
        val details = linkedMapOf<String, Any?>(
            "app" to context.getString(R.string.app_version),
            "thermal" to linkedMapOf("before" to thermal, "after" to device.thermal()), "battery" to device.battery(),
        )
        val now = Date()
        val command = listOf(context.getString(R.string.app_name), settings.getValue("source").toString())
        val machine = linkedMapOf<String, Any?>("system" to device.system, "cores" to device.cores)
        val report = Report(utc(R.string.time_in_report, now), command, device.name, details, machine, settings, listOf(entry))
        val folder = context.getExternalFilesDir(null) ?: throw Refusal(context.getString(R.string.no_storage))
        val file = File(folder, context.getString(R.string.report_file, utc(R.string.time_in_name, now)))
        try {
            file.writeText(Json.write(report.asJson()))
        } catch (error: IOException) {
            throw Refusal(context.getString(R.string.not_saved, error.message), error)
        }
        return Measured(file, Figures.of(entry.frames.map { it.getValue(Stage.TOTAL.key) }.toDoubleArray()))
    }

    private fun utc(pattern: Int, time: Date): String = SimpleDateFormat(context.getString(pattern), Locale.ROOT)
        .apply { timeZone = TimeZone.getTimeZone("UTC") }
        .format(time)

    private companion object {
        const val NANOSECONDS = 1e6
    }
}
