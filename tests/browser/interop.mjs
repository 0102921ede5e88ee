// Our WebRTC transport against js-libp2p and against itself, in tabs and natively: the arguments are the
// native peer's program and the folder of the wasm module. Prints a line a check and at the end
// `N passed, N failed`.

import { blake3 } from '@noble/hashes/blake3.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import { until } from './launch.mjs';
import { blob } from './webrtc/common.js';
import { World } from './webrtc/world.mjs';

const [program, wasm] = process.argv.slice(2);
/** Which pairs, as `js-native,wasm-wasm`, for those who look for a mistake in one. */
const only = process.env.PAIRS?.split(',');
const LARGE = 50 * 1024 * 1024;
const SMALL = 10 * 1024 * 1024;
/** Chromium has 512 for each side. */
const IDS = 600;
/** What a relay carries at most while a blob moves elsewhere: pings, and identify now and then. */
const SIGNS_OF_LIFE = 64 * 1024;
/** Chromium then refuses a local description that was altered, as all browsers may one day. */
const NO_ALTERED_UFRAG = '--force-fieldtrials=WebRTC-NoSdpMangleUfrag/Enabled/';

/** Who dials whom over a relay. */
const PAIRS = [
  ['js', 'js'],
  ['js', 'wasm'],
  ['wasm', 'js'],
  ['js', 'native'],
  ['native', 'js'],
  ['wasm', 'wasm'],
  ['wasm', 'native'],
  ['native', 'wasm'],
  ['native', 'native'],
];

let passed = 0;
let failed = 0;

function expect(condition, message) {
  if (!condition) throw new Error(message);
}

/** One check; what the peers said is shown where it fails. */
async function check(name, peers, body) {
  try {
    await body();
    passed += 1;
    console.log(`ok     ${name}`);
    return true;
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name}: ${String(error.message).split('\n')[0]}`);
    for (const peer of peers()) {
      for (const line of (peer.said ?? []).slice(-10)) console.log(`       the ${peer.kind} peer said: ${line}`);
    }
    return false;
  }
}

const hashes = new Map();

/** The hash of the blob of so many bytes, by code that no peer shares. */
function hash(bytes) {
  if (!hashes.has(bytes)) hashes.set(bytes, bytesToHex(blake3(blob(bytes))));
  return hashes.get(bytes);
}

/** One peer fetches from the other, and has what it should. */
async function fetch(to, from, bytes) {
  await Promise.all([to, from].map((peer) => peer.run({ verb: 'prepare', bytes })));
  await to.run({ verb: 'fetch', peer: from.id });
  const fetched = await to.run({ verb: 'hash' });
  expect(fetched === hash(bytes), `it holds ${fetched}, not ${hash(bytes)}`);
}

/** What a stream must do, opened by `a`, with `b` at its other end. */
async function streams(check, a, b) {
  const way = `${a.kind} -> ${b.kind}`;
  const heard = (what) =>
    until(`${b.kind} hearing ${what}`, 15, async () => (await b.run({ verb: 'heard' })).includes(what));
  await check(`${way}: an echo that comes after its client has closed`, () =>
    a.run({ verb: 'echo', peer: b.id, text: 'a fine day' }),
  );
  await check(`${way}: a word that comes after its server has closed`, async () => {
    await a.run({ verb: 'last_word', peer: b.id, text: 'and from me' });
    await heard('and from me');
  });
  await check(`${way}: a reset by the client`, async () => {
    await a.run({ verb: 'last_word', peer: b.id });
    await heard('reset');
  });
  await check(`${way}: a reset by the server`, () => a.run({ verb: 'be_reset', peer: b.id }));
  await check(`${way}: 200 short streams`, () => a.run({ verb: 'short', peer: b.id, count: 200 }));
  await check(`${way}: 50 MB fetched`, () => fetch(a, b, LARGE));
}

/** Everything about a connection that `dialler` makes to `listener` over a relay. */
async function privately(world, dialler, listener, mode) {
  let pair = { a: { kind: dialler }, b: { kind: listener } };
  const checked = (name, body) => check(`${mode}${name}`, () => [pair.a, pair.b], body);
  const connected = await checked(`${dialler} dials ${listener} over a relay`, async () => {
    // As the swarm does, one that came to nothing is dialled once more, by fresh peers; and it is said.
    pair = await world.pair(dialler, listener).catch((why) => {
      console.log(`       ${mode}${dialler} dials ${listener} again, since at first: ${why.message ?? why}`);
      return world.pair(dialler, listener);
    });
    const paths = await pair.a.run({ verb: 'paths', peer: pair.b.id });
    expect(paths.join() === 'direct', `its connections are ${paths}`);
  });
  if (connected) {
    const { a, b, relay } = pair;
    await streams(checked, a, b);
    await streams(checked, b, a);
    await checked(`${dialler} - ${listener}: 10 MB without the relay`, async () => {
      const before = relay.bytes;
      await fetch(a, b, SMALL);
      expect(relay.bytes - before < SIGNS_OF_LIFE, `the relay carried ${relay.bytes - before} bytes`);
    });
    await checked(`${dialler} - ${listener}: 10 MB once the relay is gone`, async () => {
      relay.stop();
      await fetch(b, a, SMALL);
    });
  }
  await world.clear();
}

/** The same for a connection to a native peer's own UDP port. */
async function directly(world, dialler, mode) {
  let peers = [];
  const checked = (name, body) => check(`${mode}${name}`, () => peers, body);
  const connected = await checked(`${dialler} dials native at /webrtc-direct`, async () => {
    const [a, b] = (peers = [await world.peer(dialler), await world.peer('native')]);
    const addr = await b.run({ verb: 'listen_directly' });
    [a.id, b.id] = [await a.run({ verb: 'id' }), await b.run({ verb: 'id' })];
    const found = await a.run({ verb: 'dial', to: addr });
    expect(found === b.id, `it found ${found}, not ${b.id}`);
  });
  if (connected) {
    const [a, b] = peers;
    await streams(checked, a, b);
    await streams(checked, b, a);
    if (dialler === 'wasm') {
      for (const [from, to] of [[a, b], [b, a]]) {
        await checked(`${from.kind} -> ${to.kind}: more streams than a browser has ids`, () =>
          from.run({ verb: 'short', peer: to.id, count: IDS }),
        );
      }
    }
  }
  await world.clear();
}

for (const [mode, flags] of [['', []], ['unaltered: ', [NO_ALTERED_UFRAG]]]) {
  const world = await World.open({ program, wasm }, flags);
  for (const [dialler, listener] of PAIRS) {
    // No browser, so no second mode.
    if (mode && dialler === 'native' && listener === 'native') continue;
    if (!only || only.includes(`${dialler}-${listener}`)) await privately(world, dialler, listener, mode);
  }
  for (const dialler of ['wasm', 'native', 'js']) {
    // js-libp2p dials version 1 of /webrtc-direct, which alters its ufrag.
    if (mode && dialler !== 'wasm') continue;
    if (!only || only.includes(`${dialler}-direct`)) await directly(world, dialler, mode);
  }
  await world.close();
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
