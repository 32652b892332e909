// window.toolchainDemo: frames as the page saw and painted them, for tests and for the curious.

import type {Parsed} from './engine';
import {unwarpLabels, type Picture} from './region';
import type {Times} from './stages';

export interface Snapshot {
  width: number;
  height: number;
  // Bytes of four a pixel: the frame, and the same with the effect.
  pixels: Uint8ClampedArray;
  shown: Uint8ClampedArray;
  // One a pixel; empty where no face was found, like all that follows.
  labels: Uint8Array;
  // Pixel by pixel, all classes.
  probabilities: Float32Array;
  previous: Float32Array;
  square: {x: number; y: number; side: number} | null;
  times: Times;
}

export interface Recorder {
  take(picture: Picture, shown: Picture, parsed: Parsed | null, times: Times): void;
}

// Adds the hook to the window; nothing is copied unless somebody asks.
export function install(): Recorder {
  const wanted: {count: number; made: Snapshot[]; done: (made: Snapshot[]) => void}[] = [];

  // The next `count` frames, one after the other.
  function frames(count = 1): Promise<Snapshot[]> {
    return new Promise((done) => wanted.push({count, made: [], done}));
  }

  Object.assign(window, {toolchainDemo: {frames}});
  return {
    take(picture, shown, parsed, times) {
      if (wanted.length === 0) {
        return;
      }
      const snapshot = copied(picture, shown, parsed, times);
      for (const request of [...wanted]) {
        request.made.push(snapshot);
        if (request.made.length === request.count) {
          wanted.splice(wanted.indexOf(request), 1);
          request.done(request.made);
        }
      }
    },
  };
}

function copied(picture: Picture, shown: Picture, parsed: Parsed | null, times: Times): Snapshot {
  const {width, height} = picture;
  const face = parsed?.face;
  return {
    width,
    height,
    pixels: picture.data.slice(),
    shown: shown.data.slice(),
    labels: face
      ? unwarpLabels(face.probabilities, face.contract.labels.length, face.contract.size, face.warp, picture)
      : new Uint8Array(),
    probabilities: face?.probabilities.slice() ?? new Float32Array(),
    previous: parsed?.previous?.slice() ?? new Float32Array(),
    square: parsed?.square ?? null,
    times: {...times},
  };
}
