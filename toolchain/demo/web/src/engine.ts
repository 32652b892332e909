// Frames in, a parsed face out: a search where no face is known, the previous mask where one is.

import type {Contract} from './contract';
import type {Face} from './effects';
import type {Grid} from './filters';
import type {Network} from './network';
import {pictureWriter, readProbabilities, writePrevious} from './preprocess';
import {MovingMask, shrunkMask, shrunkWarp, SIDE} from './previous';
import {boxOfSquare, crop, faceSquare, warpOf, whole, type Box, type Picture, type Warp} from './region';
import {candidates, detected} from './search';
import type {Stage, Times} from './stages';
import {HeldBox, MaskReader, type MaskFace} from './tracking';

// A face that was moved away from the edge of its region is left alone for so many frames.
const PATIENCE = 10;
// How often the region is moved to what a mask of the search shows, and how near it must come, in units of the box.
const REFINEMENTS = 4;
const NEAR = 0.08;
// How sure masks are, see MaskFace: where a region shows the better part of a face, and where it shows all of one.
// Of faces it is 0.96 and more, of hands, hair and folds below 0.93.
const PROMISING = 0.8;
const CERTAIN = 0.94;

// What the network was given and said, of one region of a frame.
export interface Parsed {
  face: Face;
  square: Box;
  cut: Uint8Array;
  // The previous mask that it was given; null for zeros.
  previous: Float32Array | null;
  // Whether the picture shows hardly anything of the one before, as after a cut.
  another: boolean;
  // The answer at a coarser size, which is enough to follow a face.
  small: Grid;
}

export class Engine {
  private readonly reader: MaskReader;
  private readonly before: MovingMask;
  private readonly writePicture: (cut: Uint8Array, into: Network['image']) => void;
  private held: HeldBox | null = null;
  private wait = 0;
  private squares: Box[] = [];
  private next = 0;

  constructor(
    readonly network: Network,
    readonly contract: Contract,
  ) {
    this.reader = new MaskReader(contract.labels);
    this.before = new MovingMask(contract.size);
    this.writePicture = pictureWriter(contract);
  }

  // Forgets the face: the next frame is the first of another video.
  reset(): void {
    this.held = null;
    this.before.forget();
    this.squares = [];
    this.next = 0;
  }

  // Parses the face of the next frame; null when there is none. A search that runs out of `tries` goes on in the
  // next frame.
  async process(picture: Picture, times: Times, tries: number): Promise<Parsed | null> {
    if (this.held === null) {
      return this.search(picture, times, tries);
    }
    const box = this.held.box;
    const parsed = await this.parse(picture, box, times);
    const seen = timed(times, 'detection', () => this.read(parsed, box, picture));
    // What lies in the old region of a new shot has to pass for a face as in a search.
    if (seen.lost || (parsed.another && !isCertain(seen, box))) {
      this.reset();
      return this.search(picture, times, tries);
    }
    this.wait = Math.max(0, this.wait - 1);
    if (seen.atEdge && this.wait === 0) {
      this.held = new HeldBox(seen.box);
      this.wait = PATIENCE;
    } else {
      this.held.follow(seen.box);
    }
    return parsed;
  }

  private read(parsed: Parsed, box: Box, picture: Picture): MaskFace {
    const warp = shrunkWarp(parsed.face.warp, this.contract.size);
    return this.reader.read(parsed.small.values, SIDE, warp, box, picture.width, picture.height);
  }

  private async search(picture: Picture, times: Times, tries: number): Promise<Parsed | null> {
    const started = performance.now();
    const {margin, shift} = this.contract.preprocess;
    const spent: Times = {...times};
    if (this.next >= this.squares.length) {
      this.squares = candidates(picture.width, picture.height);
      this.next = 0;
    }
    const first = this.next === 0 ? await detected(picture) : [];
    const boxes = this.squares.slice(this.next, this.next + tries).map((square) => boxOfSquare(square, margin, shift));
    this.next += tries;
    for (const box of [...first, ...boxes]) {
      // What a search computes counts as detection, all of it.
      const found = await this.refined(picture, box, spent);
      if (found !== null) {
        this.held = new HeldBox(found);
        this.squares = [];
        this.next = 0;
        break;
      }
    }
    times.detection += performance.now() - started;
    this.before.forget();
    return this.held && this.parse(picture, this.held.box, times);
  }

  // Where the face is that a region shows, by masks of regions ever closer to it; null when there is none.
  private async refined(picture: Picture, start: Box, times: Times): Promise<Box | null> {
    let box = start;
    for (let step = 0; step < REFINEMENTS; step += 1) {
      this.before.forget();
      const seen = this.read(await this.parse(picture, box, times), box, picture);
      if (!seen.complete || seen.confidence < PROMISING) {
        return null;
      }
      if (isCertain(seen, box)) {
        return seen.box;
      }
      box = seen.box;
    }
    return null;
  }

  private async parse(picture: Picture, box: Box, times: Times): Promise<Parsed> {
    const {contract, network} = this;
    const {margin, shift, resize} = contract.preprocess;
    const square = whole(faceSquare(box, margin, shift));
    const warp: Warp = warpOf(square, contract.size);
    const cut = new Uint8Array(3 * contract.size ** 2);
    const known = this.before.isKnown;
    const previous = timed(times, 'crop', () => {
      crop(picture, warp, contract.size, resize, cut);
      this.writePicture(cut, network.image);
      const carried = contract.previous && this.before.carried(cut, warp);
      if (contract.previous) {
        writePrevious(carried, contract.previous, network.previous!);
      }
      return carried;
    });
    const started = performance.now();
    const values = await network.run();
    times.inference += performance.now() - started;
    const [probabilities, small] = timed(times, 'unwarp', () => {
      const found = readProbabilities(values, contract.output);
      const coarse = shrunkMask(found, contract.size, contract.labels.length);
      if (contract.previous) {
        this.before.put(cut, warp, coarse);
      }
      return [found, coarse];
    });
    return {face: {probabilities, warp, contract}, square, cut, previous, another: known && previous === null, small};
  }
}

// Whether a mask shows a face, all of it and in the middle of the region that was made for `box`.
function isCertain(seen: MaskFace, box: Box): boolean {
  const off = Math.max(Math.abs(seen.box.x - box.x), Math.abs(seen.box.y - box.y)) / box.side;
  return !seen.lost && seen.complete && off < NEAR && seen.confidence >= CERTAIN;
}

function timed<T>(times: Times, stage: Stage, work: () => T): T {
  const started = performance.now();
  const result = work();
  times[stage] += performance.now() - started;
  return result;
}
