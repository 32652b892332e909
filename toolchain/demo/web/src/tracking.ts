// Where a face is by its own mask, whether that can be trusted, and a region that holds still around it.
// The rules and figures are those of toolchain/face/tracking.py, landmarks.py and clip.py.

import {BACKGROUND} from './contract';
import {planeOf} from './preprocess';
import {boxAround, type Box, type Warp} from './region';

const LIKELY = 0.5;
// In units of the box's side, or of its area.
const LEAST_FACE = 0.2;
const LEAST_PART = 4e-4;
const JUMP = 1.5;
const LEAST_CONFIDENCE = 0.85;
const OUTLINE = 0.05;
const SIDE_BY_SPREAD = 2.76;
const UP_FROM_CENTROID = 0.029;
const UP_FROM_FACE = 0.002;
const DRIFT = 0.12;
const GROWTH = 1.2;
const AHEAD = 15;
const REMEMBERED = 5;

export interface MaskFace {
  box: Box;
  // Mean probability of "face" over the pixels where it is likely.
  confidence: number;
  // Whether both eyes, the nose and the mouth are seen.
  complete: boolean;
  // Why there is no face to follow; '' when there is one.
  lost: string;
  // Whether the mask reaches the edge of the region or of the picture.
  atEdge: boolean;
}

interface Blob {
  area: number;
  x: number;
  y: number;
  spread: number;
  confidence: number;
}

// Classes with one of the words in their names; an eyebrow is no eye.
function named(labels: readonly string[], words: readonly string[]): number[] {
  return [...labels.keys()].filter((index) => {
    const label = labels[index]!.toLowerCase();
    return index !== BACKGROUND && !label.includes('brow') && words.some((word) => label.includes(word));
  });
}

export function namesFace(labels: readonly string[]): boolean {
  return labels.includes('nose');
}

export class MaskReader {
  private readonly points: number[][];
  private readonly kinds: number[][];
  private readonly face: number[];
  private readonly classes: number;

  constructor(labels: readonly string[]) {
    const eyes = named(labels, ['eye']);
    const nose = named(labels, ['nose']);
    const mouth = named(labels, ['lip', 'mouth']);
    const brows = [...labels.keys()].filter((index) => labels[index]!.toLowerCase().includes('brow'));
    this.points = [...eyes.map((index) => [index]), nose, mouth].filter((group) => group.length);
    this.kinds = [eyes, nose, mouth].filter((group) => group.length);
    const skin = named(labels, ['skin']);
    this.face = [...new Set([...skin, ...eyes, ...brows, ...nose, ...mouth])].sort((one, other) => one - other);
    this.classes = labels.length;
  }

  // The face in the answer to one crop of `size` x `size`; `box` is where it was when the crop was made.
  read(probabilities: Float32Array, size: number, warp: Warp, box: Box, width: number, height: number): MaskFace {
    const unit = box.side * warp.scale;
    const plane = planeOf(probabilities, this.classes, this.face);
    const face = blob(plane, size);
    if (face === null || face.area < LEAST_FACE * unit ** 2) {
      return {box, confidence: 0, complete: false, lost: 'the mask shows hardly any face', atEdge: false};
    }
    const parts = this.points.map((indices) => blob(planeOf(probabilities, this.classes, indices), size));
    const seen = parts.filter((part): part is Blob => part !== null && part.area >= LEAST_PART * unit ** 2);
    const side = SIDE_BY_SPREAD * face.spread;
    let [x, y, up] = [face.x, face.y, UP_FROM_FACE];
    if (parts.length && seen.length === parts.length) {
      x = seen.reduce((sum, part) => sum + part.x, 0) / seen.length;
      y = seen.reduce((sum, part) => sum + part.y, 0) / seen.length;
      up = UP_FROM_CENTROID;
    }
    const kinds = this.kinds.filter((kind) =>
      this.points.some((indices, place) => {
        const part = parts[place]!;
        return kind.includes(indices[0]!) && part !== null && part.area >= LEAST_PART * unit ** 2;
      }),
    ).length;
    let lost = '';
    if (kinds < Math.min(2, this.kinds.length)) {
      lost = 'the mask has no eyes, nose or mouth';
    } else if (side / unit < 1 / JUMP || side / unit > JUMP) {
      lost = 'the mask changed its size abruptly';
    } else if (face.confidence < LEAST_CONFIDENCE) {
      lost = 'the mask is not sure';
    }
    return {
      box: boxAround((x - warp.x) / warp.scale, (y - up * side - warp.y) / warp.scale, side / warp.scale),
      confidence: face.confidence,
      complete: seen.length === parts.length,
      lost,
      atEdge: onOutline(plane, size, warp, width, height) > 4 * OUTLINE * size,
    };
  }
}

function blob(plane: Float32Array, size: number): Blob | null {
  let area = 0;
  let [sumX, sumY, sumXX, sumYY, sum] = [0, 0, 0, 0, 0];
  for (let y = 0, index = 0; y < size; y += 1) {
    for (let x = 0; x < size; x += 1, index += 1) {
      const value = plane[index]!;
      if (value >= LIKELY) {
        area += 1;
        sumX += x;
        sumY += y;
        sumXX += x * x;
        sumYY += y * y;
        sum += value;
      }
    }
  }
  if (area === 0) {
    return null;
  }
  const [x, y] = [sumX / area, sumY / area];
  const spread = Math.sqrt(Math.max(0, sumXX / area - x * x + sumYY / area - y * y));
  return {area, x, y, spread, confidence: sum / area};
}

// How many pixels of a mask lie on the outline of what the crop shows of the picture.
function onOutline(plane: Float32Array, size: number, warp: Warp, width: number, height: number): number {
  const clipped = (place: number): number => Math.min(Math.max(Math.round(place), 0), size - 1);
  const [left, right] = [clipped(warp.x), clipped(warp.scale * (width - 1) + warp.x)];
  const [top, bottom] = [clipped(warp.y), clipped(warp.scale * (height - 1) + warp.y)];
  let count = 0;
  for (let index = 0; index < size; index += 1) {
    for (const place of [top * size + index, bottom * size + index, index * size + left, index * size + right]) {
      count += plane[place]! >= LIKELY ? 1 : 0;
    }
  }
  return count;
}

// A face box that stays while the face is near: labels in a region that shakes would flicker.
export class HeldBox {
  private readonly latest: [number, number][] = [];

  constructor(public box: Box) {}

  // Takes the newest box; the region moves only when the face is too far off.
  follow(box: Box): void {
    let [x, y] = [box.x + box.side / 2, box.y + box.side / 2];
    this.latest.push([x, y]);
    if (this.latest.length > REMEMBERED) {
      this.latest.shift();
    }
    if (!this.isOff(box)) {
      return;
    }
    // Met halfway, a face that moves steadily moves the region half as often.
    const reach = (DRIFT / 2) * box.side;
    const [firstX, firstY] = this.latest[0]!;
    const ahead = AHEAD / 2 / Math.max(1, this.latest.length - 1);
    x += Math.min(Math.max((x - firstX) * ahead, -reach), reach);
    y += Math.min(Math.max((y - firstY) * ahead, -reach), reach);
    this.box = boxAround(x, y, box.side);
  }

  private isOff(box: Box): boolean {
    const held = this.box;
    const across = Math.abs(box.x + box.side / 2 - held.x - held.side / 2);
    const down = Math.abs(box.y + box.side / 2 - held.y - held.side / 2);
    const growth = box.side / held.side;
    return Math.max(across, down) > DRIFT * held.side || growth < 1 / GROWTH || growth > GROWTH;
  }
}
