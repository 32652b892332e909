import Foundation
import XCTest

@testable import FaceParsing

/// One case of a golden file; the Python engine has made it.
struct GoldenCase: Decodable {
    let name: String
    let function: String
    let input: JSONValue
    let expected: JSONValue

    static func all(_ file: String) throws -> [GoldenCase] {
        let found: URL? = Bundle.module.url(forResource: file, withExtension: "json", subdirectory: "Golden")
        let url: URL = try XCTUnwrap(found, "no golden file \(file).json")
        let cases: [GoldenCase] = try JSONDecoder().decode([GoldenCase].self, from: Data(contentsOf: url))
        XCTAssertFalse(cases.isEmpty)
        return cases
    }

    /// Runs every case; what must be refused has to be, with all the words.
    static func check(_ file: String, _ compare: (GoldenCase) throws -> Void) throws {
        for one in try all(file) {
            let words: [String]? = try one.refusal()
            do {
                try compare(one)
                XCTAssertNil(words, "\(file): '\(one.name)' was not refused")
            } catch let refusal as Refusal {
                guard let mentions = words else {
                    XCTFail("\(file): '\(one.name)' was refused: \(refusal)")
                    continue
                }
                for word in mentions {
                    XCTAssertTrue(refusal.description.contains(word), "'\(one.name)': no '\(word)' in \(refusal)")
                }
            }
        }
    }

    private func refusal() throws -> [String]? {
        guard let found = expected.member("refusal") else { return nil }
        return try found["mentions"].strings()
    }
}

/// A golden file that does not look as it should.
struct GoldenError: Error {
    let text: String
}

extension JSONValue {
    func member(_ key: String) -> JSONValue? {
        if case .object(let members) = self { return members[key] }
        return nil
    }

    /// Null where there is no such member.
    subscript(key: String) -> JSONValue {
        return member(key) ?? .null
    }

    var isNull: Bool { return self == .null }

    func list() throws -> [JSONValue] {
        guard case .array(let values) = self else { throw GoldenError(text: "no list") }
        return values
    }

    func double() throws -> Double {
        switch self {
        case .integer(let value): return Double(value)
        case .number(let value): return value
        case .string(let text):
            guard let value = Double(text) else { throw GoldenError(text: "no number: \(text)") }
            return value
        default: throw GoldenError(text: "no number")
        }
    }

    func int() throws -> Int {
        return Int(try double())
    }

    func text() throws -> String {
        guard case .string(let value) = self else { throw GoldenError(text: "no text") }
        return value
    }

    func flag() throws -> Bool {
        guard case .bool(let value) = self else { throw GoldenError(text: "no truth value") }
        return value
    }

    func doubles() throws -> [Double] {
        return try list().map { try $0.double() }
    }

    func ints() throws -> [Int] {
        return try list().map { try $0.int() }
    }

    func strings() throws -> [String] {
        return try list().map { try $0.text() }
    }

    /// The same as a type of the core.
    func decoded<Value: Decodable>(_ type: Value.Type) throws -> Value {
        return try JSONDecoder().decode(type, from: JSONEncoder().encode(self))
    }

    func box() throws -> Box {
        return try decoded(Box.self)
    }

    func square() throws -> Square {
        return try decoded(Square.self)
    }

    func matrix() throws -> Affine {
        let rows: [[Double]] = try list().map { try $0.doubles() }
        return Affine(a: rows[0][0], b: rows[0][1], c: rows[0][2], d: rows[1][0], e: rows[1][1], f: rows[1][2])
    }

    func shape() throws -> [Int] {
        return try self["shape"].ints()
    }

    /// Stored numbers of an array, in C order.
    func numbers() throws -> [Double] {
        if let text = member("base64") {
            guard let data = Data(base64Encoded: try text.text()) else { throw GoldenError(text: "no base64") }
            if try self["dtype"].text() == "int8" {
                return data.map { Double(Int8(bitPattern: $0)) }
            }
            return data.map { Double($0) }
        }
        return try self["values"].doubles()
    }

    func floats() throws -> [Float] {
        let divisor: Float = try member("divisor").map { Float(try $0.double()) } ?? 1
        return try numbers().map { Float($0) / divisor }
    }

    func bytes() throws -> [UInt8] {
        return try numbers().map { UInt8($0) }
    }

