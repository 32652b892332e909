import FaceParsing
import SwiftUI

/// The picture with its overlay, the choices, and the times of every stage.
struct ContentView: View {
    @ObservedObject var model: DemoModel

    var body: some View {
        VStack(spacing: 8) {
            preview
            messages
            controls
            figures
            benchmark
        }
        .padding()
        .onAppear { model.begin() }
    }

    private var preview: some View {
        ZStack(alignment: .top) {
            Rectangle().fill(.black)
            if let image = model.image {
                Image(decorative: image, scale: 1).resizable().scaledToFit()
            }
            if model.noFace {
                Text(Messages.noFace).padding(6).background(.thinMaterial, in: Capsule()).padding(8)
            }
        }
    }

    private var messages: some View {
        VStack(alignment: .leading, spacing: 4) {
            ForEach(model.problems, id: \.self) { (text: String) in
                Text(text).foregroundColor(.red)
            }
            if let notice = model.notice {
                Text(notice).foregroundColor(.orange)
            }
        }
        .font(.footnote)
        .frame(maxWidth: .infinity, alignment: .leading)
    }

    private var controls: some View {
        VStack(alignment: .leading, spacing: 4) {
            Picker("Model", selection: $model.selected) {
                ForEach(model.choices) { (choice: ModelChoice) in
                    Text(choice.title).tag(choice.id)
                }
            }
            Picker("Compute units", selection: $model.unit) {
                ForEach(ComputeUnit.allCases) { (unit: ComputeUnit) in
                    Text(unit.rawValue).tag(unit)
                }
            }
            Picker("Effect", selection: $model.effect) {
                ForEach(EffectChoice.allCases) { (effect: EffectChoice) in
                    Text(effect.rawValue).tag(effect)
                }
            }
            .pickerStyle(.segmented)
        }
        .disabled(model.progress != nil)
    }

    private var figures: some View {
        VStack(alignment: .leading, spacing: 2) {
            ForEach(model.lines) { (line: StageLine) in
                HStack {
                    Text(line.stage.rawValue)
                    Spacer()
                    Text(String(format: "p50 %.1f ms   p90 %.1f ms", line.p50, line.p90))
                }
            }
            HStack {
                Text("thermal state")
                Spacer()
                Text(model.thermal)
            }
        }
        .font(.system(.footnote, design: .monospaced))
    }

    private var benchmark: some View {
        VStack(alignment: .leading, spacing: 4) {
            Stepper("Benchmark: \(model.frames) frames", value: $model.frames, in: 60...3000, step: 60)
            if let progress = model.progress {
                ProgressView(value: progress)
            } else {
                Button("Run the benchmark") { model.benchmark() }
                    .disabled(model.choices.isEmpty)
            }
            if let outcome = model.outcome {
                Text(String(format: "total: p50 %.1f ms, p90 %.1f ms", outcome.total.p50, outcome.total.p90))
                Text("thermal state \(outcome.thermalBefore) before, \(outcome.thermalAfter) after")
                ShareLink("Share the results file", item: outcome.file)
            }
        }
        .font(.footnote)
    }
}
