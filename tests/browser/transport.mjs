// How fast a blob moves over our WebRTC transport, over a bare data channel pair in the same browser, and over
// js-libp2p: the arguments are the native peer's program and the folder of the wasm module. Prints a line of
// JSON a route.
//
// Every route carries the same bytes with the same credit window into memory that was there before. The
// clock runs from asking to the last byte; hashes are taken after it has stopped.

import { blake3 } from '@noble/hashes/blake3.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import { line, sleep } from './launch.mjs';
import { blob } from './webrtc/common.js';
import { watchMemory } from './webrtc/memory.mjs';
import { World } from './webrtc/world.mjs';

const [program, wasm] = process.argv.slice(2);
const BYTES = 50 * 1024 * 1024;
/** Timed rounds, after one that is not. All routes take turns, so that a busy minute hits all alike. */
const ROUNDS = Number(process.env.ROUNDS ?? 3);
/** The browser says with a delay how long a task took. */
const LATE = 200;

const world = await World.open({ program, wasm });
const hash = bytesToHex(blake3(blob(BYTES)));

/** A bare pair, with messages of so many bytes. */
async function bare(message) {
  const [a, b] = [await world.peer('raw'), await world.peer('raw')];
  const offer = await a.run({ verb: 'offer' });
  const answer = await b.run({ verb: 'answer', offer });
  await Promise.all([a.run({ verb: 'accept', answer }), b.run({ verb: 'connected' })]);
  return { from: a, to: b, before: () => a.run({ verb: 'serve', message }) };
}

/** A pair of libp2p peers; the first dials. */
async function pair(dialler, listener) {
  const { a, b } = await world.pair(dialler, listener);
  return { from: a, to: b };
}

/** The peers of each route, in the order that they take turns in. */
const ROUTES = {
  raw_16k: () => bare(16 * 1024),
  raw_64k: () => bare(64 * 1024),
  js_libp2p: () => pair('js', 'js'),
  tab_to_tab: () => pair('wasm', 'wasm'),
  tab_to_native: () => pair('wasm', 'native'),
  native_to_tab: () => pair('native', 'wasm'),
  native_to_native: () => pair('native', 'native'),
};

const wanted = process.env.ROUTES?.split(',') ?? Object.keys(ROUTES);
const routes = [];
for (const name of wanted) {
  const route = { name, mib_per_s: [], extra_memory_mib: null, longest_task_ms: 0, longest_gap_ms: 0, ...(await ROUTES[name]()) };
  await Promise.all([route.from, route.to].map((peer) => peer.run({ verb: 'prepare', bytes: BYTES })));
  routes.push(route);
}

/** Moves the blob once. */
async function move(route, timed) {
  const { from, to } = route;
  const tabs = [from, to].filter((peer) => peer.page);
  await route.before?.();
  const stop = await watchMemory(world.browser, [from, to]);
  await Promise.all(tabs.map((tab) => tab.page.evaluate(() => window.watch())));
  const { ms } = await to.run({ verb: 'fetch', peer: from.id });
  await sleep(LATE);
  for (const tab of tabs) {
    const { task, gap } = await tab.page.evaluate(() => window.watched());
    route.longest_task_ms = Math.max(route.longest_task_ms, task);
    route.longest_gap_ms = Math.max(route.longest_gap_ms, gap);
  }
  const extra = await stop();
  if (extra !== null) route.extra_memory_mib = Math.max(route.extra_memory_mib ?? 0, extra);
  const rate = BYTES / 1024 / 1024 / (ms / 1000);
  if (timed) route.mib_per_s.push(rate);
  console.log(`   ${route.name}: ${rate.toFixed(1)} MiB/s${timed ? '' : ', to warm up'}`);
  const fetched = await to.run({ verb: 'hash' });
  if (fetched !== hash) throw new Error(`${route.name}: the receiver holds ${fetched}, not ${hash}`);
}

for (let round = 0; round <= ROUNDS; round += 1) {
  for (const route of routes) await move(route, round > 0);
}
for (const { from, to, before, name, ...figures } of routes) line({ route: name, ...figures });
await world.close();
