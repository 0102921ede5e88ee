// A bare data channel pair with nothing around it but a credit window: what the browser can do at best.

import { blake3 } from '@noble/hashes/blake3.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import { GRANT, WINDOW, blob } from './common.js';

/** Bytes that a channel holds for the network before its writer waits, as our own backends have it. */
const SEND_BUFFER = 1024 * 1024;

/** One end; the harness carries the descriptions between two of them. */
export function rawPeer() {
  const connection = new RTCPeerConnection();
  // Negotiated, so that neither side has to wait for the other's.
  const channel = connection.createDataChannel('raw', { negotiated: true, id: 0 });
  channel.binaryType = 'arraybuffer';
  let served;
  let room;

  const opened = new Promise((resolve) => {
    channel.onopen = resolve;
  });

  const gathered = () =>
    new Promise((resolve) => {
      const look = () => connection.iceGatheringState === 'complete' && resolve(connection.localDescription.toJSON());
      connection.addEventListener('icegatheringstatechange', look);
      look();
    });

  /** Sends the blob as credit comes. */
  function serve(message) {
    let [at, credit] = [0, 0];
    channel.bufferedAmountLowThreshold = SEND_BUFFER / 2;
    const pump = () => {
      while (at < served.length && credit > 0 && channel.bufferedAmount < SEND_BUFFER) {
        const end = Math.min(at + message, at + credit, served.length);
        channel.send(served.subarray(at, end));
        credit -= end - at;
        at = end;
      }
    };
    channel.onbufferedamountlow = pump;
    channel.onmessage = ({ data }) => {
      credit += new DataView(data).getUint32(0, true);
      pump();
    };
  }

  async function fetch() {
    const started = performance.now();
    const grant = (bytes) => channel.send(new Uint32Array([bytes]));
    let [at, owed] = [0, 0];
    const ms = await new Promise((resolve, reject) => {
      channel.onclose = () => reject(new Error(`it ended after ${at} bytes`));
      channel.onmessage = ({ data }) => {
        room.set(new Uint8Array(data), at);
        at += data.byteLength;
        owed += data.byteLength;
        if (owed >= GRANT) {
          grant(owed);
          owed = 0;
        }
        if (at === room.length) resolve(performance.now() - started);
      };
      grant(WINDOW);
    });
    return { bytes: at, ms };
  }

  const verbs = {
    async offer() {
      await connection.setLocalDescription();
      return gathered();
    },
    async answer({ offer }) {
      await connection.setRemoteDescription(offer);
      await connection.setLocalDescription();
      return gathered();
    },
    async accept({ answer }) {
      await connection.setRemoteDescription(answer);
      await opened;
    },
    connected: () => opened.then(() => {}),
    prepare({ bytes }) {
      served = blob(bytes);
      room = new Uint8Array(bytes).fill(1);
    },
    serve: ({ message }) => serve(message),
    fetch: () => fetch(),
    hash: () => bytesToHex(blake3(room)),
  };
  return { run: async ({ verb, ...rest }) => verbs[verb](rest) };
}
