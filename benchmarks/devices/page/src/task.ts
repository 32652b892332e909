// What the server asks for and what the page tells it; both sides check the number of the protocol.

export const PROTOCOL = 1;

export interface TensorSpec {
  name: string;
  shape: number[];
  dtype: string;
}

export interface Task {
  protocol: number;
  label: string;
  backend: 'wasm' | 'webgpu';
  runs: number;
  warmup_s: number;
  inputs: TensorSpec[];
  outputs: TensorSpec[];
}

export interface Report {
  protocol: number;
  finished: boolean;
  user_agent: string;
  cross_origin_isolated: boolean;
  secure_context: boolean;
  hardware_concurrency: number;
  device_memory_gb: number | null;
  timer_resolution_ms: number;
  litertjs: string;
  variant: string;
  gpu: string | null;
  was_hidden: boolean;
  runtime_ms: number;
  load_ms: number;
  first_ms: number;
  warmup_runs: number;
  steady: boolean;
  repeats: number;
  samples_ms: number[];
  at_s: number[];
}

async function received(response: Response): Promise<Response> {
  if (!response.ok) {
    throw new Error(`the server answered ${response.status} to ${new URL(response.url).pathname.split('/').pop()}`);
  }
  return response;
}

export async function getTask(): Promise<Task> {
  const task = (await (await received(await fetch('task.json'))).json()) as Task;
  if (task.protocol !== PROTOCOL) {
    throw new Error(`the page speaks protocol ${PROTOCOL}, the server ${task.protocol}: reload without cache`);
  }
  return task;
}

export async function getBytes(path: string): Promise<Uint8Array> {
  return new Uint8Array(await (await received(await fetch(path))).arrayBuffer());
}

export async function postOutput(index: number, values: ArrayBufferView): Promise<void> {
  await received(await fetch(`output/${index}`, {method: 'POST', body: values as BodyInit}));
}

export async function postReport(report: Report): Promise<void> {
  await post('report', report);
}

export async function postFailure(message: string): Promise<void> {
  await post('failure', {protocol: PROTOCOL, message: message.slice(0, 500), user_agent: navigator.userAgent});
}

async function post(path: string, value: unknown): Promise<void> {
  const headers = {'Content-Type': 'application/json'};
  await received(await fetch(path, {method: 'POST', headers, body: JSON.stringify(value)}));
}
