// A .tflite file in LiteRT.js, on the inputs that the server gives.

import {getWebGpuDevice, loadAndCompile, loadLiteRt, supportsFeature, Tensor, type TypedArray} from '@litertjs/core';
import {getBytes, type Task, type TensorSpec} from './task';

const ARRAYS: Record<string, new (buffer: ArrayBuffer) => TypedArray> = {
  float32: Float32Array,
  int32: Int32Array,
  uint8: Uint8Array,
};
const SERVING = 'serving_default';

export interface Network {
  run(): Promise<void>;
  outputs(): Promise<TypedArray[]>;
  runtimeMs: number;
  loadMs: number;
  variant: string;
  gpu: string | null;
}

export async function load(task: Task): Promise<Network> {
  const variant = (await supportsFeature('relaxedSimd')) ? 'relaxed SIMD' : 'SIMD';
  // LiteRT logs on standard error, which Emscripten takes for errors of the page.
  (self as {Module?: unknown}).Module = {printErr: log};
  const started = performance.now();
  await loadLiteRt(new URL('wasm/', document.baseURI).href);
  const runtimeMs = performance.now() - started;
  const device = getWebGpuDevice();
  if (task.backend === 'webgpu' && !device) {
    throw new Error(
      isSecureContext
        ? 'this browser has no WebGPU device'
        : 'WebGPU needs https or localhost: reach the server over `adb reverse`',
    );
  }
  const file = await getBytes('model.tflite');
  const compiling = performance.now();
  const model = await loadAndCompile(file, {
    accelerator: task.backend,
    gpuOptions: {precision: 'fp32'},
  });
  const loadMs = performance.now() - compiling;
  if (task.backend === 'webgpu' && !model.isFullyAccelerated) {
    throw new Error('not all operators of this file run on WebGPU, and LiteRT.js went back to WebAssembly');
  }
  const keys = Object.keys(model.signatures);
  const runner = model.signatures[SERVING] ?? (keys.length === 1 ? model.signatures[keys[0]!] : undefined);
  if (!runner) {
    throw new Error(`the file has the signatures ${keys.join(', ')}, none of them is ${SERVING}`);
  }
  const order = positions(task.inputs, runner.getInputDetails(), 'input');
  const outputOrder = positions(task.outputs, runner.getOutputDetails(), 'output');
  const inputs: Tensor[] = [];
  for (const [place, index] of order.entries()) {
    const tensor = await input(task.inputs[index]!, index);
    inputs[place] = task.backend === 'webgpu' ? await tensor.moveTo('webgpu') : tensor;
  }

  async function invoke(): Promise<Tensor[]> {
    return runner!.run(inputs);
  }

  // A GPU works after `run` has returned; its outputs are there when they have been copied.
  async function run(): Promise<void> {
    for (const output of await invoke()) {
      if (task.backend === 'webgpu') {
        await output.data();
      }
      output.delete();
    }
  }

  async function outputs(): Promise<TypedArray[]> {
    const made = await invoke();
    const arrays: TypedArray[] = [];
    for (const [place, index] of outputOrder.entries()) {
      arrays[index] = (await made[place]!.data()) as TypedArray;
    }
    made.forEach((tensor) => tensor.delete());
    return arrays;
  }

  const gpu = task.backend === 'webgpu' && device ? describe(device) : null;
  return {run, outputs, runtimeMs, loadMs, variant, gpu};
}

function log(line: string): void {
  if (line.startsWith('WARN')) {
    console.warn(line);
  } else if (!/^(INFO|VERBOSE|DEBUG)\b/.test(line)) {
    console.error(line);
  }
}

async function input(spec: TensorSpec, index: number): Promise<Tensor> {
  const kind = ARRAYS[spec.dtype];
  if (!kind) {
    throw new Error(`LiteRT.js takes no ${spec.dtype} inputs`);
  }
  const bytes = await getBytes(`input/${index}`);
  return new Tensor(new kind(bytes.buffer as ArrayBuffer), spec.shape);
}

// For each tensor of the runtime, which of the server's it is.
function positions(specs: TensorSpec[], details: readonly {name: string; shape: Int32Array}[], what: string): number[] {
  const places = details.map((detail) =>
    specs.length === 1 && details.length === 1 ? 0 : specs.findIndex((spec) => spec.name === detail.name),
  );
  if (places.length !== specs.length || new Set(places).size !== specs.length || places.includes(-1)) {
    throw new Error(`the ${what}s are called ${details.map((detail) => detail.name).join(', ')} in LiteRT.js`);
  }
  return places;
}

function describe(device: GPUDevice): string {
  const info = device.adapterInfo;
  const words = [info?.vendor, info?.architecture, info?.device, info?.description].filter(Boolean);
  const fallback = (info as {isFallbackAdapter?: boolean} | undefined)?.isFallbackAdapter ? ['fallback adapter'] : [];
  return [...words, ...fallback].join(' ') || 'unnamed';
}
