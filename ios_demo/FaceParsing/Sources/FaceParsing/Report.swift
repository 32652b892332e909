import Foundation

/// The artefact behind an entry.
public struct MeasuredFile: Codable, Equatable {
    public let path: String
    public let sha256: String
    public let bytes: Int
    public let format: String
    public let precision: String?
    public let model: String?
    public let parity: Parity?

    public init(
        path: String, sha256: String, bytes: Int, format: String, precision: String?, model: String?, parity: Parity?
    ) {
        self.path = path
        self.sha256 = sha256
        self.bytes = bytes
        self.format = format
        self.precision = precision
        self.model = model
        self.parity = parity
    }

    enum CodingKeys: String, CodingKey {
        case path
        case sha256
        case bytes
        case format
        case precision
        case model
        case parity
    }

    public func encode(to encoder: Encoder) throws {
        var made = encoder.container(keyedBy: CodingKeys.self)
        try made.encode(path, forKey: .path)
        try made.encode(sha256, forKey: .sha256)
        try made.encode(bytes, forKey: .bytes)
        try made.encode(format, forKey: .format)
        try made.encode(precision, forKey: .precision)
        try made.encode(model, forKey: .model)
        try made.encode(parity, forKey: .parity)
    }
}

/// What was measured of one file: milliseconds by stage of every frame.
public struct ReportEntry: Encodable {
    public let name: String
    public let runtime: String
    public let threads: Int?
    public let file: MeasuredFile
    public let loadMs: Double
    public let firstMs: Double
    public let warmupRuns: Int
    public let steady: Bool
    public let repeats: Int
    public let samples: [String: [Double]]
    /// When each frame began, in seconds from the start of the measurement.
    public let atS: [Double]
    public let memoryMb: [String: Double]
    public let shares: [String: Double]
    /// Why the measurement ended early; nil when it did not.
    public let partial: String?

    /// `frames` have the milliseconds of every stage of a frame, by the stage's name.
    public init(
        name: String, runtime: String, threads: Int?, file: MeasuredFile, loadMs: Double, firstMs: Double,
        warmupRuns: Int, steady: Bool, repeats: Int, frames: [[String: Double]], atS: [Double],
        memoryMb: [String: Double], shares: [String: Double], partial: String?
    ) throws {
        var columns: [String: [Double]] = [:]
        for stage in Stage.allCases {
            columns[stage.rawValue] = frames.compactMap { $0[stage.rawValue] }
        }
        let complete: Bool = columns.values.allSatisfy { $0.count == frames.count }
        guard complete, atS.count == frames.count else {
            throw Refusal("samples of '\(name)' are incomplete")
        }
        var times: [Double] = atS + [loadMs, firstMs]
        times.append(contentsOf: memoryMb.values)
        for column in columns.values {
            times.append(contentsOf: column)
        }
        guard times.allSatisfy({ $0.isFinite && $0 >= 0 }) else {
            throw Refusal("samples of '\(name)' are no times")
        }
        self.name = name
        self.runtime = runtime
        self.threads = threads
        self.file = file
        self.loadMs = loadMs
        self.firstMs = firstMs
        self.warmupRuns = warmupRuns
        self.steady = steady
        self.repeats = repeats
        self.samples = columns
        self.atS = atS
        self.memoryMb = memoryMb
        self.shares = shares
        self.partial = partial
    }

    enum CodingKeys: String, CodingKey {
        case name
        case runtime
        case threads
        case file
        case loadMs = "load_ms"
        case firstMs = "first_ms"
        case warmupRuns = "warmup_runs"
        case steady
        case repeats
        case samples
        case atS = "at_s"
        case memoryMb = "memory_mb"
        case operators
        case shares
        case partial
        case waitedMs = "waited_ms"
    }

    public func encode(to encoder: Encoder) throws {
        var made = encoder.container(keyedBy: CodingKeys.self)
        try made.encode(name, forKey: .name)
        try made.encode(runtime, forKey: .runtime)
        try made.encode(threads, forKey: .threads)
        try made.encode(file, forKey: .file)
        try made.encode(loadMs, forKey: .loadMs)
        try made.encode(firstMs, forKey: .firstMs)
        try made.encode(warmupRuns, forKey: .warmupRuns)
        try made.encode(steady, forKey: .steady)
        try made.encode(repeats, forKey: .repeats)
        try made.encode(samples, forKey: .samples)
        try made.encode(atS, forKey: .atS)
        try made.encode(memoryMb, forKey: .memoryMb)
        try made.encodeNil(forKey: .operators)
        try made.encode(shares, forKey: .shares)
        try made.encode(partial, forKey: .partial)
        try made.encode([Double](), forKey: .waitedMs)
    }
}

/// Where the figures come from: always a device.
public struct Lane: Codable {
    public let place: String
    public let name: String
    public let details: [String: JSONValue]

    enum CodingKeys: String, CodingKey {
        case place = "where"
        case name
        case details
    }

    public init(name: String, details: [String: JSONValue]) {
        self.place = "device"
        self.name = name
        self.details = details
    }
}

/// The results file that `toolchain benchmark report` reads.
public struct Report: Encodable {
    static let format: String = "toolchain-benchmark"
    static let version: Int = 1
    static let kind: String = "pipeline"

    public let created: String
    public let command: [String]
    public let lane: Lane
    public let machine: [String: JSONValue]
    public let settings: [String: JSONValue]
    public let entries: [ReportEntry]

    /// `created` is UTC, ISO 8601.
    public init(
        created: String, command: [String], lane: Lane, machine: [String: JSONValue], settings: [String: JSONValue],
        entries: [ReportEntry]
    ) throws {
        let names: [String] = entries.map { $0.name }
        guard Set<String>(names).count == names.count else {
            throw Refusal("entries share a name: \(names)")
        }
        self.created = created
        self.command = command
        self.lane = lane
        self.machine = machine
        self.settings = settings
        self.entries = entries
    }

    enum CodingKeys: String, CodingKey {
        case format
        case version
        case kind
        case created
        case command
        case lane
        case machine
        case settings
        case entries
        case profileNote = "profile_note"
    }

    public func encode(to encoder: Encoder) throws {
        var made = encoder.container(keyedBy: CodingKeys.self)
        try made.encode(Report.format, forKey: .format)
        try made.encode(Report.version, forKey: .version)
        try made.encode(Report.kind, forKey: .kind)
        try made.encode(created, forKey: .created)
        try made.encode(command, forKey: .command)
        try made.encode(lane, forKey: .lane)
        try made.encode(machine, forKey: .machine)
        try made.encode(settings, forKey: .settings)
        try made.encode(entries, forKey: .entries)
        try made.encodeNil(forKey: .profileNote)
    }

    public func json() throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        return try encoder.encode(self)
    }
}
