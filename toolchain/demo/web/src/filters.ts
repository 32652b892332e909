// Filters on small arrays of `channels` values a pixel; beyond a border the picture is mirrored, as in OpenCV.

export interface Grid {
  width: number;
  height: number;
  channels: number;
  values: Float32Array;
}

export function grid(width: number, height: number, channels: number): Grid {
  return {width, height, channels, values: new Float32Array(width * height * channels)};
}

// The outermost pixel is not repeated.
function mirrored(place: number, length: number): number {
  let inside = place;
  while (inside < 0 || inside >= length) {
    inside = length === 1 ? 0 : inside < 0 ? -inside : 2 * length - 2 - inside;
  }
  return inside;
}

// `reach` deviations on each side count: OpenCV takes 4 of floats and 3 of bytes.
export function gaussian(source: Grid, deviation: number, reach: number): Grid {
  const side = Math.round(2 * reach * deviation + 1) | 1;
  const kernel = Array.from({length: side}, (_, index) => Math.exp(-(((index - (side >> 1)) / deviation) ** 2) / 2));
  const total = kernel.reduce((sum, value) => sum + value, 0);
  const weights = Float32Array.from(kernel, (value) => value / total);
  return along(along(source, weights, true), weights, false);
}

function along(source: Grid, weights: Float32Array, across: boolean): Grid {
  const {width, height, channels, values} = source;
  const made = grid(width, height, channels);
  const result = made.values;
  const half = weights.length >> 1;
  const length = across ? width : height;
  const row = width * channels;
  const places = Int32Array.from({length: length + 2 * half}, (_, index) => mirrored(index - half, length));
  for (let y = 0, to = 0; y < height; y += 1) {
    for (let x = 0; x < row; to += 1, x += 1) {
      let sum = 0;
      if (across) {
        const column = Math.floor(x / channels);
        const from = y * row + x - column * channels;
        for (let tap = 0; tap < weights.length; tap += 1) {
          sum += weights[tap]! * values[from + places[column + tap]! * channels]!;
        }
      } else {
        for (let tap = 0; tap < weights.length; tap += 1) {
          sum += weights[tap]! * values[places[y + tap]! * row + x]!;
        }
      }
      result[to] = sum;
    }
  }
  return made;
}

// Means of squares of `side` pixels, an odd number, whatever their size in the same time.
export function boxBlur(source: Grid, side: number): Grid {
  return slid(slid(source, side, true), side, false);
}

function slid(source: Grid, side: number, across: boolean): Grid {
  const {width, height, channels, values} = source;
  const made = grid(width, height, channels);
  const result = made.values;
  const half = side >> 1;
  const [lines, count] = across ? [height, width] : [width, height];
  const [lineStep, step] = across ? [width * channels, channels] : [channels, width * channels];
  const places = Int32Array.from({length: count + 2 * half}, (_, index) => step * mirrored(index - half, count));
  for (let line = 0; line < lines; line += 1) {
    for (let channel = 0; channel < channels; channel += 1) {
      const start = line * lineStep + channel;
      let sum = 0;
      for (let tap = 0; tap < side - 1; tap += 1) {
        sum += values[start + places[tap]!]!;
      }
      for (let index = 0; index < count; index += 1) {
        sum += values[start + places[index + side - 1]!]!;
        result[start + index * step] = sum / side;
        sum -= values[start + places[index]!]!;
      }
    }
  }
  return made;
}

// Averages of the area that each new pixel covers.
export function shrunkByArea(source: Grid, width: number, height: number): Grid {
  const block = source.width / width;
  if (Number.isInteger(block) && source.height === block * height) {
    return blockAverages(source, width, height, block);
  }
  return areaAlong(areaAlong(source, width, true), height, false);
}

// Averages along one axis, the ends of each new pixel counting by what it covers of them.
function areaAlong(source: Grid, count: number, across: boolean): Grid {
  const {channels, values} = source;
  const length = across ? source.width : source.height;
  const made = across ? grid(count, source.height, channels) : grid(source.width, count, channels);
  const inner = across ? channels : source.width * channels;
  const outer = across ? source.height : 1;
  for (let index = 0; index < count; index += 1) {
    const start = (index * length) / count;
    const end = Math.min(((index + 1) * length) / count, length);
    for (let place = Math.floor(start); place < end - 1e-9; place += 1) {
      const share = (Math.min(place + 1, end) - Math.max(place, start)) / (end - start);
      for (let line = 0; line < outer; line += 1) {
        const from = (line * length + place) * inner;
        const to = (line * count + index) * inner;
        for (let at = 0; at < inner; at += 1) {
          made.values[to + at]! += share * values[from + at]!;
        }
      }
    }
  }
  return made;
}

function blockAverages(source: Grid, width: number, height: number, block: number): Grid {
  const {channels, values} = source;
  const made = grid(width, height, channels);
  const share = 1 / (block * block);
  for (let y = 0, from = 0; y < source.height; y += 1) {
    const row = Math.floor(y / block) * width;
    for (let x = 0; x < source.width; x += 1) {
      const to = (row + Math.floor(x / block)) * channels;
      for (let channel = 0; channel < channels; channel += 1, from += 1) {
        made.values[to + channel]! += share * values[from]!;
      }
    }
  }
  return made;
}

// Bilinear, the border's pixels repeated.
export function enlarged(source: Grid, width: number, height: number): Grid {
  const {channels, values} = source;
  const made = grid(width, height, channels);
  const result = made.values;
  const columns = neighbours(source.width, width, channels);
  const rows = neighbours(source.height, height, source.width * channels);
  for (let y = 0, to = 0; y < height; y += 1) {
    const top = rows.low[y]!;
    const bottom = rows.high[y]!;
    const down = rows.share[y]!;
    for (let x = 0; x < width; x += 1) {
      const left = columns.low[x]!;
      const right = columns.high[x]!;
      const across = columns.share[x]!;
      for (let channel = 0; channel < channels; channel += 1, to += 1) {
        const upperLeft = values[top + left + channel]!;
        const lowerLeft = values[bottom + left + channel]!;
        const upper = upperLeft + across * (values[top + right + channel]! - upperLeft);
        const lower = lowerLeft + across * (values[bottom + right + channel]! - lowerLeft);
        result[to] = upper + down * (lower - upper);
      }
    }
  }
  return made;
}

interface Neighbours {
  low: Int32Array;
  high: Int32Array;
  share: Float32Array;
}

function neighbours(length: number, count: number, step: number): Neighbours {
  const made = {low: new Int32Array(count), high: new Int32Array(count), share: new Float32Array(count)};
  for (let index = 0; index < count; index += 1) {
    const place = Math.min(Math.max(((index + 0.5) * length) / count - 0.5, 0), length - 1);
    const low = Math.min(Math.floor(place), Math.max(length - 2, 0));
    made.low[index] = step * low;
    made.high[index] = step * Math.min(low + 1, length - 1);
    made.share[index] = place - low;
  }
  return made;
}
