// What a sidecar says about a face parser; every size, mean, colour and name of a class comes from here.

export interface TensorSpec {
  name: string;
  shape: number[];
  dtype: string;
  layout: string;
  scale: number | null;
  zero_point: number | null;
  image: string;
}

export interface Preprocess {
  color: string;
  mean: number[];
  std: number[];
  resize: string;
  margin: number;
  shift: number;
}

export type Color = readonly [number, number, number];

export interface Contract {
  name: string;
  precision: string;
  image: TensorSpec;
  previous: TensorSpec | null;
  output: TensorSpec;
  preprocess: Preprocess;
  labels: string[];
  palette: Color[];
  size: number;
  bytes: number;
  sha256: string;
}

interface Sidecar {
  version: number;
  name: string;
  precision: string;
  task: string;
  inputs: TensorSpec[];
  outputs: TensorSpec[];
  preprocessing: Preprocess | null;
  labels: string[];
  palette: number[][];
  bytes: number;
  sha256: string;
}

const VERSION = 1;
const RESIZE_RULES = ['bilinear', 'area'];
// The class that is no part of the face comes first.
export const BACKGROUND = 0;
export const PROBABILITIES = 'probabilities';

// Channels, height and width of a tensor that holds one picture or map.
export function pictureSizes(spec: TensorSpec): [number, number, number] {
  const [one, a, b, c] = spec.shape;
  if (spec.shape.length !== 4 || one !== 1 || !['NCHW', 'NHWC'].includes(spec.layout)) {
    throw new Error(`The sidecar describes a tensor '${spec.name}' of shape ${spec.shape.join('x')}, not one picture.`);
  }
  return spec.layout === 'NCHW' ? [a!, b!, c!] : [c!, a!, b!];
}

export function readContract(text: string): Contract {
  const sidecar = JSON.parse(text) as Sidecar;
  const {inputs, outputs, preprocessing, labels, palette} = sidecar;
  demand(sidecar.version === VERSION, `has version ${sidecar.version}, not ${VERSION}`);
  demand(sidecar.task === 'segmentation' && preprocessing !== null, 'describes no segmentation of pictures');
  demand(inputs.length >= 1 && inputs.length <= 2 && outputs.length === 1, 'describes other inputs and outputs');
  const [image, previous = null] = inputs as [TensorSpec, TensorSpec?];
  const output = outputs[0]!;
  const [channels, height, width] = pictureSizes(image);
  demand(height === width && [1, 3].includes(channels), `wants pictures of ${height} x ${width} x ${channels}`);
  demand(preprocessing!.mean.length === channels, 'has another number of means than channels');
  demand(preprocessing!.color === 'RGB', `wants the colour order ${preprocessing!.color}`);
  demand(RESIZE_RULES.includes(preprocessing!.resize), `has the resize rule '${preprocessing!.resize}'`);
  demand(labels.length > 1 && palette.length === labels.length, `has ${labels.length} labels, ${palette.length} colours`);
  for (const spec of previous ? [previous, output] : [output]) {
    const sizes = pictureSizes(spec).join('x');
    demand(sizes === [labels.length, height, width].join('x'), `gives '${spec.name}' the sizes ${sizes}`);
  }
  return {
    name: sidecar.name,
    precision: sidecar.precision,
    image,
    previous,
    output,
    preprocess: preprocessing!,
    labels,
    palette: palette as unknown as Color[],
    size: width,
    bytes: sidecar.bytes,
    sha256: sidecar.sha256,
  };
}

function demand(fits: boolean, what: string): void {
  if (!fits) {
    throw new Error(`The sidecar ${what}: export the network again.`);
  }
}
