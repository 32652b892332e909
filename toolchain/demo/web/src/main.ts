// The page: a network, a source of frames, and what the controls do to both.

import {cameras, nextFrame, openCamera, whyNoCamera, withoutCamera, type Camera} from './camera';
import {EFFECTS} from './effects';
import {Engine, type Parsed} from './engine';
import {install, type Recorder} from './hook';
import {missing, Network, type Backend} from './network';
import type {Picture} from './region';
import {isStrip} from './search';
import {artifact, listed, type Artifact, type Listed} from './site';
import {noTimes, Timings} from './stages';
import {chosenColor, controls, draw, element, listEffects, option, savePicture, say, showEffect, showTimes} from './view';

declare const LITERTJS_VERSION: string;
// Squares that a search tries in a frame of a camera, which must stay live, and in a picture.
const TRIES_LIVE = 2;
const TRIES_STILL = Infinity;
const LONGEST_PICTURE = 1280;
const SHOW_EVERY_MS = 500;

const grabber = document.createElement('canvas').getContext('2d', {willReadFrequently: true})!;
const timings = new Timings();
const recorder: Recorder = install();
let entries: Listed[] = [];
let loaded: Artifact | null = null;
let engine: Engine | null = null;
let camera: Camera | null = null;
// The latest frame without any effect, and what was found in it.
let latest: {picture: Picture; parsed: Parsed | null} | null = null;
let still: Picture | null = null;
let paused = false;
// Whether a camera that has gone is to be started again as soon as one is there.
let lost = false;
let told = 0;

function grab(source: CanvasImageSource, width: number, height: number): Picture {
  if (grabber.canvas.width !== width || grabber.canvas.height !== height) {
    grabber.canvas.width = width;
    grabber.canvas.height = height;
  }
  grabber.drawImage(source, 0, 0, width, height);
  return grabber.getImageData(0, 0, width, height);
}

function mirrored(): boolean {
  return controls.mirror.checked && still === null;
}

// Draws the latest frame with the chosen effect.
function paint(): Picture | null {
  if (latest === null) {
    return null;
  }
  const {picture, parsed} = latest;
  const shown = new ImageData(new Uint8ClampedArray(picture.data), picture.width, picture.height);
  if (parsed) {
    const effect = EFFECTS[controls.effect.value]!;
    effect.apply(shown, parsed.face, chosenColor(), Number(controls.strength.value));
  }
  draw(shown, mirrored());
  return shown;
}

async function show(using: Engine, take: () => Picture, tries: number): Promise<void> {
  const times = noTimes();
  const started = performance.now();
  const picture = take();
  times.capture = performance.now() - started;
  const parsed = await using.process(picture, times, tries);
  latest = {picture, parsed};
  const painting = performance.now();
  const shown = paint()!;
  const ended = performance.now();
  times.colorization = ended - painting;
  times.total = ended - started;
  timings.add(times);
  recorder.take(picture, shown, parsed, times);
  if (parsed) {
    say(camera === null ? 'Done.' : paused ? 'Paused.' : 'Live.');
  } else {
    say(still ? 'No face was found in this picture.' : 'No face in sight: look at the camera, in good light.');
  }
  if (ended - told > SHOW_EVERY_MS || still) {
    showTimes(timings, still === null);
    told = ended;
  }
}

// One frame after the other as long as this camera and this engine are the page's; late frames are never queued.
async function live(source: Camera, using: Engine): Promise<void> {
  const {video} = source;
  while (camera === source && engine === using) {
    await nextFrame(video);
    if (!paused && !document.hidden && camera === source && engine === using && video.videoWidth > 0) {
      await show(using, () => grab(video, video.videoWidth, video.videoHeight), TRIES_LIVE);
    }
  }
}

let turn: Promise<void> = Promise.resolve();

// What uses the network goes one by one: the frame that is being computed ends before a network is closed.
function inTurn(work: () => Promise<void>): Promise<void> {
  turn = turn.then(work).catch((error: unknown) => {
    say(error instanceof Error ? error.message : String(error), true);
  });
  return turn;
}

function run(): void {
  timings.clear();
  engine?.reset();
  const [source, using, picture] = [camera, engine, still];
  if (using === null) {
    return;
  }
  if (picture) {
    void inTurn(() => show(using, () => picture, TRIES_STILL));
  } else if (source) {
    void inTurn(() => live(source, using));
  }
}

function stopCamera(): void {
  camera?.stop();
  camera = null;
  paused = false;
  controls.pause.setAttribute('aria-pressed', 'false');
  controls.pause.disabled = true;
  controls.camera.textContent = 'Start camera';
}

async function startCamera(deviceId: string | null = null): Promise<void> {
  stopCamera();
  controls.camera.disabled = true;
  say('Asking for the camera.');
  try {
    const opened = await openCamera(deviceId);
    stopCamera();
    camera = opened;
    still = null;
    lost = false;
    opened.onEnd(() => {
      stopCamera();
      lost = true;
      say('The camera has gone. Connect it again, or press “Start camera”.', true);
    });
    controls.camera.textContent = 'Stop camera';
    controls.pause.disabled = controls.save.disabled = false;
    const found = await cameras();
    const names = found.map((device, index) => option(device.deviceId, device.label || `Camera ${index + 1}`));
    controls.device.replaceChildren(...names);
    controls.device.value = opened.deviceId;
    controls.device.disabled = found.length < 2;
    run();
  } catch (error) {
    say(`${whyNoCamera(error)} A picture can be opened instead.`, true);
  } finally {
    controls.camera.disabled = false;
  }
}

