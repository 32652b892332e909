import CoreML

/// What runs the model, as the user chooses it.
enum ComputeUnit: String, CaseIterable, Identifiable {
    case all = "all units"
    case neuralEngine = "CPU and Neural Engine"
    case gpu = "CPU and GPU"
    case cpu = "CPU"

    var id: String { return rawValue }

    var units: MLComputeUnits {
        switch self {
        case .all: return .all
        case .neuralEngine: return .cpuAndNeuralEngine
        case .gpu: return .cpuAndGPU
        case .cpu: return .cpuOnly
        }
    }

    /// Why this device cannot do it; nil where it can, or where the system does not tell.
    var obstacle: String? {
        guard #available(iOS 17.0, *) else { return nil }
        let devices: [MLComputeDevice] = MLComputeDevice.allComputeDevices
        switch self {
        case .all, .cpu:
            return nil
        case .neuralEngine:
            let found: Bool = devices.contains { (device: MLComputeDevice) -> Bool in
                if case .neuralEngine = device { return true }
                return false
            }
            return found ? nil : "this device has no Neural Engine"
        case .gpu:
            let found: Bool = devices.contains { (device: MLComputeDevice) -> Bool in
                if case .gpu = device { return true }
                return false
            }
            return found ? nil : "this device has no GPU"
        }
    }
}
