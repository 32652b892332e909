import Foundation

/// One input or output tensor of a model file.
public struct TensorSpec: Decodable, Equatable {
    public let name: String
    public let shape: [Int]
    public let dtype: String
    public let layout: String
    public let scale: Double?
    public let zeroPoint: Int?
    /// "RGB" where the file takes 8-bit pixels and normalizes them itself, else "".
    public let image: String

    public enum CodingKeys: String, CodingKey, CaseIterable {
        case name
        case shape
        case dtype
        case layout
        case scale
        case zeroPoint = "zero_point"
        case image
    }

    public init(
        name: String, shape: [Int], dtype: String, layout: String, scale: Double?, zeroPoint: Int?, image: String
    ) {
        self.name = name
        self.shape = shape
        self.dtype = dtype
        self.layout = layout
        self.scale = scale
        self.zeroPoint = zeroPoint
        self.image = image
    }

    public init(from decoder: Decoder) throws {
        try refuseUnknownKeys(decoder, known: CodingKeys.allCases.map { $0.rawValue }, place: "a tensor")
        let found = try decoder.container(keyedBy: CodingKeys.self)
        name = try found.decode(String.self, forKey: .name)
        shape = try found.decode([Int].self, forKey: .shape)
        dtype = try found.decodeIfPresent(String.self, forKey: .dtype) ?? "float32"
        layout = try found.decodeIfPresent(String.self, forKey: .layout) ?? ""
        scale = try found.decodeIfPresent(Double.self, forKey: .scale)
        zeroPoint = try found.decodeIfPresent(Int.self, forKey: .zeroPoint)
        image = try found.decodeIfPresent(String.self, forKey: .image) ?? ""
    }
}

/// How a picture becomes the first input. All values come from the sidecar.
public struct Preprocessing: Decodable, Equatable {
    public let color: String
    public let mean: [Double]
    public let std: [Double]
    public let resize: String
    /// Side of the region of interest in units of the face box's side.
    public let margin: Double
    /// Downward shift of the region's centre in the same units.
    public let shift: Double

    public enum CodingKeys: String, CodingKey, CaseIterable {
        case color
        case mean
        case std
        case resize
        case margin
        case shift
    }

    public init(color: String, mean: [Double], std: [Double], resize: String, margin: Double, shift: Double) {
        self.color = color
        self.mean = mean
        self.std = std
        self.resize = resize
        self.margin = margin
        self.shift = shift
    }

    public init(from decoder: Decoder) throws {
        try refuseUnknownKeys(decoder, known: CodingKeys.allCases.map { $0.rawValue }, place: "the preprocessing")
        let found = try decoder.container(keyedBy: CodingKeys.self)
        color = try found.decode(String.self, forKey: .color)
        mean = try found.decode([Double].self, forKey: .mean)
        std = try found.decode([Double].self, forKey: .std)
        resize = try found.decode(String.self, forKey: .resize)
        margin = try found.decode(Double.self, forKey: .margin)
        shift = try found.decode(Double.self, forKey: .shift)
    }
}

/// How close the file is to the reference. What is not finite is "inf", "-inf" or "nan" in JSON.
public struct Parity: Codable, Equatable {
    public let sqnrDb: Double
    public let maxAbs: Double
    public let agreement: Double?
    public let samples: Int
    public let reference: String
    public let inputs: String

    public enum CodingKeys: String, CodingKey, CaseIterable {
        case sqnrDb = "sqnr_db"
        case maxAbs = "max_abs"
        case agreement
        case samples
        case reference
        case inputs
    }

    public init(from decoder: Decoder) throws {
        try refuseUnknownKeys(decoder, known: CodingKeys.allCases.map { $0.rawValue }, place: "the parity")
        let found = try decoder.container(keyedBy: CodingKeys.self)
        sqnrDb = try Parity.number(found, .sqnrDb)
        maxAbs = try Parity.number(found, .maxAbs)
        agreement = try found.decodeIfPresent(Double.self, forKey: .agreement)
        samples = try found.decode(Int.self, forKey: .samples)
        reference = try found.decodeIfPresent(String.self, forKey: .reference) ?? "torch"
        inputs = try found.decodeIfPresent(String.self, forKey: .inputs) ?? "synthetic"
    }

    public func encode(to encoder: Encoder) throws {
        var made = encoder.container(keyedBy: CodingKeys.self)
        try Parity.write(sqnrDb, &made, .sqnrDb)
        try Parity.write(maxAbs, &made, .maxAbs)
        try made.encode(agreement, forKey: .agreement)
        try made.encode(samples, forKey: .samples)
        try made.encode(reference, forKey: .reference)
        try made.encode(inputs, forKey: .inputs)
    }

    private static func number(
        _ found: KeyedDecodingContainer<CodingKeys>, _ key: CodingKeys
    ) throws -> Double {
        if let text = try? found.decode(String.self, forKey: key) {
            guard let value = Double(text) else {
                throw DecodingError.dataCorruptedError(
                    forKey: key, in: found, debugDescription: "'\(text)' is no number")
            }
            return value
        }
        return try found.decode(Double.self, forKey: key)
    }

    private static func write(
        _ value: Double, _ made: inout KeyedEncodingContainer<CodingKeys>, _ key: CodingKeys
    ) throws {
        if value.isFinite {
            try made.encode(value, forKey: key)
        } else {
            try made.encode(value.isNaN ? "nan" : (value > 0 ? "inf" : "-inf"), forKey: key)
        }
    }
}

