// The page's elements: what is read from them and written into them.

import type {Color, Contract} from './contract';
import {EFFECTS} from './effects';
import type {Picture} from './region';
import {STAGES, type Timings} from './stages';

export function element<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

export const controls = {
  camera: element<HTMLButtonElement>('camera'),
  pause: element<HTMLButtonElement>('pause'),
  save: element<HTMLButtonElement>('save'),
  choose: element<HTMLButtonElement>('choose'),
  picture: element<HTMLInputElement>('picture'),
  effect: element<HTMLSelectElement>('effect'),
  strength: element<HTMLInputElement>('strength'),
  ownColor: element<HTMLInputElement>('own-color'),
  color: element<HTMLInputElement>('color'),
  mirror: element<HTMLInputElement>('mirror'),
  device: element<HTMLSelectElement>('device'),
  artifact: element<HTMLSelectElement>('artifact'),
  backend: element<HTMLSelectElement>('backend'),
};

const canvas = element<HTMLCanvasElement>('canvas');
const context = canvas.getContext('2d')!;

// Only what is new is said again by a screen reader.
export function say(text: string, failed = false): void {
  const status = element('status');
  if (status.textContent !== text) {
    status.textContent = text;
  }
  status.classList.toggle('failed', failed);
}

export function option(value: string, text: string): HTMLOptionElement {
  const made = document.createElement('option');
  made.value = value;
  made.textContent = text;
  return made;
}

// Effects whose classes the network has.
export function listEffects(contract: Contract): void {
  const chosen = controls.effect.value;
  const fitting = Object.entries(EFFECTS).filter(([, effect]) =>
    effect.needs.every((name) => contract.labels.includes(name)),
  );
  controls.effect.replaceChildren(...fitting.map(([name, effect]) => option(name, effect.label)));
  if (fitting.some(([name]) => name === chosen)) {
    controls.effect.value = chosen;
  }
}

// What an effect begins with, when it is chosen.
export function showEffect(): void {
  const effect = EFFECTS[controls.effect.value]!;
  const colored = effect.color !== undefined;
  controls.strength.value = String(effect.strength);
  controls.strength.disabled = controls.effect.value === 'none';
  controls.ownColor.checked = false;
  controls.ownColor.disabled = !colored;
  if (effect.color) {
    controls.color.value = `#${effect.color.map((value) => value.toString(16).padStart(2, '0')).join('')}`;
  }
  controls.color.disabled = true;
}

export function chosenColor(): Color | null {
  const effect = EFFECTS[controls.effect.value]!;
  if (!controls.ownColor.checked) {
    return effect.color ?? null;
  }
  const value = Number.parseInt(controls.color.value.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

export function draw(picture: Picture, mirrored: boolean): void {
  if (canvas.width !== picture.width || canvas.height !== picture.height) {
    canvas.width = picture.width;
    canvas.height = picture.height;
  }
  canvas.classList.toggle('mirrored', mirrored);
  context.putImageData(picture as ImageData, 0, 0);
}

// The picture as it is seen, as a file.
export async function savePicture(mirrored: boolean): Promise<void> {
  const copy = document.createElement('canvas');
  copy.width = canvas.width;
  copy.height = canvas.height;
  const into = copy.getContext('2d')!;
  if (mirrored) {
    into.setTransform(-1, 0, 0, 1, copy.width, 0);
  }
  into.drawImage(canvas, 0, 0);
  const blob = await new Promise<Blob | null>((resolve) => copy.toBlob(resolve, 'image/png'));
  if (blob) {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = 'toolchain-demo.png';
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }
}

const cells = new Map(
  STAGES.map((stage) => {
    const row = element<HTMLTableSectionElement>('times').insertRow();
    const head = document.createElement('th');
    head.scope = 'row';
    head.textContent = stage;
    row.append(head);
    return [stage, [row.insertCell(), row.insertCell()]] as const;
  }),
);

export function showTimes(timings: Timings, live: boolean): void {
  if (timings.count === 0) {
    return;
  }
  for (const [stage, [half, most]] of cells) {
    half!.textContent = timings.of(stage, 0.5).toFixed(1);
    most!.textContent = timings.of(stage, 0.9).toFixed(1);
  }
  element('rate').textContent = live ? `at ${timings.framesPerSecond().toFixed(1)} frames per second` : '';
}
