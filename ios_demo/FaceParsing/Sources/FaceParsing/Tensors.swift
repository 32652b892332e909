import Foundation

/// How many values a byte has.
let byteValues: Int = Int(UInt8.max) + 1

/// Red, green and blue, 0-255.
public struct Color: Equatable {
    public let red: UInt8
    public let green: UInt8
    public let blue: UInt8

    public init(red: UInt8, green: UInt8, blue: UInt8) {
        self.red = red
        self.green = green
        self.blue = blue
    }
}

/// An RGB picture: (height, width, 3) bytes.
public struct Picture: Equatable {
    public let width: Int
    public let height: Int
    public var pixels: [UInt8]

    public init(width: Int, height: Int, pixels: [UInt8]) {
        precondition(pixels.count == width * height * 3, "three bytes a pixel")
        self.width = width
        self.height = height
        self.pixels = pixels
    }
}

/// One byte a pixel: labels, greys, opacities, or where something was met again.
public struct BytePlane: Equatable {
    public let width: Int
    public let height: Int
    public var values: [UInt8]

    public init(width: Int, height: Int, values: [UInt8]) {
        precondition(values.count == width * height, "one byte a pixel")
        self.width = width
        self.height = height
        self.values = values
    }

    public init(width: Int, height: Int, filledWith value: UInt8 = 0) {
        self.width = width
        self.height = height
        self.values = [UInt8](repeating: value, count: width * height)
    }
}

/// (classes, height, width) numbers, plane after plane.
public struct Planes: Equatable {
    public let classes: Int
    public let height: Int
    public let width: Int
    public var values: [Float]

    public init(classes: Int, height: Int, width: Int, values: [Float]) {
        precondition(values.count == classes * height * width, "one number for each class and pixel")
        self.classes = classes
        self.height = height
        self.width = width
        self.values = values
    }

    public init(classes: Int, height: Int, width: Int) {
        self.classes = classes
        self.height = height
        self.width = width
        self.values = [Float](repeating: 0, count: classes * height * width)
    }
}

/// Pixels to add to x and y: (height, width, 2) numbers.
public struct Flow: Equatable {
    public let width: Int
    public let height: Int
    public let values: [Float]

    public init(width: Int, height: Int, values: [Float]) {
        precondition(values.count == width * height * 2, "x and y for each pixel")
        self.width = width
        self.height = height
        self.values = values
    }
}

/// The numbers of one tensor in the element type of the file.
public enum TensorValues: Equatable {
    case floats([Float])
    case bytes([UInt8])
    case signedBytes([Int8])

    public var count: Int {
        switch self {
        case .floats(let values): return values.count
        case .bytes(let values): return values.count
        case .signedBytes(let values): return values.count
        }
    }

    /// The stored numbers as floats, without scale and zero point.
    public var asFloats: [Float] {
        switch self {
        case .floats(let values): return values
        case .bytes(let values): return values.map { Float($0) }
        case .signedBytes(let values): return values.map { Float($0) }
        }
    }
}
