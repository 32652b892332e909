import CoreVideo
import FaceParsing
import Foundation

/// What is drawn over a face.
enum EffectChoice: String, CaseIterable, Identifiable {
    case mask = "mask"
    case lipstick = "lipstick"

    var id: String { return rawValue }
}

/// A frame as it is shown.
struct ShownFrame {
    let picture: Picture
    let milliseconds: [Stage: Double]
    let faces: Int
    let detected: Bool
}

/// From a captured frame to a picture with its overlay. Used on one queue only.
final class FramePipeline {
    let network: CoreMLNetwork
    private let choice: ModelChoice
    private let engine: FaceEngine
    private let effect: EffectChoice
    private let lipstick: Lipstick?

    init(_ choice: ModelChoice, unit: ComputeUnit, effect: EffectChoice, faces: Int = 1) throws {
        let contract: Contract = choice.contract
        let loaded = try CoreMLNetwork(choice, unit: unit)
        self.choice = choice
        self.network = loaded
        self.effect = effect
        self.lipstick = try effect == .lipstick ? Lipstick(labels: contract.labels, color: EffectColors.lipstick()) : nil
        self.engine = try FaceEngine(preprocessing: contract.preprocessing, faces: faces) {
            return FaceParser(contract, loaded)
        }
    }

    func reset() {
        engine.reset()
    }

    func process(_ picture: Picture, detect: () throws -> [Box]) throws -> ShownFrame {
        let stages = Stages()
        let start: TimeInterval = ProcessInfo.processInfo.systemUptime
        let parsed: ParsedFrame = try engine.process(picture, stages: stages, detect: detect)
        var drawn: Picture = picture
        try stages.measure(.colorization) {
            if let paint = lipstick {
                for face in parsed.faces {
                    paint.paint(&drawn, probabilities: face.probabilities, matrix: face.matrix)
                }
            } else {
                try Overlay.colorize(&drawn, labels: parsed.labels, palette: choice.contract.palette)
            }
        }
        stages.add(.total, (ProcessInfo.processInfo.systemUptime - start) * 1000)
        return ShownFrame(
            picture: drawn, milliseconds: stages.all, faces: parsed.faces.count, detected: parsed.detected)
    }
}

/// The latest times of every stage, for the figures on the screen.
struct RollingTimes {
    static let kept: Int = 120
    private var times: [Stage: [Double]] = [:]

    mutating func add(_ milliseconds: [Stage: Double]) {
        for (stage, value) in milliseconds {
            var values: [Double] = times[stage] ?? []
            values.append(value)
            if values.count > RollingTimes.kept {
                values.removeFirst()
            }
            times[stage] = values
        }
    }

    func figures(_ stage: Stage) -> Figures? {
        guard let values = times[stage] else { return nil }
        return try? Figures(values)
    }
}
