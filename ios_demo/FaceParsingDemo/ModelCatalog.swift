import CryptoKit
import FaceParsing
import Foundation

/// A model file of the bundle with what its sidecar says.
struct ModelChoice: Identifiable {
    let url: URL
    let sidecar: Sidecar
    let contract: Contract

    var id: String { return url.lastPathComponent }
    var title: String { return "\(sidecar.name) \(sidecar.precision)" }
}

/// Lists the models folder of the bundle: every file there with its sidecar is a choice on the screen.
enum ModelCatalog {
    static let suffixes: [String] = ["mlpackage", "mlmodel"]

    /// All models that can be used, and why the others cannot.
    static func load() -> (choices: [ModelChoice], problems: [String]) {
        var choices: [ModelChoice] = []
        var problems: [String] = []
        let folder: String
        do {
            folder = try AppSettings.text("ModelsFolder")
        } catch {
            return (choices: [], problems: [error.localizedDescription])
        }
        for url in files(folder) {
            do {
                choices.append(try choice(url))
            } catch {
                problems.append(error.localizedDescription)
            }
        }
        if choices.isEmpty && problems.isEmpty {
            problems.append(Messages.noModels(folder))
        }
        return (choices: choices, problems: problems)
    }

    private static func files(_ folder: String) -> [URL] {
        guard let root = Bundle.main.url(forResource: folder, withExtension: nil) else { return [] }
        let found: [URL] =
            (try? FileManager.default.contentsOfDirectory(at: root, includingPropertiesForKeys: nil)) ?? []
        return found.filter { suffixes.contains($0.pathExtension) }
            .sorted { $0.lastPathComponent < $1.lastPathComponent }
    }

    private static func choice(_ url: URL) throws -> ModelChoice {
        let name: String = url.lastPathComponent
        guard let data = try? Data(contentsOf: url.appendingPathExtension("json")) else {
            throw Refusal(Messages.noSidecar(name))
        }
        let sidecar: Sidecar = try Sidecar.decode(data, file: name)
        let contract: Contract = try Contract(sidecar, file: name)
        guard try sha256(of: url) == sidecar.sha256 else { throw Refusal(Messages.otherFile(name)) }
        return ModelChoice(url: url, sidecar: sidecar, contract: contract)
    }

    /// Of a file; of a package, of its files' names and contents in the order of their paths.
    private static func sha256(of url: URL) throws -> String {
        var digest = SHA256()
        var isFolder: ObjCBool = false
        let exists: Bool = FileManager.default.fileExists(atPath: url.path, isDirectory: &isFolder)
        if exists && isFolder.boolValue {
            for path in try relativeFiles(url) {
                digest.update(data: Data(path.joined(separator: "/").utf8))
                let place: URL = path.reduce(url) { $0.appendingPathComponent($1) }
                digest.update(data: try Data(contentsOf: place, options: .mappedIfSafe))
            }
        } else {
            digest.update(data: try Data(contentsOf: url, options: .mappedIfSafe))
        }
        return digest.finalize().map { String(format: "%02x", $0) }.joined()
    }

    /// Paths of all files in a folder, as their parts, in order.
    private static func relativeFiles(_ folder: URL) throws -> [[String]] {
        let names: [String] = try FileManager.default.subpathsOfDirectory(atPath: folder.path)
        var found: [[String]] = []
        for name in names {
            var isFolder: ObjCBool = false
            let path: String = folder.appendingPathComponent(name).path
            if FileManager.default.fileExists(atPath: path, isDirectory: &isFolder), !isFolder.boolValue {
                found.append(name.split(separator: "/").map { String($0) })
            }
        }
        return found.sorted { $0.lexicographicallyPrecedes($1) }
    }
}
