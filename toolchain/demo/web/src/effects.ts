// Make-up: what is drawn over a parsed face, with the formulas and figures of toolchain/face/effects.py.

import {BACKGROUND, type Color, type Contract} from './contract';
import {
  bounds,
  boxInPicture,
  coverage,
  interpolated,
  ramp,
  smoothing,
  widened,
  type Coverage,
  type Rectangle,
} from './coverage';
import {boxBlur, enlarged, gaussian, grid, shrunkByArea, type Grid} from './filters';
import {luma, planeOf} from './preprocess';
import type {Picture, Warp} from './region';
import {tones} from './tones';

const LIPS = ['upper lip', 'lower lip'];
const INNER_MOUTH = 'inner mouth';
const BROWS = ['left brow', 'right brow'];
const SKIN = ['skin', 'nose'];

// Probabilities between which the opacity rises, and softness of the outlines in pixels of the crop.
const MASK_EDGE = [0.2, 0.8] as const;
const LIP_EDGE = [0.3, 0.8] as const;
const BROW_EDGE = [0.3, 0.9] as const;
const SKIN_EDGE = [0.4, 1] as const;
const MASK_FEATHER = 0.7;
const LIP_FEATHER = 1.3;
const BROW_FEATHER = 1.8;
const SKIN_FEATHER = 2.5;
// How far the lightness moves towards the colour's own; the strength of a tint.
const LIP_SHIFT = 0.6;
const BROW_SHIFT = 0.5;
const TINT_SHIFT = 0.05;
const TINT_SHARE = 0.35;
// Skin smoothing: radius in units of the crop's side, and the contrast in 8-bit steps that counts as an edge.
const SMOOTH_RADIUS = 0.018;
const EDGE_CONTRAST = 14;
// Background blur: deviation in units of the picture's longer side, and in pixels of the shrunk picture.
const BLUR = 0.018;
const BLUR_PIXELS = 2.8;
// Ovals that stay sharp, in semi-axes of the face's ellipse: half-width, half-height, and how far above its centre.
const OVALS = [
  [1.6, 1.75, 0.3],
  [2.6, 1.7, -2.6],
] as const;
const OVAL_EDGE = [0.9, 1.7] as const;

export interface Face {
  probabilities: Float32Array;
  warp: Warp;
  contract: Contract;
}

export interface Effect {
  label: string;
  needs: readonly string[];
  // null where the effect has colours of its own, or none; undefined where it takes no colour.
  color: Color | null | undefined;
  strength: number;
  // Draws on the picture.
  apply(picture: Picture, face: Face, color: Color | null, strength: number): void;
}

export const EFFECTS: Record<string, Effect> = {
  mask: {label: 'Mask', needs: [], color: null, strength: 0.55, apply: mask},
  lipstick: {label: 'Lipstick', needs: [...LIPS, INNER_MOUTH], color: [176, 24, 56], strength: 0.7, apply: lipstick},
  brows: {label: 'Brows', needs: BROWS, color: [58, 40, 30], strength: 0.6, apply: brows},
  skin: {label: 'Smooth skin', needs: SKIN, color: null, strength: 0.7, apply: skin},
  blur: {label: 'Background blur', needs: [], color: undefined, strength: 1, apply: blur},
  none: {label: 'None', needs: [], color: undefined, strength: 1, apply: () => undefined},
};

function plane(face: Face, names: readonly string[]): Float32Array {
  const {labels} = face.contract;
  return planeOf(
    face.probabilities,
    labels.length,
    names.map((name) => labels.indexOf(name)),
  );
}

function mask(picture: Picture, face: Face, color: Color | null, strength: number): void {
  const {contract, warp, probabilities} = face;
  const {size, labels, palette} = contract;
  const [low, high] = MASK_EDGE;
  const background = planeOf(probabilities, labels.length, [BACKGROUND]);
  const inside = bounds(background, size, (value) => value < 1 - low);
  const deviation = Math.hypot(MASK_FEATHER, smoothing(warp));
  const box = inside && boxInPicture(inside, warp, picture, 1 + 3 * deviation);
  if (!inside || !box || strength === 0) {
    return;
  }
  const origin = widened(inside, size, Math.ceil(4 * deviation) + 1);
  const layers = grid(origin.width, origin.height, 4);
  const colors = Float32Array.from(palette.flatMap((own) => [...(color ?? own)].map((value) => value / 255)));
  for (let y = 0, to = 0; y < origin.height; y += 1) {
    let from = ((origin.top + y) * size + origin.left) * labels.length;
    for (let x = 0; x < origin.width; x += 1, to += 4, from += labels.length) {
      for (let index = 0; index < labels.length; index += 1) {
        const value = probabilities[from + index]!;
        if (value > low && index !== BACKGROUND) {
          const share = ramp(value, low, high);
          layers.values[to]! += share * colors[3 * index]!;
          layers.values[to + 1]! += share * colors[3 * index + 1]!;
          layers.values[to + 2]! += share * colors[3 * index + 2]!;
          layers.values[to + 3]! += share;
        }
      }
      for (let channel = 0; channel < 4; channel += 1) {
        layers.values[to + channel] = Math.min(layers.values[to + channel]!, 255);
      }
    }
  }
  const moved = interpolated(gaussian(layers, deviation, 3), origin, warp, box).values;
  const share = Math.round(strength * 255) / 255;
  overPixels(picture, box, (to, at) => {
    const remains = 1 - (share * moved[4 * at + 3]!) / 255;
    for (let channel = 0; channel < 3; channel += 1) {
      picture.data[to + channel] = picture.data[to + channel]! * remains + share * moved[4 * at + channel]!;
    }
  });
}

