// What this machine is good for, before it trains: measured once, remembered, and turned into a range of earnings.

import type { Measured } from './measure.ts';
import { hasNumbers, keep, recall } from './stored.ts';
import type { DeviceChoice, RunFile } from './wasm/net/tributary_web_net.js';

/** What is known of this machine. */
export interface Machine {
  /** The card's name, empty if the browser keeps it; undefined: the processor computes. */
  gpu: string | undefined;
  kind: 'fast' | 'slow' | 'cpu';
  /** Tokens a second for each million of parameters, the least and the most that is likely. */
  least: number;
  most: number;
}

/** Milliseconds after which a measurement is given up: longer than any machine takes that could train. */
const LIMIT_MS = 8000;
/** From how many GFLOP/s on a card counts as fast: what integrated graphics of 2020 does not reach this way. */
const FAST = 500;
/** GFLOP that training takes for a token and a million parameters: six forward and backward, and the attention. */
const GFLOP_A_TOKEN = 0.008;
/** Shares of the measured rate that training reaches: small models leave a card waiting, and its own kernels are
 * better than the probe's. The trainer's processor code uses SIMD, the probe's does not. */
const SHARE = { gpu: [0.05, 0.6], cpu: [0.8, 5] } as const;
/** Rounds of the past that say how much others do. */
const ROUNDS = 8;

/** What was measured earlier. */
export function remembered(device: DeviceChoice): Machine | undefined {
  if (device !== 'auto') return undefined;
  const kept = recall('machine') as Machine | undefined;
  return hasNumbers(kept, ['least', 'most']) && ['fast', 'slow', 'cpu'].includes(kept.kind)
    ? kept
    : undefined;
}

/** Measures the device that is to train; nothing if it was given up or the browser cannot. */
export async function measure(device: DeviceChoice, signal: AbortSignal): Promise<Machine | undefined> {
  const worker = new Worker(new URL('./measure.ts', import.meta.url), { type: 'module', name: 'probe' });
  try {
    worker.postMessage(device);
    const machine = judge(await answer(worker, AbortSignal.any([signal, AbortSignal.timeout(LIMIT_MS)])));
    // Another choice is for those who try things out.
    if (device === 'auto') keep('machine', machine);
    return machine;
  } catch {
    return undefined;
  } finally {
    worker.terminate();
  }
}

function answer(worker: Worker, signal: AbortSignal): Promise<Measured> {
  return new Promise((resolve, reject) => {
    worker.onmessage = (event: MessageEvent<Measured>) => resolve(event.data);
    worker.onerror = () => reject(new Error('the probe failed'));
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

function judge({ gpu, cpu }: Measured): Machine {
  const isGpu = 'rate' in gpu;
  const rate = isGpu ? gpu.rate : cpu;
  const [least, most] = isGpu ? SHARE.gpu : SHARE.cpu;
  return {
    gpu: isGpu ? gpu.name : undefined,
    kind: isGpu ? (rate >= FAST ? 'fast' : 'slow') : 'cpu',
    least: (least * rate) / GFLOP_A_TOKEN,
    most: (most * rate) / GFLOP_A_TOKEN,
  };
}

/** Credits an hour, the least and the most that is likely, if everybody goes on as in the last rounds; nothing if
 * the run does not say what it pays. */
export async function earnings(machine: Machine, run: RunFile): Promise<[number, number] | undefined> {
  const { params, pool, round_seconds: seconds } = run;
  if (params === undefined || pool === undefined || seconds === undefined) return undefined;
  const others = await tokensOfOthers();
  if (others === undefined) return undefined;
  const hourly = (tokensPerSecond: number) => {
    const own = (tokensPerSecond / (params / 1e6)) * seconds;
    return ((own / (own + others)) * pool * 3600) / seconds;
  };
  return [hourly(machine.least), hourly(machine.most)];
}

/** Tokens a round that others were paid for, of late; this machine may have been one of them, so it is on the
 * safe side. */
async function tokensOfOthers(): Promise<number | undefined> {
  try {
    const response = await fetch(`/api/rounds?last=${ROUNDS}`);
    const { rounds } = (await response.json()) as { rounds: { accepted: { tokens: number }[] }[] };
    const all = rounds.flatMap((round) => round.accepted).reduce((sum, one) => sum + one.tokens, 0);
    return all / Math.max(1, rounds.length);
  } catch {
    return undefined;
  }
}
