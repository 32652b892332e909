import Foundation

/// What the app says where something is not there; each with the way out.
enum Messages {
    static let cameraRefused: String =
        "The camera may not be used. Allow it in Settings, Privacy & Security, Camera; the benchmark runs without it."
    static let noCamera: String = "This device has no camera that fits. The benchmark runs without it."
    static let noFace: String = "No face"

    static func noModels(_ folder: String) -> String {
        return "There is no model in '\(folder)'. Run `toolchain export mobile-hourglass --app ios` beside ios_demo, "
            + "and build the app again."
    }

    static func noColor(_ name: String) -> String {
        return "There is no colour '\(name)' in the asset catalog of this app. Put it back, and build the app again."
    }

    static func noSetting(_ key: String) -> String {
        return "There is no '\(key)' in Info.plist of this app. Put it back, and build the app again."
    }

    static func noFaceInClip(_ source: String) -> String {
        return "There is no face in any frame of the \(source). Use a clip that shows an upright frontal face, "
            + "and build the app again."
    }

    static func noSidecar(_ file: String) -> String {
        return "'\(file)' has no sidecar. Keep the .json that `toolchain export` writes beside the model file."
    }

    static func otherFile(_ file: String) -> String {
        return "'\(file)' is not the file that its sidecar describes. Export the model again."
    }

    static func notLoaded(_ file: String, _ why: String) -> String {
        let reason: String = why.hasSuffix(".") ? String(why.dropLast()) : why
        return "Core ML cannot load '\(file)': \(reason). An int8 file needs iOS 17; choose another model."
    }

    static func fellBack(_ wanted: String, _ reason: String) -> String {
        return "\(wanted) is not available (\(reason)): the CPU runs the model."
    }

    static func otherTensors(_ file: String, _ tensor: String) -> String {
        return "'\(file)' has no tensor '\(tensor)' as its sidecar says. Export the model again."
    }
}
