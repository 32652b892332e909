import Combine
import CoreGraphics
import CoreVideo
import FaceParsing
import Foundation

/// One line of the times on the screen.
struct StageLine: Identifiable {
    let stage: Stage
    let p50: Double
    let p90: Double

    var id: String { return stage.rawValue }
}

/// What the screen shows and what the user has chosen. Lives on the main queue; frames are worked on elsewhere.
final class DemoModel: ObservableObject {
    @Published private(set) var choices: [ModelChoice] = []
    @Published private(set) var problems: [String] = []
    @Published private(set) var notice: String? = nil
    @Published private(set) var image: CGImage? = nil
    @Published private(set) var lines: [StageLine] = []
    @Published private(set) var thermal: String = DeviceState.thermal
    @Published private(set) var progress: Double? = nil
    @Published private(set) var outcome: BenchmarkRun.Outcome? = nil
    @Published private(set) var noFace: Bool = false
    @Published var selected: String = "" { didSet { rebuild(oldValue != selected) } }
    @Published var unit: ComputeUnit = .all { didSet { rebuild(oldValue != unit) } }
    @Published var effect: EffectChoice = .mask { didSet { rebuild(oldValue != effect) } }
    @Published var frames: Int = 300

    private let queue = DispatchQueue(label: "frames", qos: .userInteractive)
    private let detector = VisionDetector()
    private var camera: CameraSource? = nil
    private var isBusy: Bool { return progress != nil }
    // Touched on `queue` alone.
    private var pipeline: FramePipeline? = nil
    private var times = RollingTimes()

    /// Looks for models and starts the camera.
    func begin() {
        guard camera == nil else { return }
        let found = ModelCatalog.load()
        choices = found.choices
        problems = found.problems
        selected = found.choices.first?.id ?? ""
        let source = CameraSource(queue: queue) { [weak self] (buffer: CVPixelBuffer) in
            self?.process(buffer)
        }
        camera = source
        startCamera()
    }

    private var choice: ModelChoice? {
        return choices.first { $0.id == selected }
    }

    private func startCamera() {
        camera?.start { [weak self] (problem: String?) in
            DispatchQueue.main.async {
                if let text = problem {
                    self?.show(text)
                }
            }
        }
    }

    private func show(_ text: String) {
        if !problems.contains(text) {
            problems.append(text)
        }
    }

    /// Another model, unit or effect needs another pipeline; loading takes a while, so not on the main queue.
    private func rebuild(_ changed: Bool) {
        guard changed, let wanted = choice else { return }
        let unit: ComputeUnit = self.unit
        let effect: EffectChoice = self.effect
        queue.async { [weak self] in
            guard let self = self else { return }
            self.pipeline = nil
            self.times = RollingTimes()
            do {
                let made = try FramePipeline(wanted, unit: unit, effect: effect)
                self.pipeline = made
                let notice: String? = made.network.notice
                DispatchQueue.main.async { self.notice = notice }
            } catch {
                let text: String = error.localizedDescription
                DispatchQueue.main.async { self.notice = text }
            }
        }
    }

    /// One frame of the camera, on `queue`.
    private func process(_ buffer: CVPixelBuffer) {
        do {
            let picture: Picture = try PixelBuffers.picture(of: buffer)
            guard let current = pipeline else {
                let plain: CGImage? = PixelBuffers.image(of: picture)
                DispatchQueue.main.async { self.image = plain }
                return
            }
            let shown: ShownFrame = try current.process(picture) { try detector.detect(in: buffer) }
            times.add(shown.milliseconds)
            let image: CGImage? = PixelBuffers.image(of: shown.picture)
            let lines: [StageLine] = Stage.allCases.compactMap { (stage: Stage) -> StageLine? in
                guard let figures = times.figures(stage) else { return nil }
                return StageLine(stage: stage, p50: figures.p50, p90: figures.p90)
            }
            let thermal: String = DeviceState.thermal
            DispatchQueue.main.async {
                self.image = image
                self.lines = lines
                self.noFace = shown.faces == 0
                self.thermal = thermal
            }
        } catch {
            pipeline = nil
            let text: String = error.localizedDescription
            DispatchQueue.main.async { self.notice = text }
        }
    }

    /// Runs the benchmark; the camera rests while it does.
    func benchmark() {
        guard !isBusy, let wanted = choice else { return }
        let run = BenchmarkRun(choice: wanted, unit: unit, effect: effect, frames: frames)
        progress = 0
        outcome = nil
        camera?.stop()
        queue.async { [weak self] in
            do {
                let outcome: BenchmarkRun.Outcome = try run.run { (share: Double) in
                    DispatchQueue.main.async { self?.progress = share }
                }
                DispatchQueue.main.async {
                    self?.outcome = outcome
                    self?.notice = outcome.notice
                }
            } catch {
                let text: String = error.localizedDescription
                DispatchQueue.main.async { self?.notice = text }
            }
            DispatchQueue.main.async {
                self?.progress = nil
                self?.startCamera()
            }
        }
    }
}
