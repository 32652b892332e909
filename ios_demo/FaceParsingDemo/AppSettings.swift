import FaceParsing
import Foundation

/// What the property list of the app says.
enum AppSettings {
    static func text(_ key: String) throws -> String {
        guard let found = Bundle.main.object(forInfoDictionaryKey: key) as? String, !found.isEmpty else {
            throw Refusal(Messages.noSetting(key))
        }
        return found
    }
}
