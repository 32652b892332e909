import Foundation

/// What a frame's time goes to, in the order in which it runs.
public enum Stage: String, CaseIterable {
    case detection
    case crop
    case inference
    case unwarp
    case colorization
    case total
}

/// Milliseconds of each stage of one frame. Not to be shared between threads.
public final class Stages {
    public private(set) var milliseconds: [Stage: Double] = [:]

    public init() {}

    /// Adds the time of a block to a stage.
    public func measure<Result>(_ stage: Stage, _ block: () throws -> Result) rethrows -> Result {
        let start: TimeInterval = ProcessInfo.processInfo.systemUptime
        defer { add(stage, (ProcessInfo.processInfo.systemUptime - start) * 1000) }
        return try block()
    }

    public func add(_ stage: Stage, _ time: Double) {
        milliseconds[stage] = (milliseconds[stage] ?? 0) + time
    }

    /// Every stage, zero where none ran: all frames of a report have the same ones.
    public var all: [Stage: Double] {
        var made: [Stage: Double] = [:]
        for stage in Stage.allCases {
            made[stage] = milliseconds[stage] ?? 0
        }
        return made
    }
}
