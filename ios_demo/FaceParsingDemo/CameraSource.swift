import AVFoundation
import CoreVideo
import Foundation

/// Frames of the front camera, upright and mirrored. The newest frame wins: late ones are dropped.
final class CameraSource: NSObject, AVCaptureVideoDataOutputSampleBufferDelegate {
    private let session = AVCaptureSession()
    private let queue: DispatchQueue
    private let use: (CVPixelBuffer) -> Void
    private var isReady: Bool = false

    /// `use` is called on `queue`, one frame at a time.
    init(queue: DispatchQueue, use: @escaping (CVPixelBuffer) -> Void) {
        self.queue = queue
        self.use = use
        super.init()
    }

    /// Asks for permission where nobody has; calls back with a message when there is no camera to use.
    func start(problem: @escaping (String?) -> Void) {
        AVCaptureDevice.requestAccess(for: .video) { (granted: Bool) in
            self.queue.async {
                guard granted else {
                    problem(Messages.cameraRefused)
                    return
                }
                do {
                    if !self.isReady {
                        self.isReady = try self.configure()
                    }
                } catch {
                    problem(error.localizedDescription)
                    return
                }
                guard self.isReady else {
                    problem(Messages.noCamera)
                    return
                }
                problem(nil)
                self.session.startRunning()
            }
        }
    }

    func stop() {
        queue.async {
            if self.session.isRunning {
                self.session.stopRunning()
            }
        }
    }

    private func configure() throws -> Bool {
        let preset = try AVCaptureSession.Preset(rawValue: AppSettings.text("CameraPreset"))
        guard let device = AVCaptureDevice.default(.builtInWideAngleCamera, for: .video, position: .front),
            let input = try? AVCaptureDeviceInput(device: device)
        else { return false }
        let output = AVCaptureVideoDataOutput()
        output.alwaysDiscardsLateVideoFrames = true
        output.videoSettings = [kCVPixelBufferPixelFormatTypeKey as String: kCVPixelFormatType_32BGRA]
        output.setSampleBufferDelegate(self, queue: queue)
        session.beginConfiguration()
        defer { session.commitConfiguration() }
        if session.canSetSessionPreset(preset) {
            session.sessionPreset = preset
        }
        guard session.canAddInput(input), session.canAddOutput(output) else { return false }
        session.addInput(input)
        session.addOutput(output)
        if let connection = output.connection(with: .video) {
            if connection.isVideoOrientationSupported {
                connection.videoOrientation = .portrait
            }
            if connection.isVideoMirroringSupported {
                connection.automaticallyAdjustsVideoMirroring = false
                connection.isVideoMirrored = true
            }
        }
        return true
    }

    func captureOutput(
        _ output: AVCaptureOutput, didOutput sampleBuffer: CMSampleBuffer, from connection: AVCaptureConnection
    ) {
        if let buffer = CMSampleBufferGetImageBuffer(sampleBuffer) {
            use(buffer)
        }
    }
}
