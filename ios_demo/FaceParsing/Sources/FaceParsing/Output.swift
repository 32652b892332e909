import Foundation

/// What a tensor's numbers mean, and how planes become them.
public enum TensorCodec {
    /// Name of an output that has been through a softmax in the file.
    static let probabilitiesName: String = "probabilities"

    /// A crop as the picture input of a file: normalized, or the pixels where the file normalizes them.
    public static func pictureInput(
        _ picture: Picture, _ preprocessing: Preprocessing, _ tensor: TensorSpec
    ) throws -> TensorValues {
        guard preprocessing.color == colorOrder else {
            throw Refusal("colour order '\(preprocessing.color)' is not supported", hint: "export with RGB input")
        }
        let channels: Int = preprocessing.mean.count
        let pixels: [UInt8] = channels == 1 ? picture.grey().values : picture.pixels
        let sizes = MapSizes(channels: channels, height: picture.height, width: picture.width)
        try check(sizes, tensor)
        let area: Int = sizes.height * sizes.width
        if !tensor.image.isEmpty && tensor.layout == "NHWC" && tensor.dtype == "uint8" {
            return .bytes(pixels)
        }
        // Every value of a byte once: a crop has many more pixels.
        var table = [Float](repeating: 0, count: channels * byteValues)
        for channel in 0..<channels {
            for value in 0..<byteValues {
                let plain: Double = Double(value)
                let normal: Double = (plain - preprocessing.mean[channel]) / preprocessing.std[channel]
                table[channel * byteValues + value] = Float(tensor.image.isEmpty ? normal : plain)
            }
        }
        var planes = [Float](repeating: 0, count: channels * area)
        for pixel in 0..<area {
            for channel in 0..<channels {
                planes[channel * area + pixel] = table[channel * byteValues + Int(pixels[pixel * channels + channel])]
            }
        }
        return try stored(planes, sizes, tensor)
    }

    /// Planes in the layout and element type of an input tensor.
    public static func maskInput(_ planes: Planes, _ tensor: TensorSpec) throws -> TensorValues {
        let sizes = MapSizes(channels: planes.classes, height: planes.height, width: planes.width)
        try check(sizes, tensor)
        return try stored(planes.values, sizes, tensor)
    }

    /// Real values of an output as planes: (stored - zero point) * scale where it is quantized.
    public static func dequantized(_ values: TensorValues, _ tensor: TensorSpec) throws -> Planes {
        let sizes: MapSizes = try MapSizes(tensor)
        let area: Int = sizes.height * sizes.width
        guard values.count == sizes.channels * area else {
            throw Refusal(
                "tensor '\(tensor.name)' has \(values.count) numbers, and its sidecar says \(tensor.shape)",
                hint: "the sidecar belongs to another file: export the model again")
        }
        var numbers: [Float] = values.asFloats
        if let scale = tensor.scale {
            let zero: Float = Float(tensor.zeroPoint ?? 0)
            let step: Float = Float(scale)
            for index in 0..<numbers.count {
                numbers[index] = (numbers[index] - zero) * step
            }
        }
        if tensor.layout == "NHWC" {
            numbers = transposed(numbers, rows: area, columns: sizes.channels)
        }
        return Planes(classes: sizes.channels, height: sizes.height, width: sizes.width, values: numbers)
    }

    /// Class probabilities of an output tensor, whatever its layout and element type.
    public static func probabilities(_ values: TensorValues, _ tensor: TensorSpec) throws -> Planes {
        let planes: Planes = try dequantized(values, tensor)
        return try tensor.name == probabilitiesName ? planes : softmax(planes)
    }

    /// Over the classes; minus infinity is a probability of zero.
    static func softmax(_ logits: Planes) throws -> Planes {
        var result = logits
        let area: Int = logits.height * logits.width
        let classes: Int = logits.classes
        var finite: Bool = true
        result.values.withUnsafeMutableBufferPointer { (values: inout UnsafeMutableBufferPointer<Float>) in
            for pixel in 0..<area {
                var largest: Float = -Float.infinity
                for label in 0..<classes {
                    largest = max(largest, values[label * area + pixel])
                }
                var total: Float = 0
                for label in 0..<classes {
                    let exponent: Float = exp(values[label * area + pixel] - largest)
                    values[label * area + pixel] = exponent
                    total += exponent
                }
                if !total.isFinite || total == 0 {
                    finite = false
                    return
                }
                let share: Float = 1 / total
                for label in 0..<classes {
                    values[label * area + pixel] *= share
                }
            }
        }
        guard finite else {
            throw Refusal(
                "the network's output is not finite", hint: "check the model file with `toolchain verify`")
        }
        return result
    }

    private static func check(_ sizes: MapSizes, _ tensor: TensorSpec) throws {
        let wanted: MapSizes = try MapSizes(tensor)
        guard sizes == wanted else {
            throw Refusal(
                "input '\(tensor.name)' holds \(wanted.channels) x \(wanted.height) x \(wanted.width), "
                    + "not \(sizes.channels) x \(sizes.height) x \(sizes.width)",
                hint: "the sidecar does not describe this network: export it again")
        }
    }

    /// Planes quantized as round(value / scale) + zero point, halves to even, in the order of the layout.
    private static func stored(_ planes: [Float], _ sizes: MapSizes, _ tensor: TensorSpec) throws -> TensorValues {
        let area: Int = sizes.height * sizes.width
        var ordered: [Float] = planes
        if tensor.layout == "NHWC" {
            ordered = transposed(planes, rows: sizes.channels, columns: area)
        }
        if let scale = tensor.scale {
            let zero: Float = Float(tensor.zeroPoint ?? 0)
            let step: Float = Float(scale)
            ordered = ordered.map { ($0 / step).rounded(.toNearestOrEven) + zero }
        }
        switch tensor.dtype {
        case "float32":
            return .floats(ordered)
        case "uint8":
            return .bytes(ordered.map { UInt8(min(max($0, 0), 255)) })
        case "int8":
            return .signedBytes(ordered.map { Int8(min(max($0, -128), 127)) })
        default:
            throw Refusal(
                "tensor '\(tensor.name)' has element type '\(tensor.dtype)'",
                hint: "float32, uint8 and int8 are supported")
        }
    }

    private static func transposed(_ values: [Float], rows: Int, columns: Int) -> [Float] {
        var made = [Float](repeating: 0, count: values.count)
        values.withUnsafeBufferPointer { (source: UnsafeBufferPointer<Float>) in
            made.withUnsafeMutableBufferPointer { (target: inout UnsafeMutableBufferPointer<Float>) in
                for row in 0..<rows {
                    for column in 0..<columns {
                        target[column * rows + row] = source[row * columns + column]
                    }
                }
            }
        }
        return made
    }
}

extension Planes {
    /// The most probable class of every pixel; ties go to the lowest one.
    public func mostProbable() -> BytePlane {
        var result = BytePlane(width: width, height: height)
        let area: Int = height * width
        for pixel in 0..<area {
            var best: Int = 0
            for label in 1..<max(classes, 1) where values[label * area + pixel] > values[best * area + pixel] {
                best = label
            }
            result.values[pixel] = UInt8(best)
        }
        return result
    }
}
