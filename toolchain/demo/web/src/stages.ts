// Milliseconds of each stage of the latest frames.

export const STAGES = ['capture', 'detection', 'crop', 'inference', 'unwarp', 'colorization', 'total'] as const;
export type Stage = (typeof STAGES)[number];
export type Times = Record<Stage, number>;

const REMEMBERED = 120;

export function noTimes(): Times {
  return {capture: 0, detection: 0, crop: 0, inference: 0, unwarp: 0, colorization: 0, total: 0};
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((one, other) => one - other);
  const place = share * (sorted.length - 1);
  const low = Math.floor(place);
  return sorted[low]! + (place - low) * (sorted[Math.min(low + 1, sorted.length - 1)]! - sorted[low]!);
}

export class Timings {
  private frames: Times[] = [];
  private ends: number[] = [];

  add(times: Times): void {
    this.frames.push(times);
    this.ends.push(performance.now());
    if (this.frames.length > REMEMBERED) {
      this.frames.shift();
      this.ends.shift();
    }
  }

  clear(): void {
    this.frames = [];
    this.ends = [];
  }

  get count(): number {
    return this.frames.length;
  }

  of(stage: Stage, share: number): number {
    return quantile(
      this.frames.map((times) => times[stage]),
      share,
    );
  }

  framesPerSecond(): number {
    const span = this.ends[this.ends.length - 1]! - this.ends[0]!;
    return span > 0 ? (1000 * (this.ends.length - 1)) / span : 0;
  }
}
