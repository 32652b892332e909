import Foundation
import XCTest

@testable import FaceParsing

final class PreviousMaskTests: XCTestCase {
    func testMasks() throws {
        try GoldenCase.check("previous_mask") { (one: GoldenCase) in
            let given: JSONValue = one.input
            let wanted: JSONValue = one.expected
            switch one.function {
            case "shrink":
                let found: Planes = try given["planes"].planes().shrunk(to: given["side"].int())
                try assertClose(found, wanted["planes"], one.name)
            case "grey":
                let found: BytePlane = try given["picture"].picture().shrunkGrey(to: given["side"].int())
                try assertBytes(found.values, wanted["grey"], in: wanted, one.name)
            case "carry":
                let met: BytePlane? = try given["met"].isNull ? nil : given["met"].bytePlane()
                let found: Planes = PreviousMask.carry(
                    try given["mask"].planes(), flow: try given["flow"].flow(), region: try given["region"].matrix(),
                    met: met)
                try assertClose(found, wanted["mask"], one.name)
            case "met_again":
                let found: BytePlane = PreviousMask.metAgain(
                    before: try given["before"].bytePlane(), now: try given["now"].bytePlane(),
                    flow: try given["flow"].flow(), back: try given["back"].flow())
                try assertBytes(found.values, wanted["met"], in: wanted, one.name)
            case "carried":
                try self.carried(one)
            default:
                throw GoldenError(text: "no function '\(one.function)'")
            }
        }
    }

    private func carried(_ one: GoldenCase) throws {
        let given: JSONValue = one.input
        let found = PreviousMask.carried(
            try given["mask"].planes(), beforeGrey: try given["before_grey"].bytePlane(),
            nowGrey: try given["now_grey"].bytePlane(), before: try given["before_matrix"].matrix(),
            now: try given["now_matrix"].matrix(), size: try given["size"].int(), flow: try given["flow"].flow(),
            back: try given["back"].flow())
        if one.expected["mask"].isNull {
            XCTAssertNil(found, one.name)
            return
        }
        let moved = try XCTUnwrap(found, one.name)
        try assertBytes(moved.met.values, one.expected["met"], in: one.expected, one.name)
        try assertClose(moved.mask, one.expected["mask"], one.name)
    }
}
