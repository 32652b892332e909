// From a crop to an input tensor, and from an output tensor to class probabilities, exactly by the sidecar.
//
// Inside the page probabilities lie pixel by pixel: [(y * size + x) * classes + class].

import {pictureSizes, PROBABILITIES, type Contract, type TensorSpec} from './contract';

export type Values = Float32Array<ArrayBuffer> | Uint8Array<ArrayBuffer> | Int32Array<ArrayBuffer>;

const LIMITS: Record<string, [number, number]> = {uint8: [0, 255], int32: [-(2 ** 31), 2 ** 31 - 1]};
// OpenCV's luma of bytes: whole numbers over 2^15 (ITU-R BT.601).
const RED = 9798;
const GREEN = 19235;
const BLUE = 3735;

// Its exponential is below 1e-12.
const VANISHED = -28;

export function luma(red: number, green: number, blue: number): number {
  return (RED * red + GREEN * green + BLUE * blue + 16384) >> 15;
}

export function emptyValues(spec: TensorSpec): Values {
  const count = spec.shape.reduce((product, size) => product * size, 1);
  switch (spec.dtype) {
    case 'float32':
      return new Float32Array(count);
    case 'uint8':
      return new Uint8Array(count);
    case 'int32':
      return new Int32Array(count);
    default:
      throw new Error(`LiteRT.js exchanges no ${spec.dtype} tensors, as '${spec.name}' is one.`);
  }
}

// Halves to even, as numpy's and LiteRT's own rounding.
function rounded(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

function stored(value: number, spec: TensorSpec): number {
  if (spec.scale === null) {
    return value;
  }
  const [low, high] = LIMITS[spec.dtype] ?? [-Infinity, Infinity];
  const step = rounded(Math.fround(Math.fround(value) / Math.fround(spec.scale))) + (spec.zero_point ?? 0);
  return Math.min(Math.max(step, low), high);
}

// Makes the picture input of crops: the function writes (size, size, 3) bytes into a tensor's values.
export function pictureWriter(contract: Contract): (cut: Uint8Array, into: Values) => void {
  const {image, preprocess} = contract;
  const [channels, height, width] = pictureSizes(image);
  const pixels = height * width;
  const tables = preprocess.mean.map((mean, channel) =>
    Array.from({length: 256}, (_, value) => {
      const normalized = image.image ? value : Math.fround((value - mean) / preprocess.std[channel]!);
      return stored(normalized, image);
    }),
  );
  const [next, stride] = image.layout === 'NCHW' ? [1, pixels] : [channels, 1];
  return (cut, into) => {
    for (let pixel = 0, from = 0; pixel < pixels; pixel += 1, from += 3) {
      if (channels === 1) {
        into[pixel] = tables[0]![luma(cut[from]!, cut[from + 1]!, cut[from + 2]!)]!;
        continue;
      }
      const to = pixel * next;
      into[to] = tables[0]![cut[from]!]!;
      into[to + stride] = tables[1]![cut[from + 1]!]!;
      into[to + 2 * stride] = tables[2]![cut[from + 2]!]!;
    }
  };
}

// Writes probabilities into a tensor's values; null are zeros, as on the first frame.
export function writePrevious(probabilities: Float32Array | null, spec: TensorSpec, into: Values): void {
  if (probabilities === null) {
    into.fill(stored(0, spec));
  } else if (spec.layout === 'NHWC' && spec.scale === null) {
    into.set(probabilities);
  } else {
    const [classes, height, width] = pictureSizes(spec);
    const pixels = height * width;
    for (let from = 0; from < probabilities.length; from += 1) {
      const to = spec.layout === 'NHWC' ? from : (from % classes) * pixels + Math.floor(from / classes);
      into[to] = stored(probabilities[from]!, spec);
    }
  }
}

// Class probabilities of an output tensor, whatever its layout and element type.
export function readProbabilities(values: Values, spec: TensorSpec): Float32Array {
  const [classes, height, width] = pictureSizes(spec);
  const pixels = height * width;
  const result = new Float32Array(values.length);
  const scale = spec.scale ?? 1;
  const zero = spec.scale === null ? 0 : (spec.zero_point ?? 0);
  if (spec.layout === 'NHWC' && spec.scale === null) {
    result.set(values);
  } else {
    for (let to = 0; to < result.length; to += 1) {
      const from = spec.layout === 'NHWC' ? to : (to % classes) * pixels + Math.floor(to / classes);
      result[to] = (values[from]! - zero) * scale;
    }
  }
  if (spec.name !== PROBABILITIES) {
    softmax(result, classes);
  }
  return result;
}

function softmax(values: Float32Array, classes: number): void {
  for (let start = 0; start < values.length; start += classes) {
    let largest = values[start]!;
    for (let index = 1; index < classes; index += 1) {
      largest = Math.max(largest, values[start + index]!);
    }
    let total = 0;
    for (let index = start; index < start + classes; index += 1) {
      const below = values[index]! - largest;
      const exponent = below < VANISHED ? 0 : Math.exp(below);
      values[index] = exponent;
      total += exponent;
    }
    // Also where the largest is infinite, and where any is no number.
    if (!(total >= 1)) {
      throw new Error("The network's output is not finite: check the file with `toolchain verify`.");
    }
    for (let index = start; index < start + classes; index += 1) {
      values[index]! /= total;
    }
  }
}

// The sum of some classes' probabilities, (size, size).
export function planeOf(probabilities: Float32Array, classes: number, indices: readonly number[]): Float32Array {
  const plane = new Float32Array(probabilities.length / classes);
  for (let pixel = 0, start = 0; pixel < plane.length; pixel += 1, start += classes) {
    let sum = 0;
    for (const index of indices) {
      sum += probabilities[start + index]!;
    }
    plane[pixel] = sum;
  }
  return plane;
}
