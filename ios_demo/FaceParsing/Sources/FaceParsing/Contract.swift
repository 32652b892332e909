import Foundation

/// What a sidecar says about a face parser: its tensors, their sizes, and what its classes are.
public struct Contract {
    public let image: TensorSpec
    /// Input for the class probabilities of the picture before; nil without one.
    public let previous: TensorSpec?
    public let logits: TensorSpec
    public let preprocessing: Preprocessing
    public let labels: [String]
    public let palette: [Color]
    /// Side of the crop in pixels.
    public let size: Int

    /// Checks that a sidecar describes a face parser; the message says what does not fit.
    public init(_ sidecar: Sidecar, file: String) throws {
        let hint: String = "export a face parser of the toolchain"
        guard sidecar.task == "segmentation", let steps = sidecar.preprocessing else {
            throw Refusal("'\(file)' is no segmentation of pictures", hint: hint)
        }
        guard (1...2).contains(sidecar.inputs.count), sidecar.outputs.count == 1 else {
            throw Refusal(
                "'\(file)' has \(sidecar.inputs.count) inputs and \(sidecar.outputs.count) outputs, "
                    + "not a picture, perhaps a previous mask, and one map",
                hint: hint)
        }
        let picture: TensorSpec = sidecar.inputs[0]
        let map: TensorSpec = sidecar.outputs[0]
        let before: TensorSpec? = sidecar.inputs.count == 2 ? sidecar.inputs[1] : nil
        let sizes: MapSizes = try MapSizes(picture)
        let channels: Int = sizes.channels
        let fits: Bool = channels == steps.mean.count && channels == steps.std.count
        guard sizes.height == sizes.width, fits, channels == 1 || channels == 3 else {
            throw Refusal(
                "'\(file)' takes pictures of \(sizes.height) x \(sizes.width) with \(channels) channels, "
                    + "normalized with \(steps.mean.count) means",
                hint: "square pictures with as many means as channels, 3 or 1, are supported")
        }
        let classes: Int = sidecar.labels.count
        guard classes > 0, sidecar.palette.count == classes else {
            throw Refusal(
                "the sidecar of '\(file)' has \(classes) labels and \(sidecar.palette.count) colours", hint: hint)
        }
        let wanted: MapSizes = MapSizes(channels: classes, height: sizes.height, width: sizes.width)
        for tensor in [before, map].compactMap({ $0 }) {
            let have: MapSizes = try MapSizes(tensor)
            guard have == wanted else {
                throw Refusal(
                    "tensor '\(tensor.name)' of '\(file)' has shape \(tensor.shape) (\(tensor.layout)), "
                        + "not \(sizes.height) x \(sizes.width) with \(classes) classes",
                    hint: hint)
            }
        }
        guard sidecar.labels.contains(FaceParts.mark) else {
            throw Refusal("'\(file)' does not parse faces", hint: hint)
        }
        guard ResizeRule(rawValue: steps.resize) != nil else {
            throw Refusal(
                "'\(file)' wants the resize rule '\(steps.resize)'",
                hint: "rules are \(ResizeRule.allCases.map { $0.rawValue }.joined(separator: ", "))")
        }
        guard steps.color == colorOrder else {
            throw Refusal("'\(file)' wants the colour order '\(steps.color)'", hint: "export with RGB input")
        }
        image = picture
        previous = before
        logits = map
        preprocessing = steps
        labels = sidecar.labels
        palette = sidecar.palette
        size = sizes.width
    }
}

/// The only order of colours that pictures have here.
let colorOrder: String = "RGB"

/// Channels, height and width of a tensor that holds one picture or map.
public struct MapSizes: Equatable {
    public let channels: Int
    public let height: Int
    public let width: Int

    public init(channels: Int, height: Int, width: Int) {
        self.channels = channels
        self.height = height
        self.width = width
    }

    public init(_ tensor: TensorSpec) throws {
        let first: Bool = tensor.layout == "NCHW"
        let shape: [Int] = tensor.shape
        guard first || tensor.layout == "NHWC", shape.count == 4, shape[0] == 1, (shape.min() ?? 0) > 0 else {
            throw Refusal(
                "tensor '\(tensor.name)' has layout '\(tensor.layout)' and shape \(shape), not one picture",
                hint: "supported are 1 x channels x height x width (NCHW) and NHWC")
        }
        channels = first ? shape[1] : shape[3]
        height = first ? shape[2] : shape[1]
        width = first ? shape[3] : shape[2]
    }
}