/// What the JSON beside a model file says. Unknown keys at the top are ignored, everywhere else refused.
public struct Sidecar: Decodable, Equatable {
    public static let supportedVersion: Int = 1

    public let name: String
    public let format: String
    public let precision: String
    public let task: String
    public let inputs: [TensorSpec]
    public let outputs: [TensorSpec]
    public let preprocessing: Preprocessing?
    public let labels: [String]
    public let palette: [Color]
    public let parity: Parity?
    public let ops: [String: Int]
    public let bytes: Int
    public let sha256: String
    public let versions: [String: String]
    public let command: String

    public enum CodingKeys: String, CodingKey, CaseIterable {
        case version
        case name
        case format
        case precision
        case task
        case inputs
        case outputs
        case preprocessing
        case labels
        case palette
        case parity
        case ops
        case bytes
        case sha256
        case versions
        case command
    }

    private struct Versioned: Decodable {
        let version: Int
    }

    public init(from decoder: Decoder) throws {
        let found = try decoder.container(keyedBy: CodingKeys.self)
        name = try found.decode(String.self, forKey: .name)
        format = try found.decode(String.self, forKey: .format)
        precision = try found.decode(String.self, forKey: .precision)
        task = try found.decode(String.self, forKey: .task)
        inputs = try found.decode([TensorSpec].self, forKey: .inputs)
        outputs = try found.decode([TensorSpec].self, forKey: .outputs)
        preprocessing = try Sidecar.present(found, .preprocessing, Preprocessing.self)
        labels = try found.decode([String].self, forKey: .labels)
        palette = try Sidecar.colors(found)
        parity = try Sidecar.present(found, .parity, Parity.self)
        ops = try found.decode([String: Int].self, forKey: .ops)
        bytes = try found.decode(Int.self, forKey: .bytes)
        sha256 = try found.decode(String.self, forKey: .sha256)
        versions = try found.decode([String: String].self, forKey: .versions)
        command = try found.decode(String.self, forKey: .command)
    }

    /// Reads a sidecar; `file` is the model file's name, for the messages.
    public static func decode(_ data: Data, file: String) throws -> Sidecar {
        let hint: String = "export the model again"
        let decoder = JSONDecoder()
        do {
            let version: Int = try decoder.decode(Versioned.self, from: data).version
            guard version == supportedVersion else {
                throw Refusal("it has version \(version), and this app reads version \(supportedVersion)")
            }
            return try decoder.decode(Sidecar.self, from: data)
        } catch let refusal as Refusal {
            throw Refusal("the sidecar of '\(file)' cannot be followed: \(refusal.message)", hint: hint)
        } catch let error as DecodingError {
            throw Refusal("the sidecar of '\(file)' cannot be read: \(reason(error))", hint: hint)
        } catch {
            throw Refusal("the sidecar of '\(file)' cannot be read: \(error)", hint: hint)
        }
    }

    /// The value of a key that must be there, but may be null.
    private static func present<Value: Decodable>(
        _ found: KeyedDecodingContainer<CodingKeys>, _ key: CodingKeys, _ type: Value.Type
    ) throws -> Value? {
        guard found.contains(key) else {
            throw DecodingError.keyNotFound(
                key, DecodingError.Context(codingPath: found.codingPath, debugDescription: "no such key"))
        }
        return try found.decodeIfPresent(type, forKey: key)
    }

    private static func colors(_ found: KeyedDecodingContainer<CodingKeys>) throws -> [Color] {
        let rows: [[Int]] = try found.decode([[Int]].self, forKey: .palette)
        return try rows.map { (row: [Int]) -> Color in
            guard row.count == 3, let low = row.min(), let high = row.max(), low >= 0, high <= 255 else {
                throw DecodingError.dataCorruptedError(
                    forKey: .palette, in: found, debugDescription: "\(row) is no colour")
            }
            return Color(red: UInt8(row[0]), green: UInt8(row[1]), blue: UInt8(row[2]))
        }
    }

    private static func reason(_ error: DecodingError) -> String {
        switch error {
        case .keyNotFound(let key, _):
            return "it has no '\(key.stringValue)'"
        case .typeMismatch(_, let context):
            return "\(place(context)): \(context.debugDescription)"
        case .valueNotFound(_, let context):
            return "\(place(context)): \(context.debugDescription)"
        case .dataCorrupted(let context):
            return "\(place(context)): \(context.debugDescription)"
        @unknown default:
            return "\(error)"
        }
    }

    private static func place(_ context: DecodingError.Context) -> String {
        let keys: [String] = context.codingPath.map { $0.stringValue }
        return keys.isEmpty ? "its text" : "'\(keys.joined(separator: "."))'"
    }
}

/// Any key at all, to see which ones there are.
struct AnyKey: CodingKey {
    let stringValue: String
    let intValue: Int?

    init?(stringValue: String) {
        self.stringValue = stringValue
        self.intValue = nil
    }

    init?(intValue: Int) {
        self.stringValue = String(intValue)
        self.intValue = intValue
    }
}

/// A step that this app does not know would be left out in silence, so it is refused.
func refuseUnknownKeys(_ decoder: Decoder, known: [String], place: String) throws {
    let found = try decoder.container(keyedBy: AnyKey.self)
    for key in found.allKeys where !known.contains(key.stringValue) {
        throw Refusal("\(place) has the key '\(key.stringValue)', which this app does not know")
    }
}
