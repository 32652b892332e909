// Times of a function: warm-up until it is steady, then samples.

const BLOCK_RUNS = 5;
const BLOCK_MS = 50;
const STEADY_BLOCKS = 3;
const STEADY_CHANGE = 0.03;
// A sample is at least so many times as long as the clock's step, which browsers make coarse.
const SAMPLE_STEPS = 100;
const CLOCK_CHANGES = 20;

export interface WarmUp {
  runs: number;
  steady: boolean;
  runMs: number;
}

export function timerResolution(): number {
  let least = Infinity;
  let before = performance.now();
  for (let changes = 0; changes < CLOCK_CHANGES; ) {
    const now = performance.now();
    if (now !== before) {
      least = Math.min(least, now - before);
      before = now;
      changes += 1;
    }
  }
  return least;
}

export function repeatsFor(runMs: number, resolutionMs: number): number {
  return Math.max(1, Math.ceil((SAMPLE_STEPS * resolutionMs) / Math.max(runMs, resolutionMs / SAMPLE_STEPS)));
}

export async function timed(run: () => Promise<void>, repeats: number): Promise<number> {
  const started = performance.now();
  for (let index = 0; index < repeats; index += 1) {
    await run();
  }
  return (performance.now() - started) / repeats;
}

// Runs until the medians of three blocks in a row hardly differ, or the time is over.
export async function warmUp(run: () => Promise<void>, seconds: number, told: () => Promise<void>): Promise<WarmUp> {
  const deadline = performance.now() + seconds * 1000;
  const medians: number[] = [];
  let runs = 0;
  let steady = false;
  while (!steady && (medians.length === 0 || performance.now() < deadline)) {
    const block: number[] = [];
    const started = performance.now();
    while (block.length < BLOCK_RUNS || performance.now() - started < BLOCK_MS) {
      block.push(await timed(run, 1));
    }
    runs += block.length;
    medians.push(median(block));
    steady = settled(medians.slice(-STEADY_BLOCKS));
    await told();
  }
  return {runs, steady, runMs: medians[medians.length - 1]!};
}

function settled(latest: number[]): boolean {
  return (
    latest.length === STEADY_BLOCKS &&
    latest.slice(1).every((after, index) => Math.abs(after / latest[index]! - 1) < STEADY_CHANGE)
  );
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
