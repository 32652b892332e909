// Where an effect paints: opacities of pixels from the class probabilities of a crop. The formulas and figures are
// those of toolchain/face/coverage.py.

import {gaussian, grid, type Grid} from './filters';
import {tapsAlong, type Warp} from './region';

const SMALLEST_DEVIATION = 0.15;
// What must not be painted counts from this probability on, and the opacity is full again where it is by this margin
// less probable than what is painted.
const NEVER_FLOOR = 0.2;
const NEVER_MARGIN = 0.25;

// Pixels from `left`, `top` on.
export interface Rectangle {
  left: number;
  top: number;
  width: number;
  height: number;
}

export interface Coverage extends Rectangle {
  opacity: Uint8Array;
}

// Where `never` is as probable as each rival, the opacity is 0.
export interface Lead {
  rivals: Float32Array[];
  never: Float32Array;
}

interface Size {
  width: number;
  height: number;
}

// Without this Gaussian, in crop pixels, a crop finer than the picture would alias.
export function smoothing(warp: Warp): number {
  const deviation = 0.5 * Math.sqrt(Math.max(warp.scale ** 2 - 1, 0));
  return deviation > SMALLEST_DEVIATION ? deviation : 0;
}

export function ramp(value: number, low: number, high: number): number {
  return Math.min(Math.max(Math.round((255 * (value - low)) / (high - low)), 0), 255);
}

// Bounds of the pixels of a (size, size) plane for which a test holds.
export function bounds(plane: Float32Array, size: number, holds: (value: number) => boolean): Rectangle | null {
  let [left, top, right, bottom] = [size, size, -1, -1];
  for (let y = 0, at = 0; y < size; y += 1) {
    for (let x = 0; x < size; x += 1, at += 1) {
      if (holds(plane[at]!)) {
        left = Math.min(left, x);
        right = Math.max(right, x);
        top = Math.min(top, y);
        bottom = y;
      }
    }
  }
  return right < 0 ? null : {left, top, width: right - left + 1, height: bottom - top + 1};
}

export function widened(box: Rectangle, size: number, by: number): Rectangle {
  const [left, top] = [Math.max(box.left - by, 0), Math.max(box.top - by, 0)];
  const right = Math.min(box.left + box.width + by, size);
  return {left, top, width: right - left, height: Math.min(box.top + box.height + by, size) - top};
}

// What of the picture lies within `reach` crop pixels of a box of the crop.
export function boxInPicture(box: Rectangle, warp: Warp, picture: Size, reach: number): Rectangle | null {
  const place = (value: number, offset: number): number => (value - offset) / warp.scale;
  const left = Math.max(Math.ceil(place(box.left - reach, warp.x)), 0);
  const top = Math.max(Math.ceil(place(box.top - reach, warp.y)), 0);
  const right = Math.min(Math.floor(place(box.left + box.width - 1 + reach, warp.x)) + 1, picture.width);
  const bottom = Math.min(Math.floor(place(box.top + box.height - 1 + reach, warp.y)) + 1, picture.height);
  return right <= left || bottom <= top ? null : {left, top, width: right - left, height: bottom - top};
}

export function part(plane: Float32Array, size: number, box: Rectangle): Grid {
  const made = grid(box.width, box.height, 1);
  for (let y = 0; y < box.height; y += 1) {
    const from = (box.top + y) * size + box.left;
    made.values.set(plane.subarray(from, from + box.width), y * box.width);
  }
  return made;
}

// Values of a part of the crop, which begins at `origin`, at pixels of a box of the picture; 0 beyond the part.
export function interpolated(source: Grid, origin: Rectangle, warp: Warp, box: Rectangle): Grid {
  const {channels, values, width} = source;
  const across = tapsAlong(box.width, warp.scale * box.left + warp.x - origin.left, warp.scale, width);
  const down = tapsAlong(box.height, warp.scale * box.top + warp.y - origin.top, warp.scale, source.height);
  const made = grid(box.width, box.height, channels);
  for (let y = 0, to = 0; y < box.height; y += 1) {
    const upper = down.low[y]! * width;
    const lower = down.high[y]! * width;
    const upperWeight = down.lowWeight[y]!;
    const lowerWeight = down.highWeight[y]!;
    for (let x = 0; x < box.width; x += 1) {
      const left = across.low[x]!;
      const right = across.high[x]!;
      const leftWeight = across.lowWeight[x]!;
      const rightWeight = across.highWeight[x]!;
      for (let channel = 0; channel < channels; channel += 1, to += 1) {
        made.values[to] =
          upperWeight *
            (leftWeight * values[(upper + left) * channels + channel]! +
              rightWeight * values[(upper + right) * channels + channel]!) +
          lowerWeight *
            (leftWeight * values[(lower + left) * channels + channel]! +
              rightWeight * values[(lower + right) * channels + channel]!);
      }
    }
  }
  return made;
}

// Opacity of the pixels of a picture: strength * (3t^2 - 2t^3), t rising from 0 to 1 between the probabilities of
// `edge`; `feather` is the deviation, in crop pixels, that softens the outline. null where all are 0.
export function coverage(
  plane: Float32Array,
  size: number,
  warp: Warp,
  picture: Size,
  edge: readonly [number, number],
  strength: number,
  feather: number,
  lead: Lead | null = null,
): Coverage | null {
  const [low, high] = edge;
  const inside = bounds(plane, size, (value) => value > low);
  const deviation = Math.hypot(feather, smoothing(warp));
  const box = inside && boxInPicture(inside, warp, picture, 1 + 3 * deviation);
  if (!inside || !box || strength === 0) {
    return null;
  }
  const origin = widened(inside, size, Math.ceil(4 * deviation) + 1);
  const hard = part(plane, size, origin);
  const soft = interpolated(deviation ? gaussian(hard, deviation, 4) : hard, origin, warp, box).values;
  const steps = Uint8Array.from({length: 256}, (_, index) => {
    const share = index / 255;
    return Math.round(255 * strength * share * share * (3 - 2 * share));
  });
  const opacity = new Uint8Array(soft.length);
  for (let index = 0; index < soft.length; index += 1) {
    opacity[index] = steps[ramp(soft[index]!, low, high)]!;
  }
  if (lead) {
    const at = (values: Float32Array): Float32Array =>
      interpolated(part(values, size, origin), origin, warp, box).values;
    const never = at(lead.never);
    const rivals = lead.rivals.map(at);
    for (let index = 0; index < opacity.length; index += 1) {
      let ahead = NEVER_FLOOR;
      for (const rival of rivals) {
        ahead = Math.max(ahead, rival[index]!);
      }
      opacity[index] = Math.round((opacity[index]! * ramp(ahead - never[index]!, 0, NEVER_MARGIN)) / 255);
    }
  }
  return {...box, opacity};
}
