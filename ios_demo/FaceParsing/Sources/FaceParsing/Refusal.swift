import Foundation

/// What the core will not do, in words for the person in front of the screen.
public struct Refusal: Error, Equatable, LocalizedError, CustomStringConvertible {
    public let message: String
    /// The way out; may be empty.
    public let hint: String

    public init(_ message: String, hint: String = "") {
        self.message = message
        self.hint = hint
    }

    public var description: String {
        return hint.isEmpty ? message : "\(message); \(hint)"
    }

    public var errorDescription: String? {
        return description
    }
}
