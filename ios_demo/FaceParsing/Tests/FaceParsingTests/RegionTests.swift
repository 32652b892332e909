import Foundation
import XCTest

@testable import FaceParsing

final class RegionTests: XCTestCase {
    func testRegions() throws {
        try GoldenCase.check("region") { (one: GoldenCase) in
            let given: JSONValue = one.input
            switch one.function {
            case "face_square":
                let found = Square(
                    around: try given["box"].box(), margin: try given["margin"].double(),
                    shift: try given["shift"].double())
                try assertClose(found, one.expected, one.name)
            case "whole":
                try assertClose(try given["square"].square().whole(), one.expected, one.name)
            case "whole_square":
                let found = Square.holding(height: try given["height"].int(), width: try given["width"].int())
                try assertClose(found, one.expected, one.name)
            case "central_square":
                let found = Square.inside(height: try given["height"].int(), width: try given["width"].int())
                try assertClose(found, one.expected, one.name)
            case "crop":
                let found: Picture = try given["picture"].picture().cropped(
                    try given["matrix"].matrix(), size: try given["size"].int(), resize: try given["resize"].text())
                try assertBytes(found.pixels, one.expected["picture"], in: one.expected, one.name)
            default:
                try assertClose(try matrix(one), one.expected["matrix"], one.name)
            }
        }
    }

    private func matrix(_ one: GoldenCase) throws -> Affine {
        let given: JSONValue = one.input
        switch one.function {
        case "crop_matrix":
            return Affine(cropping: try given["square"].square(), size: try given["size"].int())
        case "inverse":
            return try given["matrix"].matrix().inverse()
        case "shrunk_matrix":
            return try given["matrix"].matrix().shrunk(size: given["size"].int(), side: given["side"].int())
        case "crop_between":
            return Affine.between(before: try given["before"].matrix(), now: try given["now"].matrix())
        case "shrunk_region":
            return try given["region"].matrix().shrunkRegion(size: given["size"].int(), side: given["side"].int())
        default:
            throw GoldenError(text: "no function '\(one.function)'")
        }
    }
}
