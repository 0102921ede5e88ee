// The page of the WebRTC tests: makes a peer of the kind that the harness names and runs its commands.

import { jsPeer } from './js-peer.js';
import { rawPeer } from './raw.js';

/** How often the page looks whether its thread is free. */
const BEAT = 5;

let peer;

async function rustPeer() {
  const { default: load, Peer } = await import('/wasm/tributary_tests_webrtc.js');
  await load();
  const rust = new Peer();
  return { run: async (command) => JSON.parse(await rust.run(JSON.stringify(command))) };
}

window.make = async (kind) => {
  peer = await { js: jsPeer, rust: rustPeer, raw: rawPeer }[kind]();
};

window.run = (command) => peer.run(command);

/** The longest task on this thread since `watch`, in milliseconds, and the longest time it was not free. */
let [task, gap, last] = [0, 0, 0];

new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) task = Math.max(task, duration);
}).observe({ type: 'longtask' });

setInterval(() => {
  const now = performance.now();
  gap = Math.max(gap, now - last - BEAT);
  last = now;
}, BEAT);

window.watch = () => {
  [task, gap, last] = [0, 0, performance.now()];
};

window.watched = () => ({ task, gap });
