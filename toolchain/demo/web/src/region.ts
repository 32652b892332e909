// The square region of interest around a face, cut out and put back. Pixel centres are at whole numbers.

export interface Box {
  x: number;
  y: number;
  side: number;
}

// From pixels of the picture to those of a crop: (scale * px + x, scale * py + y). Regions are upright.
export interface Warp {
  scale: number;
  x: number;
  y: number;
}

export interface Picture {
  width: number;
  height: number;
  // Four bytes a pixel: red, green, blue, and an opacity that is not looked at.
  data: Uint8ClampedArray;
}

// Where along one axis each of `count` samples reads: its two neighbours and their weights, 0 beyond the ends.
export interface Taps {
  low: Int32Array;
  high: Int32Array;
  lowWeight: Float32Array;
  highWeight: Float32Array;
}

// An upright square, `x` and `y` being its left and upper edge.
export function faceSquare(box: Box, margin: number, shift: number): Box {
  const side = margin * box.side;
  return {x: box.x + box.side / 2 - side / 2, y: box.y + box.side / 2 + shift * box.side - side / 2, side};
}

// The nearest square whose edges lie between pixels.
export function whole(square: Box): Box {
  const side = Math.max(1, Math.round(square.side));
  const off = (square.side - side) / 2;
  return {x: Math.round(square.x + off), y: Math.round(square.y + off), side};
}

// The box whose region `square` is.
export function boxOfSquare(square: Box, margin: number, shift: number): Box {
  const side = square.side / margin;
  return {x: square.x + square.side / 2 - side / 2, y: square.y + square.side / 2 - shift * side - side / 2, side};
}

export function boxAround(x: number, y: number, side: number): Box {
  return {x: x - side / 2, y: y - side / 2, side};
}

export function warpOf(square: Box, size: number): Warp {
  const scale = size / square.side;
  return {scale, x: scale * (0.5 - square.x) - 0.5, y: scale * (0.5 - square.y) - 0.5};
}

// Positions start + step * i in an axis of `length` samples.
export function tapsAlong(count: number, start: number, step: number, length: number): Taps {
  const taps = {
    low: new Int32Array(count),
    high: new Int32Array(count),
    lowWeight: new Float32Array(count),
    highWeight: new Float32Array(count),
  };
  for (let index = 0; index < count; index += 1) {
    const place = start + step * index;
    const floor = Math.floor(place);
    const share = place - floor;
    const lowInside = floor >= 0 && floor < length;
    const highInside = floor + 1 >= 0 && floor + 1 < length;
    taps.low[index] = lowInside ? floor : 0;
    taps.high[index] = highInside ? floor + 1 : 0;
    taps.lowWeight[index] = lowInside ? 1 - share : 0;
    taps.highWeight[index] = highInside ? share : 0;
  }
  return taps;
}

// (size, size, 3) bytes of the region; what lies outside of the picture is black, as in training.
export function crop(picture: Picture, warp: Warp, size: number, resize: string, out: Uint8Array): void {
  // Rounding must not turn 8 whole pixels into 7.
  const block = Math.floor(1 / warp.scale + 1e-6);
  if (resize === 'area' && block >= 2) {
    const [small, from] = shrunk(picture, warp, size, block);
    cut(small, from, size, out);
  } else {
    cut(picture, warp, size, out);
  }
}

function cut(picture: Picture, warp: Warp, size: number, out: Uint8Array): void {
  const {data, width, height} = picture;
  const across = tapsAlong(size, -warp.x / warp.scale, 1 / warp.scale, width);
  const down = tapsAlong(size, -warp.y / warp.scale, 1 / warp.scale, height);
  let to = 0;
  for (let row = 0; row < size; row += 1) {
    const upper = down.low[row]! * width;
    const lower = down.high[row]! * width;
    const upperWeight = down.lowWeight[row]!;
    const lowerWeight = down.highWeight[row]!;
    for (let column = 0; column < size; column += 1, to += 3) {
      const left = across.low[column]!;
      const right = across.high[column]!;
      const leftWeight = across.lowWeight[column]!;
      const rightWeight = across.highWeight[column]!;
      const a = 4 * (upper + left);
      const b = 4 * (upper + right);
      const c = 4 * (lower + left);
      const d = 4 * (lower + right);
      for (let channel = 0; channel < 3; channel += 1) {
        const value =
          upperWeight * (leftWeight * data[a + channel]! + rightWeight * data[b + channel]!) +
          lowerWeight * (leftWeight * data[c + channel]! + rightWeight * data[d + channel]!);
        out[to + channel] = value + 0.5;
      }
    }
  }
}

