// A js-libp2p peer that answers the test protocols of tests/webrtc/src/protocols.rs and takes the same
// commands as the Rust peer: the independent implementation that ours is held against.

import { circuitRelayTransport } from '@libp2p/circuit-relay-v2';
import { identify } from '@libp2p/identify';
import { noise } from '@libp2p/noise';
import { ping } from '@libp2p/ping';
import { webRTC, webRTCDirect } from '@libp2p/webrtc';
import { webSockets } from '@libp2p/websockets';
import { yamux } from '@libp2p/yamux';
import { multiaddr } from '@multiformats/multiaddr';
import { blake3 } from '@noble/hashes/blake3.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import { createLibp2p } from 'libp2p';
import { GRANT, PIECE, WINDOW, blob, until } from './common.js';

const ECHO = '/tributary-test/echo/1';
const LAST_WORD = '/tributary-test/last-word/1';
const RESET = '/tributary-test/reset/1';
const BLOB = '/tributary-test/blob/1';
const GREETING = 'that is all from me';

const encode = (text) => new TextEncoder().encode(text);
const decode = (bytes) => new TextDecoder().decode(bytes);

/** What comes on a stream, piece by piece, whenever it came. */
class Reader {
  #pieces = [];
  #over = false;
  #error;
  #wake = () => {};

  constructor(stream) {
    const end = (error) => {
      this.#over = true;
      this.#error ??= error;
      this.#wake();
    };
    stream.addEventListener('end', () => end());
    stream.addEventListener('close', (event) => end(event.error));
    stream.addEventListener('message', ({ data }) => {
      this.#pieces.push(data.subarray());
      this.#wake();
    });
    if (stream.readableEnded) end();
  }

