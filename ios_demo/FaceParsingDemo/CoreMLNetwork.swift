import CoreML
import CoreVideo
import FaceParsing
import Foundation

/// A Core ML file behind the core's `Network`.
final class CoreMLNetwork: Network {
    /// What is running: the unit that was asked for, or the CPU after a fall-back.
    let unit: ComputeUnit
    /// Why the unit that was asked for is not running; nil where it is.
    let notice: String?
    let loadMs: Double

    private let model: MLModel
    private let contract: Contract
    private let file: String
    /// Core ML may read it as long as the model is in use.
    private let compiled: URL

    init(_ choice: ModelChoice, unit wanted: ComputeUnit) throws {
        let place: URL = try CoreMLNetwork.orRefuse(choice.id) { try MLModel.compileModel(at: choice.url) }
        let start: TimeInterval = ProcessInfo.processInfo.systemUptime
        var reason: String? = wanted.obstacle
        var loaded: MLModel? = nil
        if reason == nil {
            do {
                loaded = try CoreMLNetwork.load(place, wanted)
            } catch {
                if wanted == .cpu { throw Refusal(Messages.notLoaded(choice.id, error.localizedDescription)) }
                reason = error.localizedDescription
            }
        }
        if let ready = loaded {
            model = ready
            unit = wanted
            notice = nil
        } else {
            model = try CoreMLNetwork.orRefuse(choice.id) { try CoreMLNetwork.load(place, .cpu) }
            unit = .cpu
            notice = Messages.fellBack(wanted.rawValue, reason ?? "")
        }
        loadMs = (ProcessInfo.processInfo.systemUptime - start) * 1000
        compiled = place
        contract = choice.contract
        file = choice.id
        try checkTensors()
    }

    deinit {
        try? FileManager.default.removeItem(at: compiled)
    }

    private static func load(_ url: URL, _ unit: ComputeUnit) throws -> MLModel {
        let configuration = MLModelConfiguration()
        configuration.computeUnits = unit.units
        return try MLModel(contentsOf: url, configuration: configuration)
    }

    /// Core ML's own words do not name the file.
    private static func orRefuse<T>(_ file: String, _ work: () throws -> T) throws -> T {
        do {
            return try work()
        } catch {
            throw Refusal(Messages.notLoaded(file, error.localizedDescription))
        }
    }

    private func checkTensors() throws {
        let inputs: [String: MLFeatureDescription] = model.modelDescription.inputDescriptionsByName
        let outputs: [String: MLFeatureDescription] = model.modelDescription.outputDescriptionsByName
        for tensor in [contract.image, contract.previous].compactMap({ $0 }) where inputs[tensor.name] == nil {
            throw Refusal(Messages.otherTensors(file, tensor.name))
        }
        if outputs[contract.logits.name] == nil {
            throw Refusal(Messages.otherTensors(file, contract.logits.name))
        }
    }

    func run(_ inputs: [String: TensorValues]) throws -> TensorValues {
        var features: [String: MLFeatureValue] = [:]
        for tensor in [contract.image, contract.previous].compactMap({ $0 }) {
            guard let values = inputs[tensor.name] else {
                throw Refusal(Messages.otherTensors(file, tensor.name))
            }
            features[tensor.name] = try feature(values, tensor)
        }
        let provider = try MLDictionaryFeatureProvider(dictionary: features)
        let answer: MLFeatureProvider = try model.prediction(from: provider)
        guard let array = answer.featureValue(for: contract.logits.name)?.multiArrayValue else {
            throw Refusal(Messages.otherTensors(file, contract.logits.name))
        }
        return .floats(try MultiArrays.floats(array))
    }

    private func feature(_ values: TensorValues, _ tensor: TensorSpec) throws -> MLFeatureValue {
        if !tensor.image.isEmpty, case .bytes(let pixels) = values {
            let picture = Picture(width: contract.size, height: contract.size, pixels: pixels)
            return MLFeatureValue(pixelBuffer: try PixelBuffers.buffer(of: picture))
        }
        return MLFeatureValue(multiArray: try MultiArrays.array(values.asFloats, shape: tensor.shape))
    }
}

/// Numbers in and out of Core ML's arrays.
enum MultiArrays {
    static func array(_ values: [Float], shape: [Int]) throws -> MLMultiArray {
        let made = try MLMultiArray(shape: shape.map { NSNumber(value: $0) }, dataType: .float32)
        guard made.count == values.count else {
            throw Refusal("an input of \(values.count) numbers does not fit the shape \(shape)")
        }
        let target: UnsafeMutablePointer<Float> = made.dataPointer.bindMemory(to: Float.self, capacity: values.count)
        for index in 0..<values.count {
            target[index] = values[index]
        }
        return made
    }

    /// In C order; Core ML may leave gaps between rows.
    static func floats(_ array: MLMultiArray) throws -> [Float] {
        let shape: [Int] = array.shape.map { $0.intValue }
        let strides: [Int] = array.strides.map { $0.intValue }
        if array.dataType == .float32 && isDense(shape, strides) {
            let source: UnsafeMutablePointer<Float> = array.dataPointer.bindMemory(
                to: Float.self, capacity: array.count)
            return Array(UnsafeBufferPointer(start: source, count: array.count))
        }
        let offsets: [Int] = placesOf(shape, strides)
        let last: Int = (offsets.max() ?? 0) + 1
        switch array.dataType {
        case .float32:
            let source: UnsafeMutablePointer<Float> = array.dataPointer.bindMemory(to: Float.self, capacity: last)
            return offsets.map { source[$0] }
        case .double:
            let source: UnsafeMutablePointer<Double> = array.dataPointer.bindMemory(to: Double.self, capacity: last)
            return offsets.map { Float(source[$0]) }
        case .float16:
            #if arch(arm64)
            let source: UnsafeMutablePointer<Float16> = array.dataPointer.bindMemory(to: Float16.self, capacity: last)
            return offsets.map { Float(source[$0]) }
            #else
            return (0..<array.count).map { array[$0].floatValue }
            #endif
        default:
            throw Refusal("an output of Core ML has an element type that this app does not read")
        }
    }

    /// Whether there are no gaps.
    private static func isDense(_ shape: [Int], _ strides: [Int]) -> Bool {
        var step: Int = 1
        for axis in (0..<shape.count).reversed() {
            if shape[axis] > 1 && strides[axis] != step { return false }
            step *= shape[axis]
        }
        return true
    }

    private static func placesOf(_ shape: [Int], _ strides: [Int]) -> [Int] {
        var places: [Int] = [0]
        for axis in 0..<shape.count {
            var next: [Int] = []
            next.reserveCapacity(places.count * shape[axis])
            for place in places {
                for index in 0..<shape[axis] {
                    next.append(place + index * strides[axis])
                }
            }
            places = next
        }
        return places
    }
}
