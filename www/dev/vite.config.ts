// `npm run dev`: the page with made-up snapshots, for work on its looks. No wasm is needed.

import { fileURLToPath } from 'node:url';
import { mergeConfig, type Plugin } from 'vite';
import base from '../vite.config.ts';

const session = fileURLToPath(new URL('session.ts', import.meta.url));

/** Gives the page's script this folder's session. */
const madeUp: Plugin = {
  name: 'made-up-session',
  enforce: 'pre',
  resolveId: (source, importer) =>
    source === './session.ts' && importer?.endsWith('src/main.ts') ? session : null,
};

export default mergeConfig(base, { root: fileURLToPath(new URL('..', import.meta.url)), plugins: [madeUp] });
