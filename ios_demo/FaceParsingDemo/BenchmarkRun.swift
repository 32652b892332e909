import FaceParsing
import Foundation

/// Measures frames and writes a results file that `toolchain benchmark report` reads.
struct BenchmarkRun {
    static let warmupFrames: Int = 10

    let choice: ModelChoice
    let unit: ComputeUnit
    let effect: EffectChoice
    let frames: Int

    /// What was measured, and where the results file is.
    struct Outcome {
        let total: Figures
        let thermalBefore: String
        let thermalAfter: String
        let file: URL
        let notice: String?
    }

    /// One frame's times, and when it began.
    private struct Measured {
        var frames: [[String: Double]] = []
        var at: [Double] = []
        var detected: Int = 0
        var withFace: Int = 0
        var peak: Double = 0
    }

    /// Takes as long as the frames take; `progress` is called on the same thread with 0-1.
    func run(progress: (Double) -> Void) throws -> Outcome {
        let thermalBefore: String = DeviceState.thermal
        let before: Double? = DeviceState.memory
        let side: Int = choice.contract.size
        let clip: ClipFrames? = try ClipFrames.bundled(limit: frames)
        let source: FrameSource
        if let found = clip {
            source = found
        } else {
            source = SyntheticFrames(width: 2 * side, height: 2 * side)
        }
        let pipeline = try FramePipeline(choice, unit: unit, effect: effect)
        let loaded: Double? = DeviceState.memory
        let first: ShownFrame = try shown(source, 0, source.frame(0), pipeline)
        var warmup: [Double] = []
        for number in 1...BenchmarkRun.warmupFrames {
            warmup.append(try shown(source, number, source.frame(number), pipeline).milliseconds[.total] ?? 0)
        }
        let settled = try Figures(warmup)
        let measured: Measured = try measure(source, pipeline, progress)
        let picture: Picture = try source.frame(0)
        let thermalAfter: String = DeviceState.thermal
        let totals: [Double] = measured.frames.compactMap { $0[Stage.total.rawValue] }
        let count: Double = Double(frames)
        var memory: [String: Double] = [:]
        if let start = before, let ready = loaded {
            memory = ["before": start, "loaded": ready, "peak": max(measured.peak, ready)]
        }
        let entry = try ReportEntry(
            name: choice.id, runtime: "Core ML \(DeviceState.system) \(pipeline.network.unit.rawValue)", threads: nil,
            file: measuredFile(), loadMs: pipeline.network.loadMs, firstMs: first.milliseconds[.total] ?? 0,
            warmupRuns: BenchmarkRun.warmupFrames, steady: !settled.drifted, repeats: 1,
            frames: measured.frames, atS: measured.at, memoryMb: memory,
            shares: [
                "detected": Double(measured.detected) / count,
                "tracked": Double(frames - measured.detected) / count,
                "with_face": Double(measured.withFace) / count,
            ],
            partial: nil)
        let report = try Report(
            created: ISO8601DateFormatter().string(from: Date()), command: ["FaceParsingDemo", "benchmark"],
            lane: lane(thermalBefore, thermalAfter),
            machine: [
                "system": .string(DeviceState.system),
                "cores": .integer(ProcessInfo.processInfo.activeProcessorCount),
            ],
            settings: [
                "runs": .integer(frames), "source": .string(source.title),
                "size": .array([.integer(picture.width), .integer(picture.height)]),
                "effect": .string(effect.rawValue), "faces": .integer(1),
            ],
            entries: [entry])
        return Outcome(
            total: try Figures(totals), thermalBefore: thermalBefore, thermalAfter: thermalAfter,
            file: try save(report), notice: pipeline.network.notice)
    }

    /// Forgets the face where the clip begins, as the toolchain's benchmark of a pipeline does.
    private func shown(
        _ source: FrameSource, _ number: Int, _ picture: Picture, _ pipeline: FramePipeline
    ) throws -> ShownFrame {
        if number % source.count == 0 {
            pipeline.reset()
        }
        return try pipeline.process(picture) { try source.detect(picture) }
    }

    private func measure(
        _ source: FrameSource, _ pipeline: FramePipeline, _ progress: (Double) -> Void
    ) throws -> Measured {
        var found = Measured()
        let start: TimeInterval = ProcessInfo.processInfo.systemUptime
        for number in 0..<frames {
            try autoreleasepool {
                let picture: Picture = try source.frame(number)
                let began: Double = ProcessInfo.processInfo.systemUptime - start
                let frame: ShownFrame = try shown(source, number, picture, pipeline)
                var times: [String: Double] = [:]
                for (stage, value) in frame.milliseconds {
                    times[stage.rawValue] = value
                }
                found.frames.append(times)
                found.at.append(began)
                found.detected += frame.detected ? 1 : 0
                found.withFace += frame.faces > 0 ? 1 : 0
                found.peak = max(found.peak, DeviceState.memory ?? 0)
            }
            if number + 1 == source.count && found.withFace == 0 {
                throw Refusal(Messages.noFaceInClip(source.title))
            }
            progress(Double(number + 1) / Double(frames))
        }
        return found
    }

    private func measuredFile() -> MeasuredFile {
        return MeasuredFile(
            path: choice.id, sha256: choice.sidecar.sha256, bytes: choice.sidecar.bytes,
            format: choice.url.pathExtension, precision: choice.sidecar.precision, model: choice.sidecar.name,
            parity: choice.sidecar.parity)
    }

    private func lane(_ before: String, _ after: String) -> Lane {
        var details: [String: JSONValue] = [
            "thermal": .object(["before": .string(before), "after": .string(after)])
        ]
        if let version = Bundle.main.object(forInfoDictionaryKey: "CFBundleShortVersionString") as? String {
            details["app"] = .string(version)
        }
        if let level = DeviceState.battery {
            details["battery"] = .number(level)
        }
        return Lane(name: "\(DeviceState.machine), \(DeviceState.system)", details: details)
    }

    /// Into the app's documents, which Files and the share sheet show.
    private func save(_ report: Report) throws -> URL {
        let folder: URL = try FileManager.default.url(
            for: .documentDirectory, in: .userDomainMask, appropriateFor: nil, create: true)
        let stamp: Int = Int(Date().timeIntervalSince1970)
        let file: URL = folder.appendingPathComponent("benchmark-\(stamp).json")
        try report.json().write(to: file, options: .atomic)
        return file
    }
}
