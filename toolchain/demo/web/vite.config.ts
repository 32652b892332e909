// Builds the page into ../page_built, which ships with the Python package. The WebAssembly files of LiteRT.js are
// those of the benchmark's page: the server takes them from there, so both pages need the same version.
import {createHash} from 'node:crypto';
import {readdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {defineConfig, type Plugin} from 'vite';

const HERE = import.meta.dirname;
const BUILT = process.env.PAGE_BUILT ?? join(HERE, '../page_built');
const LITERT = join(HERE, 'node_modules/@litertjs');
const SOURCES = ['index.html', 'package-lock.json', 'package.json', 'tsconfig.json', 'vite.config.ts'];

function version(name: string): string {
  return JSON.parse(readFileSync(join(LITERT, name, 'package.json'), 'utf-8')).version;
}

function licences(): string {
  return [
    'This folder is built from toolchain/demo/web; app.js contains the JavaScript of these npm packages, both under',
    'the Apache License 2.0, whose text is the LICENSE file of this distribution:',
    '',
    `  @litertjs/core ${version('core')}        Copyright Google LLC`,
    `  @litertjs/wasm-utils ${version('wasm-utils')}  Copyright Google LLC`,
    '',
    'Source: https://github.com/google-ai-edge/LiteRT (litert/js).',
    '',
  ].join('\n');
}

// From which sources the page was built, for the test that tells a stale copy without Node.
function digests(): string {
  const names = [...SOURCES, ...readdirSync(join(HERE, 'src')).map((name) => `src/${name}`)].sort();
  const found = names.map((name) => [name, createHash('sha256').update(readFileSync(join(HERE, name))).digest('hex')]);
  return `${JSON.stringify({litertjs: version('core'), sources: Object.fromEntries(found)}, null, 2)}\n`;
}

function notes(): Plugin {
  return {
    name: 'notes',
    closeBundle() {
      writeFileSync(join(BUILT, 'LICENSES.txt'), licences());
      writeFileSync(join(BUILT, 'sources.json'), digests());
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
  plugins: [notes()],
});