  /** The next piece, or undefined at the end; throws if the stream was reset. */
  async next() {
    while (this.#pieces.length === 0 && !this.#over) {
      await new Promise((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#pieces.length > 0) return this.#pieces.shift();
    if (this.#error) throw this.#error;
  }

  /** Everything to the end, as text. */
  async text() {
    let text = '';
    for (let piece = await this.next(); piece; piece = await this.next()) text += decode(piece);
    return text;
  }
}

/** Sends, and waits while the stream is full. */
async function send(stream, bytes) {
  if (!stream.send(bytes)) await stream.onDrain();
}

/** A peer; `run` takes a command as the Rust peer does. */
export async function jsPeer() {
  const heard = [];
  let served = new Uint8Array();
  let room = new Uint8Array();
  const node = await createLibp2p({
    // No STUN: all peers are on this machine, and tests ask nobody outside it.
    transports: [webSockets(), webRTC({ rtcConfiguration: { iceServers: [] } }), webRTCDirect(), circuitRelayTransport()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    // In a browser js-libp2p refuses addresses of this machine, which all of these are.
    connectionGater: { denyDialMultiaddr: () => false },
    // It drops peers whose answer to a ping takes long, as on a busy machine it does.
    connectionMonitor: { abortConnectionOnPingFailure: false },
    services: { identify: identify(), ping: ping() },
  });

  await node.handle(ECHO, async (stream) => {
    const reader = new Reader(stream);
    for (let piece = await reader.next(); piece; piece = await reader.next()) await send(stream, piece);
    await stream.close();
  });
  await node.handle(LAST_WORD, async (stream) => {
    const reader = new Reader(stream);
    await send(stream, encode(GREETING));
    stream.close().catch(() => {});
    heard.push(await reader.text().catch(() => 'reset'));
  });
  await node.handle(RESET, async (stream) => {
    await new Reader(stream).next();
    stream.abort(new Error('as asked'));
  });
  await node.handle(BLOB, serveBlob);

  async function serveBlob(stream) {
    let head = new Uint8Array();
    let [length, credit, at] = [undefined, 0, 0];
    let wake = () => {};
    stream.addEventListener('close', () => wake());
    stream.addEventListener('message', ({ data }) => {
      head = new Uint8Array([...head, ...data.subarray()]);
      if (length === undefined && head.length >= 8) {
        length = Number(new DataView(head.buffer).getBigUint64(0, true));
        head = head.slice(8);
      }
      for (; length !== undefined && head.length >= 4; head = head.slice(4)) {
        credit += new DataView(head.buffer).getUint32(0, true);
      }
      wake();
    });
    while (length === undefined || at < length) {
      const end = Math.min(at + Math.min(credit, PIECE), length ?? 0);
      if (end > at) {
        credit -= end - at;
        const piece = served.subarray(at, end);
        at = end;
        await send(stream, piece);
      } else {
        if (stream.status !== 'open') return;
        await new Promise((resolve) => {
          wake = resolve;
        });
      }
    }
    await stream.close();
  }

  async function fetch(stream) {
    const started = performance.now();
    const grant = (bytes) => stream.send(new Uint8Array(new Uint32Array([bytes]).buffer));
    let [at, owed] = [0, 0];
    const done = new Promise((resolve, reject) => {
      stream.addEventListener('close', (event) => reject(new Error(`it ended after ${at} bytes: ${event.error}`)));
      stream.addEventListener('message', ({ data }) => {
        for (const part of data instanceof Uint8Array ? [data] : data) {
          room.set(part, at);
          at += part.byteLength;
        }
        owed += data.byteLength;
        if (owed >= GRANT) {
          if (stream.writeStatus === 'writable') grant(owed);
          owed = 0;
        }
        if (at === room.length) resolve(performance.now() - started);
      });
    });
    stream.send(new Uint8Array(new BigUint64Array([BigInt(room.length)]).buffer));
    grant(WINDOW);
    const ms = await done;
    stream.close().catch(() => {});
    return { bytes: at, ms };
  }

  /** Connections to a peer over which streams may be opened. */
  const direct = (peer) =>
    node.getConnections().filter((one) => one.remotePeer.toString() === peer && one.status === 'open' && !one.limits);
  const open = (peer, protocol) => {
    const [connection] = direct(peer);
    if (!connection) throw new Error(`there is no direct connection to ${peer}`);
    return connection.newStream(protocol);
  };

  async function echo(peer, text) {
    const stream = await open(peer, ECHO);
    const reader = new Reader(stream);
    await send(stream, encode(text));
    stream.close().catch(() => {});
    const back = await reader.text();
    if (back !== text) throw new Error(`the echo of ${text} is ${back}`);
  }

  async function lastWord(peer, text) {
    const stream = await open(peer, LAST_WORD);
    const greeting = await new Reader(stream).text();
    if (greeting !== GREETING) throw new Error(`it said ${greeting}`);
    if (text === null) {
      await send(stream, encode('you will not hear the end of th'));
      stream.abort(new Error('as meant'));
    } else {
      await send(stream, encode(text));
      await stream.close();
    }
  }

  const verbs = {
    id: () => node.peerId.toString(),
    async listen({ relay }) {
      const listening = multiaddr(`${relay}/p2p-circuit`);
      await node.components.transportManager.listen([listening, multiaddr('/webrtc')]);
      const me = node.peerId.toString();
      await until('a reservation', () => node.getMultiaddrs().some((one) => one.toString().includes('/p2p-circuit')));
      return `${relay}/p2p-circuit/webrtc/p2p/${me}`;
    },
    async dial({ to }) {
      return (await node.dial(multiaddr(to), { signal: AbortSignal.timeout(30_000) })).remotePeer.toString();
    },
    paths: ({ peer }) => {
      const all = node.getConnections().filter((one) => one.remotePeer.toString() === peer);
      return all.map((one) => (one.limits ? 'relayed' : 'direct'));
    },
    async shed({ peer }) {
      const relayed = node.getConnections().filter((one) => one.remotePeer.toString() === peer && one.limits);
      await Promise.all(relayed.map((one) => one.close()));
    },
    echo: ({ peer, text }) => echo(peer, text),
    last_word: ({ peer, text }) => lastWord(peer, text ?? null),
    async be_reset({ peer }) {
      const stream = await open(peer, RESET);
      const reader = new Reader(stream);
      await send(stream, new Uint8Array([1]));
      const ended = await reader.next().then(() => true, () => false);
      if (ended) throw new Error('the stream ended as if all were well');
    },
    async short({ peer, count }) {
      for (let i = 0; i < count; i += 1) await echo(peer, `stream ${i}`);
    },
    heard: () => heard.splice(0),
    prepare({ bytes }) {
      served = blob(bytes);
      room = new Uint8Array(bytes).fill(1);
    },
    fetch: async ({ peer }) => fetch(await open(peer, BLOB)),
    hash: () => bytesToHex(blake3(room)),
  };
  return { run: async ({ verb, ...rest }) => verbs[verb](rest) };
}
