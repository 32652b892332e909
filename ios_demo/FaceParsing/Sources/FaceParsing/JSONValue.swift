import Foundation

/// Any JSON value, for what an app adds to a report in its own words.
public enum JSONValue: Codable, Equatable {
    case null
    case bool(Bool)
    case integer(Int)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])

    public init(from decoder: Decoder) throws {
        let found = try decoder.singleValueContainer()
        if found.decodeNil() {
            self = .null
        } else if let value = try? found.decode(Bool.self) {
            self = .bool(value)
        } else if let value = try? found.decode(Int.self) {
            self = .integer(value)
        } else if let value = try? found.decode(Double.self) {
            self = .number(value)
        } else if let value = try? found.decode(String.self) {
            self = .string(value)
        } else if let value = try? found.decode([JSONValue].self) {
            self = .array(value)
        } else {
            self = .object(try found.decode([String: JSONValue].self))
        }
    }

    public func encode(to encoder: Encoder) throws {
        var made = encoder.singleValueContainer()
        switch self {
        case .null: try made.encodeNil()
        case .bool(let value): try made.encode(value)
        case .integer(let value): try made.encode(value)
        case .number(let value): try made.encode(value)
        case .string(let value): try made.encode(value)
        case .array(let value): try made.encode(value)
        case .object(let value): try made.encode(value)
        }
    }
}
