// Where to look for a face when none is known: squares of falling size, the network itself says whether one shows a
// face. Where the browser has the FaceDetector of the Shape Detection API, its boxes come first.

import type {Box, Picture} from './region';

// Networks see a face that is 0.6 to 1.3 times as large as usual in a region and a fifth of the region's side off.
const SHRINK = 1.6;
const LEVELS = 3;
// Neighbouring squares are this far apart, in units of their side.
const APART = 0.4;
// Nor smaller than the picture's longer side by this factor: a strip would have tens of thousands of them.
const NARROW = 16;

interface ShapeDetector {
  detect(image: ImageData): Promise<{boundingBox: DOMRectReadOnly}[]>;
}

// Regions to try, in order: those in the middle of the picture, the largest first, then the others.
export function candidates(width: number, height: number): Box[] {
  const shorter = Math.min(width, height);
  const middle: Box[] = [];
  const others: Box[] = [];
  const sides = Array.from({length: LEVELS}, (_, level) => shorter / SHRINK ** level);
  const longer = Math.max(width, height);
  for (const side of new Set([longer, ...sides.filter((one) => NARROW * one >= longer)])) {
    for (const y of places(height, side)) {
      for (const x of places(width, side)) {
        const central = Math.abs(x + (side - width) / 2) < 1 && Math.abs(y + (side - height) / 2) < 1;
        (central ? middle : others).push({x, y, side});
      }
    }
  }
  return [...middle, ...others];
}

// Whether a picture is too narrow to look for faces in: none is as small as one in it would be.
export function isStrip(width: number, height: number): boolean {
  return NARROW * Math.min(width, height) < Math.max(width, height);
}

// Starts of an odd number of squares along an axis, so that one lies in the middle.
function places(length: number, side: number): number[] {
  const spare = (length - side) / 2;
  const steps = spare > 0 ? Math.ceil(spare / (APART * side)) : 0;
  return Array.from({length: 2 * steps + 1}, (_, index) => spare * (steps ? index / steps : 1));
}

let detector: ShapeDetector | null | undefined;

// Faces that the browser itself finds, the largest first; none where it has no detector.
export async function detected(picture: Picture): Promise<Box[]> {
  if (detector === undefined) {
    const Detector = (globalThis as {FaceDetector?: new (options: object) => ShapeDetector}).FaceDetector;
    detector = Detector ? new Detector({fastMode: true, maxDetectedFaces: 2}) : null;
  }
  if (detector === null) {
    return [];
  }
  try {
    const image = new ImageData(new Uint8ClampedArray(picture.data), picture.width, picture.height);
    const found = (await detector.detect(image)).map(({boundingBox: {x, y, width, height}}) => {
      const side = Math.max(width, height);
      return {x: x + width / 2 - side / 2, y: y + height / 2 - side / 2, side};
    });
    return found.sort((one, other) => other.side - one.side);
  } catch {
    // The interface is there on some systems that have no detector behind it.
    detector = null;
    return [];
  }
}
