// Builds the page into ../page_built, which ships with the Python package. LiteRT.js is stored compressed;
// the server sends it as it is, with `Content-Encoding: gzip`.
import {mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {gzipSync} from 'node:zlib';
import {defineConfig, type Plugin} from 'vite';

const BUILT = join(import.meta.dirname, '../page_built');
const LITERT = join(import.meta.dirname, 'node_modules/@litertjs');
// LiteRT.js takes the first where the browser has relaxed SIMD, else the second. The threaded build needs a
// cross-origin isolated page, which a phone reached over plain http never has.
const VARIANTS = ['litert_wasm_internal', 'litert_wasm_compat_internal'];

function version(name: string): string {
  return JSON.parse(readFileSync(join(LITERT, name, 'package.json'), 'utf-8')).version;
}

function licences(): string {
  return [
    'This folder is built from benchmarks/devices/page and holds parts of these npm packages, both under',
    'the Apache License 2.0, whose text is the LICENSE file of this distribution:',
    '',
    `  @litertjs/core ${version('core')}        Copyright Google LLC`,
    `  @litertjs/wasm-utils ${version('wasm-utils')}  Copyright Google LLC`,
    '',
    'Source: https://github.com/google-ai-edge/LiteRT (litert/js). The files in wasm/ are unchanged but',
    'for their gzip compression; app.js contains the packages\' JavaScript.',
    '',
  ].join('\n');
}

function litert(): Plugin {
  return {
    name: 'litert-files',
    closeBundle() {
      mkdirSync(join(BUILT, 'wasm'), {recursive: true});
      for (const variant of VARIANTS) {
        for (const name of [`${variant}.js`, `${variant}.wasm`]) {
          const packed = gzipSync(readFileSync(join(LITERT, 'core/wasm', name)), {level: 9});
          writeFileSync(join(BUILT, 'wasm', `${name}.gz`), packed);
        }
      }
      writeFileSync(join(BUILT, 'LICENSES.txt'), licences());
    },
  };
}

export default defineConfig({
  base: './',
  define: {LITERTJS_VERSION: JSON.stringify(version('core'))},
  build: {
    outDir: BUILT,
    emptyOutDir: true,
    target: 'es2022',
    modulePreload: false,
    assetsInlineLimit: 0,
    rollupOptions: {
      output: {entryFileNames: 'app.js', assetFileNames: 'app[extname]'},
    },
  },
  plugins: [litert()],
});
