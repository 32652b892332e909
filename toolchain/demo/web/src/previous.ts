// The previous mask carried along with the picture, as in toolchain/face/motion.py: a mask that stays where it was
// would pull every outline of a moving face back by a frame.

import {enlarged, shrunkByArea, type Grid} from './filters';
import {flowBetween, sampled, type Flow} from './flow';
import {luma} from './preprocess';
import type {Warp} from './region';

// Faces move as a whole and smoothly, and the mask is but a prior: so many pixels a side show both.
export const SIDE = 128;
// A pixel is met again when the flows there and back cancel (Sundaram, Brox, Keutzer, ECCV 2010), and when it looks
// the same but for this many of 256 grey levels.
const RELATIVE = 0.01;
const ABSOLUTE = 0.5;
const GREY = 24;
const LEAST_MET = 0.5;

// New crop to the crop before: (scale * x + x0, scale * y + y0).
function between(before: Warp, now: Warp): Warp {
  const scale = before.scale / now.scale;
  return {scale, x: before.x - scale * now.x, y: before.y - scale * now.y};
}

// Pictures to the crop of `size` pixels, as one to the crop shrunk to SIDE.
export function shrunkWarp(warp: Warp, size: number): Warp {
  const scale = SIDE / size;
  const middle = 0.5 * scale - 0.5;
  return {scale: scale * warp.scale, x: scale * warp.x + middle, y: scale * warp.y + middle};
}

// (SIDE, SIDE) probabilities of (size, size), all classes of a pixel side by side.
export function shrunkMask(probabilities: Float32Array, size: number, classes: number): Grid {
  return shrunkByArea({width: size, height: size, channels: classes, values: probabilities}, SIDE, SIDE);
}

export class MovingMask {
  private mask: Grid | null = null;
  private grey: Float32Array = new Float32Array();
  private warp: Warp = {scale: 1, x: 0, y: 0};

  constructor(private readonly size: number) {}

  get isKnown(): boolean {
    return this.mask !== null;
  }

  forget(): void {
    this.mask = null;
  }

  // Keeps what a network said of a crop; `mask` is of `shrunkMask`.
  put(cut: Uint8Array, warp: Warp, mask: Grid): void {
    this.mask = mask;
    this.warp = shrunkWarp(warp, this.size);
    this.grey = greyOf(cut, this.size);
  }

  // What was said of the crop before, where its parts lie in the next one, all classes of a pixel side by side; null
  // after `forget`, and when most of the picture is another, as after a cut.
  carried(cut: Uint8Array, warp: Warp): Float32Array | null {
    if (this.mask === null) {
      return null;
    }
    const region = between(this.warp, shrunkWarp(warp, this.size));
    const before = regrouped(this.grey, region);
    const now = greyOf(cut, this.size);
    const flow = flowBetween(before, now, SIDE);
    const met = metAgain(before, now, flow);
    return met === null ? null : enlarged(carry(this.mask, flow, region, met), this.size, this.size).values;
  }
}

function carry(mask: Grid, flow: Flow, region: Warp, met: Uint8Array): Grid {
  const {channels: classes, values: from} = mask;
  const result = new Float32Array(from.length);
  const still = Math.abs(region.scale - 1) < 1e-6 && Math.hypot(region.x, region.y) < 1e-6;
  for (let pixel = 0; pixel < met.length; pixel += 1) {
    if (!met[pixel]) {
      continue;
    }
    let x = region.scale * ((pixel % SIDE) + flow.x[pixel]!) + region.x;
    let y = region.scale * (Math.floor(pixel / SIDE) + flow.y[pixel]!) + region.y;
    if (still) {
      // A flow that leads out of the crop means its border.
      x = Math.min(Math.max(x, 0), SIDE - 1);
      y = Math.min(Math.max(y, 0), SIDE - 1);
    }
    const left = Math.floor(x);
    const top = Math.floor(y);
    for (let corner = 0; corner < 4; corner += 1) {
      const cornerX = left + (corner & 1);
      const cornerY = top + (corner >> 1);
      const weight = (1 - Math.abs(x - cornerX)) * (1 - Math.abs(y - cornerY));
      if (weight > 0 && cornerX >= 0 && cornerY >= 0 && cornerX < SIDE && cornerY < SIDE) {
        const source = (cornerY * SIDE + cornerX) * classes;
        const to = pixel * classes;
        for (let index = 0; index < classes; index += 1) {
          result[to + index]! += weight * from[source + index]!;
        }
      }
    }
  }
  return {...mask, values: result};
}

