import Foundation
import XCTest

@testable import FaceParsing

final class PaintTests: XCTestCase {
    func testOverlay() throws {
        try GoldenCase.check("overlay") { (one: GoldenCase) in
            let given: JSONValue = one.input
            var picture: Picture = try given["picture"].picture()
            try Overlay.colorize(
                &picture, labels: given["labels"].bytePlane(), palette: given["palette"].list().map { try $0.color() },
                alpha: given["alpha"].double(), hidden: Set<Int>(given["hidden"].ints()))
            try assertBytes(picture.pixels, one.expected["picture"], in: one.expected, one.name)
        }
    }

    func testLipstick() throws {
        try GoldenCase.check("lipstick") { (one: GoldenCase) in
            let given: JSONValue = one.input
            let wanted: JSONValue = one.expected
            switch one.function {
            case "tones":
                let tones = Tones(try given["color"].color(), shift: try given["shift"].double())
                let found: [UInt8] = tones.table.flatMap { [$0.red, $0.green, $0.blue] }
                try assertBytes(found, wanted["table"], in: wanted, one.name)
            case "recolored":
                let tones = Tones(try given["color"].color(), shift: try given["shift"].double())
                let found: Picture = tones.recolored(try given["pixels"].picture())
                try assertBytes(found.pixels, wanted["picture"], in: wanted, one.name)
            case "coverage":
                let shape: [Int] = try given["shape"].ints()
                let found: BytePlane = try self.effect(given).coverage(
                    given["probabilities"].planes(), given["matrix"].matrix(), height: shape[0], width: shape[1])
                try assertBytes(found.values, wanted["opacity"], in: wanted, one.name)
            case "lipstick":
                var picture: Picture = try given["picture"].picture()
                try self.effect(given).paint(
                    &picture, probabilities: given["probabilities"].planes(), matrix: given["matrix"].matrix())
                try assertBytes(picture.pixels, wanted["picture"], in: wanted, one.name)
            default:
                throw GoldenError(text: "no function '\(one.function)'")
            }
        }
    }

    private func effect(_ given: JSONValue) throws -> Lipstick {
        // Where lips are does not depend on their colour.
        let color: Color = try given["color"].isNull ? Color(red: 0, green: 0, blue: 0) : given["color"].color()
        return try Lipstick(
            labels: given["labels"].strings(), color: color, strength: given["strength"].double())
    }
}
