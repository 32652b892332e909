// What the server has: the networks, each with its sidecar. Nothing is cached, so that a new export shows on reload.

import {readContract, type Contract} from './contract';
import {namesFace} from './tracking';

export interface Listed {
  name: string;
  file: string;
  sidecar: string;
}

export interface Artifact {
  contract: Contract;
  file: Uint8Array;
}

async function received(path: string): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, {cache: 'no-store'});
  } catch {
    throw new Error('The server does not answer: is `toolchain demo --web` still running?');
  }
  if (!response.ok) {
    throw new Error(`The server has no ${path} (${response.status}): was the file moved?`);
  }
  return response;
}

export async function listed(): Promise<Listed[]> {
  return (await (await received('artifacts.json')).json()) as Listed[];
}

export async function artifact(entry: Listed): Promise<Artifact> {
  const contract = readContract(await (await received(entry.sidecar)).text());
  const file = new Uint8Array(await (await received(entry.file)).arrayBuffer());
  const foreign = `The sidecar of ${entry.name} describes another file: wait for the export to end, and reload.`;
  if (file.length !== contract.bytes) {
    throw new Error(foreign);
  }
  // Only secure pages can hash.
  if (crypto.subtle) {
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', file as BufferSource));
    if ([...digest].map((byte) => byte.toString(16).padStart(2, '0')).join('') !== contract.sha256) {
      throw new Error(foreign);
    }
  }
  if (!namesFace(contract.labels)) {
    throw new Error(`${entry.name} parses no faces: give a face parser, such as mobile-hourglass.`);
  }
  return {contract, file};
}