function lipstick(picture: Picture, face: Face, color: Color | null, strength: number): void {
  const lead = {rivals: LIPS.map((name) => plane(face, [name])), never: plane(face, [INNER_MOUTH])};
  const {size} = face.contract;
  const covered = coverage(plane(face, LIPS), size, face.warp, picture, LIP_EDGE, strength, LIP_FEATHER, lead);
  recolor(picture, covered, color!, LIP_SHIFT);
}

function brows(picture: Picture, face: Face, color: Color | null, strength: number): void {
  const {size} = face.contract;
  const covered = coverage(plane(face, BROWS), size, face.warp, picture, BROW_EDGE, strength, BROW_FEATHER);
  recolor(picture, covered, color!, BROW_SHIFT);
}

// Another colour with the same shading.
function recolor(picture: Picture, covered: Coverage | null, color: Color, shift: number): void {
  if (covered === null) {
    return;
  }
  const table = tones(color, shift);
  const {data} = picture;
  overPixels(picture, covered, (to, at) => {
    const weight = covered.opacity[at]! / 255;
    if (weight > 0) {
      const entry = 3 * luma(data[to]!, data[to + 1]!, data[to + 2]!);
      for (let channel = 0; channel < 3; channel += 1) {
        data[to + channel] = data[to + channel]! * (1 - weight) + table[entry + channel]! * weight;
      }
    }
  });
}

// The guided filter of the picture by itself (He, Sun and Tang, ECCV 2010), at half the size (arXiv:1505.00996).
function skin(picture: Picture, face: Face, color: Color | null, strength: number): void {
  const {size} = face.contract;
  const covered = coverage(plane(face, SKIN), size, face.warp, picture, SKIN_EDGE, strength, SKIN_FEATHER);
  if (covered === null) {
    return;
  }
  const smooth = smoothed(pixelsOf(picture, covered), (SMOOTH_RADIUS * size) / face.warp.scale).values;
  const table = color && tones(color, TINT_SHIFT);
  const {data} = picture;
  overPixels(picture, covered, (to, at) => {
    const weight = covered.opacity[at]! / 255;
    if (weight > 0) {
      const entry = 3 * luma(smooth[3 * at]!, smooth[3 * at + 1]!, smooth[3 * at + 2]!);
      for (let channel = 0; channel < 3; channel += 1) {
        const value = smooth[3 * at + channel]!;
        const tinted = table ? Math.round(value * (1 - TINT_SHARE) + table[entry + channel]! * TINT_SHARE) : value;
        data[to + channel] = data[to + channel]! * (1 - weight) + tinted * weight;
      }
    }
  });
}

function smoothed(pixels: Grid, radius: number): Grid {
  const {width, height} = pixels;
  const small = shrunkByArea(pixels, Math.max(1, width >> 1), Math.max(1, height >> 1));
  const side = 2 * Math.max(1, Math.round(radius / 2)) + 1;
  small.values.forEach((value, index, values) => (values[index] = Math.round(value)));
  const mean = boxBlur(small, side);
  const squares = boxBlur({...small, values: small.values.map((value) => value * value)}, side);
  const slope = {...mean, values: squares.values};
  const offset = {...mean, values: new Float32Array(mean.values.length)};
  for (let index = 0; index < slope.values.length; index += 1) {
    const average = mean.values[index]!;
    const variance = Math.max(squares.values[index]! - average * average, 0);
    slope.values[index] = variance / (variance + EDGE_CONTRAST ** 2);
    offset.values[index] = average * (1 - slope.values[index]!);
  }
  const slopes = enlarged(boxBlur(slope, side), width, height).values;
  const offsets = enlarged(boxBlur(offset, side), width, height).values;
  const values = pixels.values.map((value, index) =>
    Math.min(Math.max(Math.round(slopes[index]! * value + offsets[index]!), 0), 255),
  );
  return {...pixels, values};
}