function greyOf(cut: Uint8Array, size: number): Float32Array {
  const grey = new Float32Array(size * size);
  for (let at = 0, from = 0; at < grey.length; at += 1, from += 3) {
    grey[at] = luma(cut[from]!, cut[from + 1]!, cut[from + 2]!);
  }
  return shrunkByArea({width: size, height: size, channels: 1, values: grey}, SIDE, SIDE).values;
}

// The shrunk crop before, of the region of the next crop.
function regrouped(grey: Float32Array, region: Warp): Float32Array {
  const result = new Float32Array(SIDE * SIDE);
  for (let at = 0; at < result.length; at += 1) {
    const x = region.scale * (at % SIDE) + region.x;
    const y = region.scale * Math.floor(at / SIDE) + region.y;
    result[at] = sampled(grey, SIDE, x, y);
  }
  return result;
}

// 1 where the flow leads to the same thing in the frame before and so does its neighbourhood; null when it seldom does.
function metAgain(before: Float32Array, now: Float32Array, flow: Flow): Uint8Array | null {
  const back = flowBetween(now, before, SIDE);
  const seen = new Float32Array(SIDE * SIDE);
  const met = new Uint8Array(SIDE * SIDE);
  let count = 0;
  for (let at = 0; at < met.length; at += 1) {
    const [u, v] = [flow.x[at]!, flow.y[at]!];
    const x = (at % SIDE) + u;
    const y = Math.floor(at / SIDE) + v;
    const [backU, backV] = [sampled(back.x, SIDE, x, y), sampled(back.y, SIDE, x, y)];
    const bound = RELATIVE * (u * u + v * v + backU * backU + backV * backV) + ABSOLUTE;
    seen[at] = sampled(before, SIDE, x, y);
    met[at] = (u + backU) ** 2 + (v + backV) ** 2 < bound ? 1 : 0;
  }
  for (let at = 0; at < met.length; at += 1) {
    if (met[at] && Math.abs(blurred(seen, at) - blurred(now, at)) >= GREY) {
      met[at] = 0;
    }
    count += met[at]!;
  }
  return count < LEAST_MET * met.length ? null : eroded(met);
}

function blurred(plane: Float32Array, at: number): number {
  const x = at % SIDE;
  const y = Math.floor(at / SIDE);
  let sum = 0;
  for (let down = -1; down <= 1; down += 1) {
    for (let across = -1; across <= 1; across += 1) {
      // Mirrored at the border, the outermost pixel not repeated.
      const row = SIDE - 1 - Math.abs(SIDE - 1 - Math.abs(y + down));
      sum += plane[row * SIDE + SIDE - 1 - Math.abs(SIDE - 1 - Math.abs(x + across))]!;
    }
  }
  return sum / 9;
}

// What is doubtful is no prior for its neighbours either.
function eroded(met: Uint8Array): Uint8Array {
  const result = new Uint8Array(met.length);
  for (let at = 0; at < met.length; at += 1) {
    const x = at % SIDE;
    const y = Math.floor(at / SIDE);
    let all = 1;
    for (let row = Math.max(y - 1, 0); row <= Math.min(y + 1, SIDE - 1); row += 1) {
      for (let column = Math.max(x - 1, 0); column <= Math.min(x + 1, SIDE - 1); column += 1) {
        all &= met[row * SIDE + column]!;
      }
    }
    result[at] = all;
  }
  return result;
}
