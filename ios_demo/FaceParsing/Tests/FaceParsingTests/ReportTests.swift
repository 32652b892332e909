import Foundation
import XCTest

@testable import FaceParsing

final class ReportTests: XCTestCase {
    func testFigures() throws {
        try GoldenCase.check("statistics") { (one: GoldenCase) in
            let found: Figures = try Figures(one.input["samples"].doubles())
            let wanted: JSONValue = one.expected
            assertClose(
                [found.p50, found.p90, found.p99, found.mean, found.minimum, found.maximum, found.spread],
                try ["p50", "p90", "p99", "mean", "minimum", "maximum", "spread"].map { try wanted[$0].double() },
                one.name)
            XCTAssertEqual(found.outliers, try wanted["outliers"].int(), one.name)
            XCTAssertEqual(found.count, try wanted["count"].int(), one.name)
            XCTAssertEqual(found.drifted, try wanted["drifted"].flag(), one.name)
            XCTAssertEqual(found.drift == nil, wanted["drift"].isNull, one.name)
            if let drift = found.drift {
                assertClose(drift, try wanted["drift"].double(), one.name)
            }
        }
    }

    func testReports() throws {
        try GoldenCase.check("report") { (one: GoldenCase) in
            let given: JSONValue = one.input
            let entries: [ReportEntry] = try given["entries"].list().map { try self.entry($0) }
            let report = try Report(
                created: given["created"].text(), command: given["command"].strings(),
                lane: Lane(
                    name: given["lane"]["name"].text(),
                    details: given["lane"]["details"].decoded([String: JSONValue].self)),
                machine: given["machine"].decoded([String: JSONValue].self),
                settings: given["settings"].decoded([String: JSONValue].self), entries: entries)
            let found: JSONValue = try JSONDecoder().decode(JSONValue.self, from: report.json())
            try assertSame(found, one.expected["report"], one.name)
        }
    }

    private func entry(_ given: JSONValue) throws -> ReportEntry {
        return try ReportEntry(
            name: given["name"].text(), runtime: given["runtime"].text(),
            threads: given["threads"].isNull ? nil : given["threads"].int(),
            file: given["file"].decoded(MeasuredFile.self), loadMs: given["load_ms"].double(),
            firstMs: given["first_ms"].double(), warmupRuns: given["warmup_runs"].int(),
            steady: given["steady"].flag(), repeats: given["repeats"].int(),
            frames: given["frames"].list().map { try $0.decoded([String: Double].self) },
            atS: given["at_s"].doubles(), memoryMb: given["memory_mb"].decoded([String: Double].self),
            shares: given["shares"].decoded([String: Double].self),
            partial: given["partial"].isNull ? nil : given["partial"].text())
    }
}