async function openPicture(file: File): Promise<void> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    say(`“${file.name}” is no picture that this browser can read.`, true);
    return;
  }
  const {width, height} = bitmap;
  if (isStrip(width, height)) {
    bitmap.close();
    say(`“${file.name}” is ${width} x ${height} pixels, too narrow to find a face in: cut out the part with the face.`, true);
    return;
  }
  stopCamera();
  lost = false;
  const share = Math.min(1, LONGEST_PICTURE / Math.max(width, height));
  still = grab(bitmap, Math.max(1, Math.round(share * width)), Math.max(1, Math.round(share * height)));
  bitmap.close();
  controls.save.disabled = false;
  say('Looking for a face.');
  run();
}

async function loadNetwork(): Promise<void> {
  const entry = entries[Number(controls.artifact.value)]!;
  const backend = controls.backend.value as Backend;
  say(`Loading ${entry.name}.`);
  const old = engine;
  engine = null;
  await inTurn(async () => {
    old?.network.close();
    loaded = await artifact(entry);
    const chosen = controls.effect.value;
    listEffects(loaded.contract);
    if (controls.effect.value !== chosen) {
      showEffect();
    }
    engine = new Engine(await loadOn(loaded, entry.name, backend), loaded.contract);
  });
  if (engine === null) {
    return;
  }
  const {contract, network} = engine as Engine;
  controls.backend.value = network.backend;
  element('network-name').textContent = `${contract.name}, ${contract.precision}, ${contract.size} x ${contract.size}`;
  element('facts').textContent = `LiteRT.js ${LITERTJS_VERSION} on ${network.place}. ${entry.name}.`;
  run();
}

async function loadOn(from: Artifact, name: string, backend: Backend): Promise<Network> {
  element('note').textContent = '';
  try {
    return await Network.load(from.file, from.contract, backend);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    if (backend === 'wasm') {
      throw new Error(`${name} cannot be run: ${reason}`);
    }
    const network = await loadOn(from, name, 'wasm');
    element('note').textContent = `${reason} WebAssembly is used.`;
    return network;
  }
}

function repaint(): void {
  if (camera === null || paused) {
    paint();
  }
}

function connect(): void {
  controls.effect.addEventListener('change', () => {
    showEffect();
    repaint();
  });
  for (const control of [controls.strength, controls.color, controls.mirror]) {
    control.addEventListener('input', repaint);
  }
  controls.ownColor.addEventListener('input', () => {
    controls.color.disabled = !controls.ownColor.checked;
    repaint();
  });
  controls.camera.addEventListener('click', () => {
    if (camera) {
      stopCamera();
      lost = false;
      say('The camera is off.');
    } else {
      void startCamera();
    }
  });
  controls.pause.addEventListener('click', () => {
    paused = !paused;
    controls.pause.setAttribute('aria-pressed', String(paused));
    say(paused ? 'Paused.' : 'Live.');
  });
  controls.save.addEventListener('click', () => void savePicture(mirrored()));
  controls.choose.addEventListener('click', () => controls.picture.click());
  controls.picture.addEventListener('change', () => {
    const file = controls.picture.files?.[0];
    controls.picture.value = '';
    if (file) {
      void openPicture(file);
    }
  });
  controls.device.addEventListener('change', () => void startCamera(controls.device.value));
  navigator.mediaDevices?.addEventListener('devicechange', () => {
    if (lost && camera === null) {
      void startCamera();
    }
  });
  controls.artifact.addEventListener('change', () => void loadNetwork());
  controls.backend.addEventListener('change', () => void loadNetwork());
  const stage = element('drop');
  for (const name of ['dragenter', 'dragover', 'dragleave', 'drop'] as const) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      stage.classList.toggle('dropping', name === 'dragenter' || name === 'dragover');
      const file = name === 'drop' ? event.dataTransfer?.files[0] : undefined;
      if (file && engine) {
        void openPicture(file);
      }
    });
  }
}

async function main(): Promise<void> {
  connect();
  const reason = missing();
  if (reason) {
    say(reason, true);
    return;
  }
  try {
    entries = await listed();
  } catch (error) {
    say((error as Error).message, true);
    return;
  }
  controls.artifact.replaceChildren(...entries.map((entry, index) => option(String(index), entry.name.replace(/\.tflite$/, ''))));
  await loadNetwork();
  if (engine === null) {
    return;
  }
  controls.artifact.disabled = entries.length < 2;
  controls.backend.disabled = controls.choose.disabled = false;
  const hindrance = withoutCamera();
  if (hindrance) {
    say(`${hindrance} A picture can be opened instead.`, true);
    return;
  }
  await startCamera();
}

void main();
