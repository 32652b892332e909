import Foundation
import XCTest

@testable import FaceParsing

final class TrackingTests: XCTestCase {
    func testMaskReader() throws {
        try GoldenCase.check("mask_reader") { (one: GoldenCase) in
            let given: JSONValue = one.input
            let shape: [Int] = try given["shape"].ints()
            let found: MaskFace = MaskReader(labels: try given["labels"].strings()).read(
                try given["probabilities"].planes(), matrix: try given["matrix"].matrix(),
                box: try given["box"].box(), height: shape[0], width: shape[1])
            try assertClose(found.box, one.expected["box"], one.name)
            assertClose(found.confidence, try one.expected["confidence"].double(), one.name)
            XCTAssertEqual(found.lost, try one.expected["lost"].text(), one.name)
            XCTAssertEqual(found.doubt, try one.expected["doubt"].text(), one.name)
        }
    }

    func testHeldBox() throws {
        try GoldenCase.check("held_box") { (one: GoldenCase) in
            let given: JSONValue = one.input
            switch one.function {
            case "follow":
                try self.follow(one)
            case "is_off":
                let found: Bool = HeldBox(try given["held"].box()).isOff(try given["box"].box())
                XCTAssertEqual(found, try one.expected["off"].flag(), one.name)
            case "correction":
                let found = Correction(mask: try given["mask"].box(), detected: try given["detected"].box())
                assertClose(found.scale, try one.expected["scale"].double(), one.name)
                assertClose([found.shiftX, found.shiftY], try one.expected["shift"].doubles(), one.name)
            case "applied":
                let shift: [Double] = try given["correction"]["shift"].doubles()
                let scale: Double = try given["correction"]["scale"].double()
                let found: Box = Correction(scale: scale, shiftX: shift[0], shiftY: shift[1]).applied(
                    to: try given["mask"].box())
                try assertClose(found, one.expected, one.name)
            case "overlap":
                let found: Double = try given["first"].box().overlap(given["second"].box())
                assertClose(found, try one.expected["overlap"].double(), one.name)
            default:
                throw GoldenError(text: "no function '\(one.function)'")
            }
        }
    }

    private func follow(_ one: GoldenCase) throws {
        var held = HeldBox(try one.input["box"].box())
        try assertClose(held.box, one.expected["first"], one.name)
        let moved: [JSONValue] = try one.expected["moved"].list()
        let places: [JSONValue] = try one.expected["held"].list()
        for (index, box) in try one.input["boxes"].list().enumerated() {
            let hasMoved: Bool = held.follow(try box.box())
            XCTAssertEqual(hasMoved, try moved[index].flag(), one.name)
            try assertClose(held.box, places[index], one.name)
        }
    }
}
