// `npm run dev`: the page with made-up snapshots, for work on its looks. No wasm is needed.

import { fileURLToPath } from 'node:url';
import { mergeConfig, type Plugin } from 'vite';
import base from '../vite.config.ts';

/** Gives the page's scripts this folder's session and wasm module. */
const madeUp: Plugin = {
  name: 'made-up-session',
  enforce: 'pre',
  resolveId: (source, importer) =>
    /^\.\/(session|net)\.ts$/.test(source) && importer?.includes('/src/')
      ? fileURLToPath(new URL(source, import.meta.url))
      : null,
};

export default mergeConfig(base, { root: fileURLToPath(new URL('..', import.meta.url)), plugins: [madeUp] });
