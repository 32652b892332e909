import Accelerate
import CoreGraphics
import CoreVideo
import FaceParsing
import Foundation
import ImageIO

/// Pictures to and from what the system draws and captures; vImage reorders the channels.
enum PixelBuffers {
    /// The pixels of a BGRA buffer.
    static func picture(of buffer: CVPixelBuffer) throws -> Picture {
        CVPixelBufferLockBaseAddress(buffer, .readOnly)
        defer { CVPixelBufferUnlockBaseAddress(buffer, .readOnly) }
        let width: Int = CVPixelBufferGetWidth(buffer)
        let height: Int = CVPixelBufferGetHeight(buffer)
        guard CVPixelBufferGetPixelFormatType(buffer) == kCVPixelFormatType_32BGRA,
            let base = CVPixelBufferGetBaseAddress(buffer)
        else {
            throw Refusal("a frame does not hold BGRA pixels")
        }
        var source = vImage_Buffer(
            data: base, height: vImagePixelCount(height), width: vImagePixelCount(width),
            rowBytes: CVPixelBufferGetBytesPerRow(buffer))
        var pixels = [UInt8](repeating: 0, count: width * height * 3)
        let status: vImage_Error = pixels.withUnsafeMutableBytes {
            (bytes: UnsafeMutableRawBufferPointer) -> vImage_Error in
            var target = vImage_Buffer(
                data: bytes.baseAddress, height: vImagePixelCount(height), width: vImagePixelCount(width),
                rowBytes: width * 3)
            return vImageConvert_BGRA8888toRGB888(&source, &target, vImage_Flags(kvImageNoFlags))
        }
        guard status == kvImageNoError else { throw Refusal("a frame cannot be read (vImage \(status))") }
        return Picture(width: width, height: height, pixels: pixels)
    }

    /// The pixels of a picture file, as they are stored.
    static func picture(at url: URL) throws -> Picture {
        let name: String = url.lastPathComponent
        guard let source = CGImageSourceCreateWithURL(url as CFURL, nil),
            let image = CGImageSourceCreateImageAtIndex(source, 0, nil),
            let space = CGColorSpace(name: CGColorSpace.sRGB)
        else { throw Refusal("'\(name)' cannot be decoded") }
        let width: Int = image.width
        let height: Int = image.height
        var drawn = [UInt8](repeating: 0, count: width * height * 4)
        let isDrawn: Bool = drawn.withUnsafeMutableBytes { (bytes: UnsafeMutableRawBufferPointer) -> Bool in
            guard
                let context = CGContext(
                    data: bytes.baseAddress, width: width, height: height, bitsPerComponent: 8,
                    bytesPerRow: width * 4, space: space, bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
            else { return false }
            context.draw(image, in: CGRect(x: 0, y: 0, width: width, height: height))
            return true
        }
        guard isDrawn else { throw Refusal("'\(name)' cannot be decoded") }
        var pixels = [UInt8](repeating: 0, count: width * height * 3)
        for pixel in 0..<(width * height) {
            for channel in 0..<3 {
                pixels[3 * pixel + channel] = drawn[4 * pixel + channel]
            }
        }
        return Picture(width: width, height: height, pixels: pixels)
    }

    /// A new BGRA buffer with the pixels of a picture.
    static func buffer(of picture: Picture) throws -> CVPixelBuffer {
        var made: CVPixelBuffer? = nil
        let attributes: [String: Any] = [kCVPixelBufferIOSurfacePropertiesKey as String: [String: Any]()]
        CVPixelBufferCreate(
            kCFAllocatorDefault, picture.width, picture.height, kCVPixelFormatType_32BGRA,
            attributes as CFDictionary, &made)
        guard let buffer = made else { throw Refusal("there is no memory for a frame") }
        CVPixelBufferLockBaseAddress(buffer, [])
        defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
        guard let base = CVPixelBufferGetBaseAddress(buffer) else { throw Refusal("there is no memory for a frame") }
        var target = vImage_Buffer(
            data: base, height: vImagePixelCount(picture.height), width: vImagePixelCount(picture.width),
            rowBytes: CVPixelBufferGetBytesPerRow(buffer))
        var pixels: [UInt8] = picture.pixels
        let status: vImage_Error = pixels.withUnsafeMutableBytes {
            (bytes: UnsafeMutableRawBufferPointer) -> vImage_Error in
            var source = vImage_Buffer(
                data: bytes.baseAddress, height: vImagePixelCount(picture.height),
                width: vImagePixelCount(picture.width), rowBytes: picture.width * 3)
            return vImageConvert_RGB888toBGRA8888(
                &source, nil, Pixel_8(UInt8.max), &target, false, vImage_Flags(kvImageNoFlags))
        }
        guard status == kvImageNoError else { throw Refusal("a frame cannot be made (vImage \(status))") }
        return buffer
    }

    static func image(of picture: Picture) -> CGImage? {
        guard let provider = CGDataProvider(data: Data(picture.pixels) as CFData),
            let space = CGColorSpace(name: CGColorSpace.sRGB)
        else { return nil }
        return CGImage(
            width: picture.width, height: picture.height, bitsPerComponent: 8, bitsPerPixel: 24,
            bytesPerRow: picture.width * 3, space: space,
            bitmapInfo: CGBitmapInfo(rawValue: CGImageAlphaInfo.none.rawValue), provider: provider, decode: nil,
            shouldInterpolate: true, intent: .defaultIntent)
    }
}