    func tensorValues() throws -> TensorValues {
        switch try self["dtype"].text() {
        case "uint8": return .bytes(try bytes())
        case "int8": return .signedBytes(try numbers().map { Int8($0) })
        default: return .floats(try floats())
        }
    }

    func picture() throws -> Picture {
        let sizes: [Int] = try shape()
        return Picture(width: sizes[1], height: sizes[0], pixels: try bytes())
    }

    func bytePlane() throws -> BytePlane {
        let sizes: [Int] = try shape()
        return BytePlane(width: sizes[1], height: sizes[0], values: try bytes())
    }

    func planes() throws -> Planes {
        let sizes: [Int] = try shape()
        return Planes(classes: sizes[0], height: sizes[1], width: sizes[2], values: try floats())
    }

    /// Nil for null.
    func flow() throws -> Flow? {
        if isNull { return nil }
        let sizes: [Int] = try shape()
        return Flow(width: sizes[1], height: sizes[0], values: try floats())
    }

    func color() throws -> Color {
        let parts: [Int] = try ints()
        return Color(red: UInt8(parts[0]), green: UInt8(parts[1]), blue: UInt8(parts[2]))
    }
}

/// Floats to 1e-5, relative beyond 1.
func assertClose(_ found: Double, _ expected: Double, _ name: String) {
    if found == expected || (found.isNaN && expected.isNaN) { return }
    let bound: Double = 1e-5 * max(1, abs(expected))
    XCTAssertLessThanOrEqual(abs(found - expected), bound, "\(name): \(found), not \(expected)")
}

func assertClose(_ found: [Double], _ expected: [Double], _ name: String) {
    XCTAssertEqual(found.count, expected.count, name)
    for (one, other) in zip(found, expected) {
        assertClose(one, other, name)
    }
}

func assertClose(_ found: Planes, _ expected: JSONValue, _ name: String) throws {
    XCTAssertEqual([found.classes, found.height, found.width], try expected.shape(), name)
    assertClose(found.values.map { Double($0) }, try expected.floats().map { Double($0) }, name)
}

func assertClose(_ found: Affine, _ expected: JSONValue, _ name: String) throws {
    let wanted: Affine = try expected.matrix()
    assertClose(
        [found.a, found.b, found.c, found.d, found.e, found.f],
        [wanted.a, wanted.b, wanted.c, wanted.d, wanted.e, wanted.f], name)
}

func assertClose(_ found: Box, _ expected: JSONValue, _ name: String) throws {
    let wanted: Box = try expected.box()
    assertClose(
        [found.x, found.y, found.width, found.height], [wanted.x, wanted.y, wanted.width, wanted.height], name)
}

func assertClose(_ found: Square, _ expected: JSONValue, _ name: String) throws {
    let wanted: Square = try expected.square()
    assertClose([found.x, found.y, found.side], [wanted.x, wanted.y, wanted.side], name)
}

/// Bytes to the tolerance of the case, which is 0 where there is none.
func assertBytes(_ found: [UInt8], _ expected: JSONValue, in whole: JSONValue, _ name: String) throws {
    let tolerance: Double = try whole["tolerance"].isNull ? 0 : whole["tolerance"].double()
    let wanted: [Double] = try expected.numbers()
    XCTAssertEqual(found.count, wanted.count, name)
    var worst: Double = 0
    for (one, other) in zip(found, wanted) {
        worst = max(worst, abs(Double(one) - other))
    }
    XCTAssertLessThanOrEqual(worst, tolerance, "\(name): off by \(worst)")
}

/// Two JSON documents: numbers to 1e-5, all else the same.
func assertSame(_ found: JSONValue, _ expected: JSONValue, _ place: String) throws {
    switch expected {
    case .object(let members):
        guard case .object(let have) = found else {
            XCTFail("\(place): \(found) is no object")
            return
        }
        XCTAssertEqual(have.keys.sorted(), members.keys.sorted(), place)
        for (key, value) in members {
            try assertSame(found[key], value, "\(place).\(key)")
        }
    case .array(let values):
        let have: [JSONValue] = try found.list()
        XCTAssertEqual(have.count, values.count, place)
        for (index, pair) in zip(have, values).enumerated() {
            try assertSame(pair.0, pair.1, "\(place)[\(index)]")
        }
    case .integer, .number:
        assertClose(try found.double(), try expected.double(), place)
    default:
        XCTAssertEqual(found, expected, place)
    }
}
