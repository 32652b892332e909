// The camera, and what stands in the way of one in words.

const FRAME_TIMEOUT_MS = 500;

export interface Camera {
  video: HTMLVideoElement;
  deviceId: string;
  stop(): void;
  // Calls when the camera has gone, unplugged or taken away.
  onEnd(call: () => void): void;
}

export function withoutCamera(): string {
  if (!isSecureContext) {
    return 'Browsers give no camera to a page over plain http: start the demo with --https, or use `adb reverse`.';
  }
  return navigator.mediaDevices ? '' : 'This browser gives pages no camera.';
}

export async function openCamera(deviceId: string | null): Promise<Camera> {
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: false,
    video: {
      width: {ideal: 640},
      height: {ideal: 480},
      ...(deviceId ? {deviceId: {exact: deviceId}} : {facingMode: 'user'}),
    },
  });
  const track = stream.getVideoTracks()[0]!;
  const video = document.createElement('video');
  video.muted = true;
  video.playsInline = true;
  video.srcObject = stream;
  await video.play();
  return {
    video,
    deviceId: track.getSettings().deviceId ?? '',
    stop: () => {
      track.onended = null;
      track.stop();
      video.srcObject = null;
    },
    onEnd: (call) => {
      track.onended = call;
    },
  };
}

export async function cameras(): Promise<MediaDeviceInfo[]> {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return devices.filter((device) => device.kind === 'videoinput' && device.deviceId);
}

export function whyNoCamera(error: unknown): string {
  const name = error instanceof DOMException ? error.name : '';
  switch (name) {
    case 'NotAllowedError':
      return 'The camera was refused. Allow it in the browser’s settings for this page and press “Start camera”.';
    case 'NotFoundError':
    case 'OverconstrainedError':
      return 'No camera was found. Connect one and press “Start camera”.';
    case 'NotReadableError':
    case 'AbortError':
      return 'The camera is used by another program. Close it and press “Start camera”.';
    default:
      return `The camera does not start: ${error instanceof Error ? error.message : String(error)}`;
  }
}

// Resolves with the next frame of a video, or without one after a while, so that a stop is noticed.
export function nextFrame(video: HTMLVideoElement): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, FRAME_TIMEOUT_MS);
    if ('requestVideoFrameCallback' in video) {
      video.requestVideoFrameCallback(() => resolve());
    } else {
      requestAnimationFrame(() => resolve());
    }
  });
}
