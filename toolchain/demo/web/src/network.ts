// A face parser in LiteRT.js.

import {getWebGpuDevice, loadAndCompile, loadLiteRt, Tensor, type CompiledModel, type SignatureRunner} from '@litertjs/core';
import type {Contract, TensorSpec} from './contract';
import {emptyValues, type Values} from './preprocess';

export type Backend = 'wasm' | 'webgpu';

const SERVING = 'serving_default';
// (module (func (result v128) i32.const 0 i8x16.splat)): valid only where WebAssembly has SIMD.
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 8, 1, 6, 0, 65, 0, 253, 15, 11];

let loading: Promise<unknown> | null = null;

// Why this browser cannot run any network; '' when it can.
export function missing(): string {
  if (typeof WebAssembly !== 'object' || !WebAssembly.validate(new Uint8Array(SIMD))) {
    return 'This browser has no WebAssembly with SIMD. Use a current Chrome, Edge, Firefox or Safari (16.4 or later).';
  }
  return '';
}

function runtime(): Promise<unknown> {
  // LiteRT logs on standard error, which Emscripten takes for errors of the page.
  (self as {Module?: unknown}).Module = {printErr: log};
  loading ??= loadLiteRt(new URL('wasm/', document.baseURI).href);
  return loading;
}

function log(line: string): void {
  if (line.startsWith('WARN')) {
    console.warn(line);
  } else if (!/^(INFO|VERBOSE|DEBUG)\b/.test(line)) {
    console.error(line);
  }
}

export class Network {
  // Values of the inputs, to be written before `run`.
  readonly image: Values;
  readonly previous: Values | null;

  private constructor(
    private readonly contract: Contract,
    readonly backend: Backend,
    private readonly model: CompiledModel,
    private readonly runner: SignatureRunner,
    private readonly order: readonly TensorSpec[],
  ) {
    this.image = emptyValues(contract.image);
    this.previous = contract.previous && emptyValues(contract.previous);
  }

  static async load(file: Uint8Array, contract: Contract, backend: Backend): Promise<Network> {
    await runtime();
    if (backend === 'webgpu' && !getWebGpuDevice()) {
      throw new Error(
        isSecureContext
          ? 'This browser has no WebGPU device.'
          : 'Browsers have no WebGPU over plain http: use --https, or `adb reverse`.',
      );
    }
    const model = await loadAndCompile(file, {accelerator: backend, gpuOptions: {precision: 'fp32'}});
    try {
      if (backend === 'webgpu' && !model.isFullyAccelerated) {
        throw new Error('Not all operators of this file run on WebGPU.');
      }
      const runners = Object.values(model.signatures);
      const runner = model.signatures[SERVING] ?? (runners.length === 1 ? runners[0] : undefined);
      const inputs = contract.previous ? [contract.image, contract.previous] : [contract.image];
      const names = (runner?.getInputDetails() ?? []).map((detail) => detail.name);
      const order = names.map((name) => inputs.find((spec) => spec.name === name) ?? inputs[0]!);
      if (!runner || new Set(order).size !== inputs.length || order.length !== inputs.length) {
        throw new Error(`The inputs of the file are ${names.join(', ')}, not those of its sidecar.`);
      }
      return new Network(contract, backend, model, runner, order);
    } catch (error) {
      model.delete();
      throw error;
    }
  }

  // Where it runs, in words.
  get place(): string {
    if (this.backend === 'wasm') {
      return 'WebAssembly, 1 thread';
    }
    const info = getWebGpuDevice()?.adapterInfo as {isFallbackAdapter?: boolean} | undefined;
    return info?.isFallbackAdapter ? 'WebGPU in fp32, which the processor emulates here' : 'WebGPU in fp32';
  }

  // What the network answers to the values of its inputs: the values of its output.
  async run(): Promise<Values> {
    const inputs: Tensor[] = [];
    let outputs: Tensor[] = [];
    try {
      for (const spec of this.order) {
        const values = spec === this.contract.image ? this.image : this.previous!;
        const tensor = new Tensor(values, spec.shape);
        inputs.push(this.backend === 'webgpu' ? await tensor.moveTo('webgpu') : tensor);
      }
      outputs = await this.runner.run(inputs);
      return (await outputs[0]!.data()) as Values;
    } finally {
      [...inputs, ...outputs].forEach((tensor) => tensor.delete());
    }
  }

  close(): void {
    this.model.delete();
  }
}
