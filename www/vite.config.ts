// Builds the page. The wasm modules must lie in src/wasm, where `cargo xtask` puts them.

import { existsSync, readFileSync, statSync } from 'node:fs';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, constants } from 'node:zlib';
import { defineConfig, type Plugin } from 'vite';
import { page } from './src/strings.ts';

const version: string = JSON.parse(readFileSync('package.json', 'utf8')).version;

/** The coordinator sends the same as a header, with `frame-ancestors`, which a meta tag cannot say. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'self'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "connect-src 'self' ws: wss:",
  "style-src 'self'",
  "img-src 'self' data:",
  "worker-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
].join('; ');

/** Puts the strings into index.html. */
const strings: Plugin = {
  name: 'strings',
  transformIndexHtml(html) {
    return html.replace(/\{\{(\w+)\}\}/g, (_, key: string) => {
      if (!(key in page)) throw new Error(`strings.ts has no page.${key}`);
      return page[key as keyof typeof page];
    });
  },
};

/** Only in the build: Vite's development server puts styles in as elements, which this forbids. */
const policy: Plugin = {
  name: 'content-security-policy',
  apply: 'build',
  transformIndexHtml() {
    const attrs = { 'http-equiv': 'Content-Security-Policy', content: CONTENT_SECURITY_POLICY };
    return [{ tag: 'meta', attrs, injectTo: 'head-prepend' }];
  },
};

/** What was compressed before; names in assets/ carry their content's hash. */
const COMPRESSED = 'node_modules/.cache/brotli';

/** Lays `NAME.br` beside each file, which the coordinator gives to whoever takes it: a fifth of the wasm. */
const precompressed: Plugin = {
  name: 'precompressed',
  apply: 'build',
  async writeBundle({ dir }, bundle) {
    await mkdir(COMPRESSED, { recursive: true });
    const files = Object.keys(bundle).filter((name) => /\.(css|html|js|wasm)$/.test(name));
    await Promise.all(
      files.map(async (name) => {
        const path = join(dir ?? 'dist', name);
        const kept = name.startsWith('assets/') ? join(COMPRESSED, `${basename(name)}.br`) : undefined;
        if (kept && existsSync(kept)) return copyFile(kept, `${path}.br`);
        await writeFile(`${path}.br`, await brotli(await readFile(path)));
        if (kept) await copyFile(`${path}.br`, kept);
      }),
    );
  },
};

const brotli = (bytes: Buffer): Promise<Buffer> =>
  promisify(brotliCompress)(bytes, {
    // The largest window that a browser must know.
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 24 },
  });

const wasmBytes = (name: string) =>
  statSync(`src/wasm/${name}/tributary_web_${name}_bg.wasm`, { throwIfNoEntry: false })?.size ?? 0;

export default defineConfig({
  plugins: [strings, policy, precompressed],
  define: {
    __WASM_BYTES__: JSON.stringify({ net: wasmBytes('net'), trainer: wasmBytes('trainer') }),
    __VERSION__: JSON.stringify(version),
  },
  worker: { format: 'es' },
  build: {
    target: 'es2022',
    // Nothing is put inline: the policy allows files of this site only.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
});
