// The page: fetches the task, measures, shows what it does, and tells the server.

import {median, repeatsFor, timed, timerResolution, warmUp} from './measure';
import {load, type Network} from './network';
import {getTask, postFailure, postOutput, postReport, PROTOCOL, type Report, type Task} from './task';

declare const LITERTJS_VERSION: string;
// The server takes a page for gone that is silent for long.
const REPORT_EVERY_MS = 2000;

let wasHidden = document.visibilityState === 'hidden';
document.addEventListener('visibilitychange', () => {
  wasHidden ||= document.visibilityState === 'hidden';
});

function element(id: string): HTMLElement {
  return document.getElementById(id)!;
}

function stage(text: string, share: number): void {
  element('stage').textContent = text;
  (element('progress') as HTMLProgressElement).value = share;
}

function fact(name: string, value: string): void {
  const term = document.createElement('dt');
  const description = document.createElement('dd');
  term.textContent = name;
  description.textContent = value;
  element('facts').append(term, description);
}

// Lets the browser draw and answer.
function breathe(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}

function blank(network: Network): Report {
  return {
    protocol: PROTOCOL,
    finished: false,
    user_agent: navigator.userAgent,
    cross_origin_isolated: globalThis.crossOriginIsolated === true,
    secure_context: isSecureContext,
    hardware_concurrency: navigator.hardwareConcurrency ?? 0,
    device_memory_gb: (navigator as {deviceMemory?: number}).deviceMemory ?? null,
    timer_resolution_ms: timerResolution(),
    litertjs: LITERTJS_VERSION,
    variant: network.variant,
    gpu: network.gpu,
    was_hidden: wasHidden,
    runtime_ms: network.runtimeMs,
    load_ms: network.loadMs,
    first_ms: 0,
    warmup_runs: 0,
    steady: false,
    repeats: 1,
    samples_ms: [],
    at_s: [],
  };
}

async function sample(task: Task, network: Network, report: Report): Promise<void> {
  const started = performance.now();
  let told = started;
  for (let index = 0; index < task.runs; index += 1) {
    report.at_s.push((performance.now() - started) / 1000);
    report.samples_ms.push(await timed(network.run, report.repeats));
    if (performance.now() - told > REPORT_EVERY_MS) {
      report.was_hidden = wasHidden;
      await postReport(report);
      told = performance.now();
    }
    stage(`Measuring: ${index + 1} of ${task.runs}`, 0.3 + (0.7 * (index + 1)) / task.runs);
    await breathe();
  }
}

async function measure(task: Task): Promise<void> {
  stage('Loading LiteRT.js and the network.', 0.05);
  const network = await load(task);
  const report = blank(network);
  fact('backend', task.backend === 'webgpu' ? `WebGPU (${network.gpu})` : `WebAssembly, ${network.variant}, 1 thread`);
  fact('isolated', report.cross_origin_isolated ? 'yes' : 'no');
  fact('clock', `${report.timer_resolution_ms.toPrecision(2)} ms steps`);
  fact('load', `${report.load_ms.toFixed(1)} ms`);
  report.first_ms = await timed(network.run, 1);
  fact('first run', `${report.first_ms.toFixed(1)} ms`);
  stage('Sending the outputs to be compared.', 0.1);
  for (const [index, values] of (await network.outputs()).entries()) {
    await postOutput(index, values);
  }
  stage('Warming up.', 0.15);
  let told = performance.now();
  const warm = await warmUp(network.run, task.warmup_s, async () => {
    if (performance.now() - told > REPORT_EVERY_MS) {
      await postReport(report);
      told = performance.now();
    }
    await breathe();
  });
  report.warmup_runs = warm.runs;
  report.steady = warm.steady;
  report.repeats = repeatsFor(warm.runMs, report.timer_resolution_ms);
  await sample(task, network, report);
  report.finished = true;
  report.was_hidden = wasHidden;
  await postReport(report);
  const mean = report.repeats > 1 ? `, each the mean of ${report.repeats} runs` : '';
  fact('samples', `${report.samples_ms.length}${mean}`);
  fact('median', `${median(report.samples_ms).toFixed(2)} ms`);
  if (wasHidden) {
    fact('note', 'the page was hidden meanwhile, which slows it down');
  }
}

async function main(): Promise<void> {
  try {
    const task = await getTask();
    element('network').textContent = task.label;
    await measure(task);
    stage('Done. The results are at the computer; this page can be closed.', 1);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    element('stage').classList.add('failed');
    stage(`Failed: ${message}`, 0);
    await postFailure(message).catch(() => undefined);
  }
}

void main();
