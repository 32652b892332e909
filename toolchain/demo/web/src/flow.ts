// Where the pixels of a small grey picture lay in the one before: inverse search on patches, coarse to fine
// (Kroeger et al., "Fast optical flow using dense inverse search", ECCV 2016), at a quarter of the size.

import {shrunkByArea} from './filters';

const PATCH = 8;
const STRIDE = 4;
const STEPS = 12;
// Shrinking from the whole picture: the coarser level first.
const LEVELS = [8, 4];
const FLAT = 1e-3;

export interface Flow {
  side: number;
  // Pixels of the whole picture to add to x and to y.
  x: Float32Array;
  y: Float32Array;
}

export function sampled(plane: Float32Array, side: number, x: number, y: number): number {
  const px = Math.min(Math.max(x, 0), side - 1);
  const py = Math.min(Math.max(y, 0), side - 1);
  const left = Math.min(Math.floor(px), side - 2);
  const top = Math.min(Math.floor(py), side - 2);
  const [shareX, shareY] = [px - left, py - top];
  const at = top * side + left;
  const upper = plane[at]! + shareX * (plane[at + 1]! - plane[at]!);
  const lower = plane[at + side]! + shareX * (plane[at + side + 1]! - plane[at + side]!);
  return upper + shareY * (lower - upper);
}

// Of `now`, where each pixel lay in `before`; both (side, side), whose side is a multiple of 32.
export function flowBetween(before: Float32Array, now: Float32Array, side: number): Flow {
  let flow: Flow | null = null;
  for (const by of LEVELS) {
    const small = side / by;
    flow = level(shrunk(before, side, small), shrunk(now, side, small), small, flow && resized(flow, small));
  }
  return resized(flow!, side);
}

function shrunk(plane: Float32Array, side: number, small: number): Float32Array {
  return shrunkByArea({width: side, height: side, channels: 1, values: plane}, small, small).values;
}

function resized(flow: Flow, side: number): Flow {
  const times = side / flow.side;
  const made = {side, x: new Float32Array(side * side), y: new Float32Array(side * side)};
  for (let y = 0, to = 0; y < side; y += 1) {
    const fromY = (y + 0.5) / times - 0.5;
    for (let x = 0; x < side; x += 1, to += 1) {
      const fromX = (x + 0.5) / times - 0.5;
      made.x[to] = times * sampled(flow.x, flow.side, fromX, fromY);
      made.y[to] = times * sampled(flow.y, flow.side, fromX, fromY);
    }
  }
  return made;
}

function level(before: Float32Array, now: Float32Array, side: number, start: Flow | null): Flow {
  const made = {side, x: new Float32Array(side * side), y: new Float32Array(side * side)};
  const weights = new Float32Array(side * side);
  for (let top = 0; top + PATCH <= side; top += STRIDE) {
    for (let left = 0; left + PATCH <= side; left += STRIDE) {
      const middle = (top + PATCH / 2) * side + left + PATCH / 2;
      const first: [number, number] = start ? [start.x[middle]!, start.y[middle]!] : [0, 0];
      const [u, v] = searched(before, now, side, left, top, first);
      for (let y = top; y < top + PATCH; y += 1) {
        for (let x = left; x < left + PATCH; x += 1) {
          const at = y * side + x;
          const weight = 1 / Math.max(1, Math.abs(sampled(before, side, x + u, y + v) - now[at]!));
          made.x[at]! += weight * u;
          made.y[at]! += weight * v;
          weights[at]! += weight;
        }
      }
    }
  }
  for (let at = 0; at < weights.length; at += 1) {
    made.x[at]! /= weights[at]!;
    made.y[at]! /= weights[at]!;
  }
  return made;
}

// Displacement of one patch: Gauss-Newton steps whose matrix comes from the patch itself and stays the same.
function searched(
  before: Float32Array,
  now: Float32Array,
  side: number,
  left: number,
  top: number,
  start: [number, number],
): [number, number] {
  const slopeX = new Float32Array(PATCH * PATCH);
  const slopeY = new Float32Array(PATCH * PATCH);
  const difference = new Float32Array(PATCH * PATCH);
  let [xx, xy, yy] = [FLAT, 0, FLAT];
  for (let y = 0, at = 0; y < PATCH; y += 1) {
    for (let x = 0; x < PATCH; x += 1, at += 1) {
      const [px, py] = [left + x, top + y];
      slopeX[at] = (now[py * side + Math.min(px + 1, side - 1)]! - now[py * side + Math.max(px - 1, 0)]!) / 2;
      slopeY[at] = (now[Math.min(py + 1, side - 1) * side + px]! - now[Math.max(py - 1, 0) * side + px]!) / 2;
      xx += slopeX[at]! ** 2;
      xy += slopeX[at]! * slopeY[at]!;
      yy += slopeY[at]! ** 2;
    }
  }
  const determinant = xx * yy - xy * xy;
  let [u, v] = start;
  let least = Infinity;
  let best = start;
  for (let step = 0; step <= STEPS; step += 1) {
    let mean = 0;
    for (let y = 0, at = 0; y < PATCH; y += 1) {
      for (let x = 0; x < PATCH; x += 1, at += 1) {
        const value = sampled(before, side, left + x + u, top + y + v) - now[(top + y) * side + left + x]!;
        difference[at] = value;
        mean += value / (PATCH * PATCH);
      }
    }
    let [bx, by, error] = [0, 0, 0];
    for (let at = 0; at < difference.length; at += 1) {
      // Without the mean, brightness may change.
      const value = difference[at]! - mean;
      bx += slopeX[at]! * value;
      by += slopeY[at]! * value;
      error += value * value;
    }
    if (error >= least || determinant < FLAT) {
      break;
    }
    least = error;
    best = [u, v];
    u -= (yy * bx - xy * by) / determinant;
    v -= (xx * by - xy * bx) / determinant;
    if (Math.hypot(u - start[0], v - start[1]) > PATCH) {
      return start;
    }
  }
  return best;
}
