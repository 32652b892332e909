// A colour at every lightness, the table by which make-up keeps shading: the formulas of toolchain/face/tones.py.

import type {Color} from './contract';

// Lightness (CIE L*, 0-100) that counts as neither light nor dark, and the largest shift of lightness.
const MIDDLE_LIGHTNESS = 55;
const LARGEST_SHIFT = 20;
const LARGEST_GAIN = 1;
const HALVINGS = 20;
// Linear RGB with the primaries of sRGB to CIE XYZ, white point D65 (IEC 61966-2-1).
const TO_XYZ = [
  [0.4124, 0.3576, 0.1805],
  [0.2126, 0.7152, 0.0722],
  [0.0193, 0.1192, 0.9505],
];
const FROM_XYZ = inverse(TO_XYZ);
const WHITE = TO_XYZ.map((row) => row.reduce((sum, value) => sum + value, 0));

const known = new Map<string, Uint8Array>();

// (256, 3) bytes: what takes the place of each grey; `shift` is how far middle grey moves towards the colour.
export function tones(color: Color, shift: number): Uint8Array {
  const key = [...color, shift].join(' ');
  let table = known.get(key);
  if (!table) {
    table = made(color, shift);
    known.set(key, table);
  }
  return table;
}

function made(color: Color, shift: number): Uint8Array {
  const own = toLab(color.map((value) => value / 255));
  const step = Math.min(Math.max(shift * (own[0]! - MIDDLE_LIGHTNESS), -LARGEST_SHIFT), LARGEST_SHIFT);
  const table = new Uint8Array(3 * 256);
  for (let value = 0; value < 256; value += 1) {
    const grey = toLab([value / 255, value / 255, value / 255])[0]!;
    const lightness = grey + step * 4 * (grey / 100) * (1 - grey / 100);
    // L* + 16 is proportional to the cube root of the luminance, and so are a* and b* of a paint in shade.
    const gain = Math.min((lightness + 16) / (own[0]! + 16), LARGEST_GAIN);
    const at = (share: number): number[] => fromLab(lightness, own[1]! * gain * share, own[2]! * gain * share);
    let [low, high] = [0, 1];
    for (let halving = 0; halving < HALVINGS; halving += 1) {
      const middle = (low + high) / 2;
      const fits = at(middle).every((linear) => linear >= -1e-6 && linear <= 1 + 1e-6);
      [low, high] = fits ? [middle, high] : [low, middle];
    }
    for (const [channel, exact] of at(low).entries()) {
      const linear = Math.min(Math.max(exact, 0), 1);
      const encoded = linear <= 0.0031308 ? 12.92 * linear : 1.055 * linear ** (1 / 2.4) - 0.055;
      table[3 * value + channel] = Math.round(255 * encoded);
    }
  }
  return table;
}

function times(matrix: readonly number[][], vector: readonly number[]): number[] {
  return matrix.map((row) => row.reduce((sum, value, index) => sum + value * vector[index]!, 0));
}

function toLab(encoded: readonly number[]): number[] {
  const linear = encoded.map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
  const [x, y, z] = times(TO_XYZ, linear).map((value, index) => {
    const ratio = value / WHITE[index]!;
    return ratio > (6 / 29) ** 3 ? Math.cbrt(ratio) : ratio / (3 * (6 / 29) ** 2) + 4 / 29;
  }) as [number, number, number];
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

function fromLab(lightness: number, a: number, b: number): number[] {
  const y = (lightness + 16) / 116;
  const ratios = [y + a / 500, y, y - b / 200].map((root) =>
    root > 6 / 29 ? root ** 3 : 3 * (6 / 29) ** 2 * (root - 4 / 29),
  );
  return times(
    FROM_XYZ,
    ratios.map((ratio, index) => ratio * WHITE[index]!),
  );
}

function inverse(matrix: readonly number[][]): number[][] {
  const [a, b, c, d, e, f, g, h, i] = matrix.flat() as [number, number, number, number, number, number, number, number, number];
  const determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  return [
    [e * i - f * h, c * h - b * i, b * f - c * e],
    [f * g - d * i, a * i - c * g, c * d - a * f],
    [d * h - e * g, b * g - a * h, a * e - b * d],
  ].map((row) => row.map((value) => value / determinant));
}