// The part of the picture that the crop shows, averaged over whole blocks so that nothing is skipped.
function shrunk(picture: Picture, warp: Warp, size: number, block: number): [Picture, Warp] {
  const bounds = (offset: number, length: number): [number, number] => {
    const low = Math.floor((-0.5 - offset) / warp.scale) - 2 * block;
    const high = Math.ceil((size - 0.5 - offset) / warp.scale) + 1 + 2 * block;
    return [Math.min(Math.max(low, 0), length), Math.min(Math.max(high, 0), length)];
  };
  const [left, right] = bounds(warp.x, picture.width);
  const [top, bottom] = bounds(warp.y, picture.height);
  const width = Math.floor((right - left) / block);
  const height = Math.floor((bottom - top) / block);
  if (width < 1 || height < 1) {
    return [picture, warp];
  }
  const data = new Uint8ClampedArray(4 * width * height);
  const sums = new Float64Array(3 * width);
  for (let row = 0; row < height; row += 1) {
    sums.fill(0);
    for (let inner = 0; inner < block; inner += 1) {
      let from = 4 * ((top + row * block + inner) * picture.width + left);
      for (let column = 0; column < width; column += 1) {
        for (let step = 0; step < block; step += 1, from += 4) {
          sums[3 * column]! += picture.data[from]!;
          sums[3 * column + 1]! += picture.data[from + 1]!;
          sums[3 * column + 2]! += picture.data[from + 2]!;
        }
      }
    }
    for (let column = 0; column < width; column += 1) {
      for (let channel = 0; channel < 3; channel += 1) {
        data[4 * (row * width + column) + channel] = sums[3 * column + channel]! / (block * block);
      }
    }
  }
  const middle = (block - 1) / 2;
  const from = {
    scale: warp.scale * block,
    x: warp.x + warp.scale * (left + middle),
    y: warp.y + warp.scale * (top + middle),
  };
  return [{width, height, data}, from];
}

// Label of every pixel of the picture: the most probable class after bilinear interpolation, 0 beyond the crop.
export function unwarpLabels(
  probabilities: Float32Array,
  classes: number,
  size: number,
  warp: Warp,
  picture: {width: number; height: number},
): Uint8Array {
  const labels = new Uint8Array(picture.width * picture.height);
  const across = tapsAlong(picture.width, warp.x, warp.scale, size);
  const down = tapsAlong(picture.height, warp.y, warp.scale, size);
  for (let row = 0; row < picture.height; row += 1) {
    const upper = down.low[row]! * size;
    const lower = down.high[row]! * size;
    const upperWeight = down.lowWeight[row]!;
    const lowerWeight = down.highWeight[row]!;
    if (upperWeight + lowerWeight === 0) {
      continue;
    }
    for (let column = 0; column < picture.width; column += 1) {
      const leftWeight = across.lowWeight[column]!;
      const rightWeight = across.highWeight[column]!;
      if (leftWeight + rightWeight === 0) {
        continue;
      }
      const a = classes * (upper + across.low[column]!);
      const b = classes * (upper + across.high[column]!);
      const c = classes * (lower + across.low[column]!);
      const d = classes * (lower + across.high[column]!);
      let best = -1;
      let label = 0;
      for (let index = 0; index < classes; index += 1) {
        const value =
          upperWeight * (leftWeight * probabilities[a + index]! + rightWeight * probabilities[b + index]!) +
          lowerWeight * (leftWeight * probabilities[c + index]! + rightWeight * probabilities[d + index]!);
        if (value > best) {
          best = value;
          label = index;
        }
      }
      labels[row * picture.width + column] = label;
    }
  }
  return labels;
}