// Blurs what is outside of an oval around the head and another one for the shoulders; no cut-out of the person.
function blur(picture: Picture, face: Face, _color: Color | null, strength: number): void {
  const {width, height, data} = picture;
  const ellipse = ellipseOf(face);
  if (ellipse === null || strength === 0) {
    return;
  }
  const deviation = BLUR * Math.max(width, height);
  const shrink = Math.max(1, Math.floor(deviation / BLUR_PIXELS));
  const [wide, high] = [Math.ceil(width / shrink), Math.ceil(height / shrink)];
  const away = grid(wide, high, 1);
  const ovals = OVALS.map(([halfWidth, halfHeight, up]) => ({
    x: ellipse.x,
    y: ellipse.y - up * ellipse.halfHeight,
    halfWidth: halfWidth * ellipse.halfWidth,
    halfHeight: halfHeight * ellipse.halfHeight,
  }));
  for (let y = 0, at = 0; y < high; y += 1) {
    for (let x = 0; x < wide; x += 1, at += 1) {
      const [px, py] = [((x + 0.5) * width) / wide - 0.5, ((y + 0.5) * height) / high - 0.5];
      const sharp = Math.max(...ovals.map((oval) => insideOf(oval, px, py)));
      away.values[at] = Math.round(255 * strength * (1 - sharp));
    }
  }
  const whole = {left: 0, top: 0, width, height};
  const small = shrunkByArea(pixelsOf(picture, whole), wide, high);
  const blurred = enlarged(gaussian(small, deviation / shrink, 3), width, height).values;
  const weights = enlarged(away, width, height).values;
  overPixels(picture, whole, (to, at) => {
    const weight = Math.round(weights[at]!) / 255;
    if (weight > 0) {
      for (let channel = 0; channel < 3; channel += 1) {
        data[to + channel] = data[to + channel]! * (1 - weight) + blurred[3 * at + channel]! * weight;
      }
    }
  });
}

interface Ellipse {
  x: number;
  y: number;
  halfWidth: number;
  halfHeight: number;
}

// 1 inside of an oval, 0 far from it.
function insideOf(oval: Ellipse, x: number, y: number): number {
  const [near, far] = OVAL_EDGE;
  const across = (x - oval.x) / oval.halfWidth;
  const down = (y - oval.y) / oval.halfHeight;
  const share = Math.min(Math.max((far - across * across - down * down) / (far - near), 0), 1);
  return share * share * (3 - 2 * share);
}

// The upright ellipse with the first and second moments of the face's probabilities, in pixels of the picture.
function ellipseOf(face: Face): Ellipse | null {
  const {size, labels} = face.contract;
  let [sum, sumX, sumY, sumXX, sumYY] = [0, 0, 0, 0, 0];
  for (let y = 0, from = BACKGROUND; y < size; y += 1) {
    for (let x = 0; x < size; x += 1, from += labels.length) {
      const value = 1 - face.probabilities[from]!;
      sum += value;
      sumX += value * x;
      sumY += value * y;
      sumXX += value * x * x;
      sumYY += value * y * y;
    }
  }
  if (sum < 1) {
    return null;
  }
  const [x, y] = [sumX / sum, sumY / sum];
  const {scale, x: left, y: top} = face.warp;
  // Each half-axis of a filled ellipse is twice its standard deviation.
  return {
    x: (x - left) / scale,
    y: (y - top) / scale,
    halfWidth: (2 * Math.sqrt(Math.max(sumXX / sum - x * x, 0))) / scale,
    halfHeight: (2 * Math.sqrt(Math.max(sumYY / sum - y * y, 0))) / scale,
  };
}

function pixelsOf(picture: Picture, box: Rectangle): Grid {
  const made = grid(box.width, box.height, 3);
  overPixels(picture, box, (from, at) => {
    for (let channel = 0; channel < 3; channel += 1) {
      made.values[3 * at + channel] = picture.data[from + channel]!;
    }
  });
  return made;
}

// Calls with the place of each pixel of a box in the picture's bytes, and its number within the box.
function overPixels(picture: Picture, box: Rectangle, visit: (place: number, index: number) => void): void {
  for (let y = 0, at = 0; y < box.height; y += 1) {
    let place = 4 * ((box.top + y) * picture.width + box.left);
    for (let x = 0; x < box.width; x += 1, at += 1, place += 4) {
      visit(place, at);
    }
  }
}
