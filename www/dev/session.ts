// A session that makes its snapshots up. `?fake=` names the moment to show: training (the default),
// loading, away, failed, folding, cpu, joined, histories. Nothing of this gets into the build.

import type { Contributor } from '../src/program.ts';
import { say } from '../src/strings.ts';
import { emptyView, type View } from '../src/view/view.ts';
import type {
  AnswerView,
  Ask,
  EarningsView,
  LossPoint,
  Packed,
  PeerRow,
  ReceiptRow,
  RoundRow,
  Snapshot,
} from '../src/wasm/net/tributary_web_net.js';

const moment = new URLSearchParams(location.search).get('fake') ?? 'training';
const ROUNDS = 41;
const ME = '12D3KooWQ8bQx5p1vZf3nK6aXw2sYc7RtUeLh9mJ4gBdN7Va1kTs';

class FakeSession implements Contributor {
  readonly view: View = emptyView();
  #timer = 0;
  #began = 0;
  #answer: AnswerView | undefined;

  constructor(
    _device: string,
    _uploadLimit: number | undefined,
    private readonly changed: () => void,
  ) {}

  async preload(): Promise<void> {}

  async start(): Promise<void> {
    this.view.starting = true;
    this.view.error = undefined;
    this.view.loading = { what: say.partTrainer, done: 5_412_000, total: 13_800_000 };
    this.changed();
    if (moment === 'loading') return;
    if (moment === 'error') {
      this.view.error = say.coordinatorSilent('HTTP 502');
      this.view.starting = false;
      this.view.loading = undefined;
      this.changed();
      return;
    }
    this.view.starting = false;
    this.view.loading = undefined;
    this.#began = performance.now();
    this.#emit();
    this.#timer = window.setInterval(() => this.#emit(), 1000);
  }

  finish(): void {
    if (this.view.snapshot) this.view.snapshot.phase = { kind: 'finishing' };
    clearInterval(this.#timer);
    this.changed();
  }

  stop(): void {
    clearInterval(this.#timer);
    if (this.view.snapshot) this.view.snapshot = { ...this.view.snapshot, phase: { kind: 'idle' } };
    this.view.starting = false;
    this.view.loading = undefined;
    this.changed();
  }

  pause(why: string): boolean {
    this.stop();
    this.view.note = why;
    return true;
  }

  reconnect(): void {}

  async restart(): Promise<void> {
    await this.start();
  }

  pace(): void {}

  crashed(): void {}

  limitUpload(): void {}

  generate({ id, tokens }: Ask): void {
    this.#answer = { id, state: 'ab'.repeat(32), text: '', tokens_per_s: 0, end: undefined };
    const told = 'the river ran on to the sea, and nobody had asked it to. '.repeat(20).slice(0, tokens);
    const timer = window.setInterval(() => {
      const answer = this.#answer;
      if (answer?.id !== id || answer.end !== undefined) return clearInterval(timer);
      const text = told.slice(0, answer.text.length + 6);
      this.#answer = { ...answer, text, tokens_per_s: 24.2, end: text === told ? 'full' : undefined };
      this.#emit();
    }, 250);
  }

  hush(): void {
    if (this.#answer) this.#answer = { ...this.#answer, end: 'stopped' };
  }

  pack(onPart: (part: Packed) => void): void {
    const bytes = new Uint8Array(1_000_000);
    for (let at = 0; at < 4_000_000; at += bytes.length) {
      onPart({ part: { name: 'tributary-model-abababab.zip', at, total: 4_000_000, bytes } });
    }
  }

  dispose(): void {
    this.stop();
    this.view.snapshot = undefined;
    this.changed();
  }

  #emit(): void {
    const since = performance.now() - this.#began;
    this.view.snapshot = { ...snapshot(since), answer: this.#answer };
    this.view.at = performance.now();
    this.changed();
  }
}

export { FakeSession as Session };

function earnings(): EarningsView {
  const receipts = Array.from({ length: 24 }, (_, i): ReceiptRow => {
    const work = 598_112 + 4096 * i;
    return { round: ROUNDS - 2 - i, amount: 480_000 + 731 * i, work, all: 4_812_331 };
  });
  const held = { provisional: 1_440_213, verified: 3_892_771, final: 12_905_880, forfeited: 0, receipts };
  if (moment === 'joined') return { ...held, receipts: [], proof: { kind: 'none' } };
  if (moment !== 'histories') return { ...held, proof: { kind: 'good', round: ROUNDS - 2, size: 1_204_113 } };
  const why =
    'The coordinator signed two different ledgers for round 37: one for you and one for 12D3KooWAfkFN3bzbEyqhv1uXxvRXoPyM9nQ4rPqTtC6wZr8Lp2d.';
  return { ...held, forfeited: 480_000, proof: { kind: 'bad', why } };
}

function snapshot(since: number): Omit<Snapshot, 'answer'> {
  const cpu = moment === 'cpu';
  return {
    me: ME,
    phase:
      moment === 'failed'
        ? {
            kind: 'failed',
            why: 'This coordinator speaks protocol version 2 and you speak 1: reload the page to get the newer one.',
          }
        : { kind: 'training' },
    link:
      moment === 'away'
        ? { kind: 'away', retry_in_ms: 4000, why: 'The connection to the coordinator was closed.' }
        : { kind: 'online' },
    run: { name: 'Gutenberg tiny', id: 'ab'.repeat(32), params: 1_049_216, round_seconds: 30, pool: 1000 },
    device: {
      backend: cpu ? 'cpu' : 'webgpu',
      name: cpu ? 'one thread, SIMD' : 'NVIDIA GeForce RTX 4070',
      note: cpu
        ? 'The only graphics adapter here is a software one, which is slower than the processor.'
        : undefined,
    },
    round: {
      round: ROUNDS,
      left_ms: moment === 'folding' ? undefined : Math.max(0, 23_400 - since),
      tokens: 148_480 + Math.round(since * 21),
    },
    tokens: 12_582_912 + Math.round(since * 21),
    tokens_per_s: 21_340.5,
    loss: 1.412,
    credits: 18_238_864,
    earnings: earnings(),
    witness: { segments: 3, tokens: 12_288, now: undefined },
    losses: Array.from({ length: ROUNDS }, (_, i): LossPoint => {
      const curve = 1.9 + 4.2 * Math.exp(-i / 9);
      return { round: i, heldout: curve, own: i === 3 ? undefined : curve - 0.12 + 0.09 * Math.sin(i * 2.3) };
    }),
    rounds: Array.from({ length: 24 }, (_, i): RoundRow => {
      const round = ROUNDS - 1 - i;
      const state = `${(round * 2654435761).toString(16).padStart(8, '0')}${'0'.repeat(56)}`;
      if (i === 0) return { round, tokens: 612_352, verdict: { kind: 'accepted' }, state: undefined };
      if (i === 4) {
        const why = 'the update came after the round’s deadline and grace';
        return { round, tokens: 98_304, verdict: { kind: 'refused', why }, state };
      }
      if (i === 7) return { round, tokens: 0, verdict: { kind: 'watched' }, state };
      return { round, tokens: 600_000 + 4096 * i, verdict: { kind: 'credited', credits: 480 + i }, state };
    }),
    peers: peers(since),
    peers_total: 7,
    links: { up: 2, wanted: 3, why: 'no way was found between the two networks' },
    up_per_s: 412_000,
    down_per_s: 1_730_000,
    bytes_round_up: 5_240_000,
    bytes_round_down: 21_600_000,
    bulk_direct: 310_000_000,
    bulk_coordinator: 42_000_000,
    notice: moment === 'away' ? 'Training goes on from the weights of round 41.' : undefined,
  };
}

function peers(since: number): PeerRow[] {
  const row = (
    id: string,
    kind: PeerRow['kind'],
    device: string,
    tokens_per_s: number,
    path: PeerRow['path'],
  ): PeerRow => ({
    id,
    kind,
    me: id === ME,
    tokens: Math.round(tokens_per_s * (7 + since / 1000)),
    tokens_per_s,
    device,
    path,
    up_per_s: path === 'direct' ? 206_000 : 0,
    down_per_s: path === 'direct' ? tokens_per_s * 20 : 0,
  });
  return [
    row(ME, 'tab', 'NVIDIA GeForce RTX 4070', 21_340.5, 'none'),
    row(
      '12D3KooWAfkFN3bzbEyqhv1uXxvRXoPyM9nQ4rPqTtC6wZr8Lp2d',
      'native',
      'AMD Radeon RX 7900 XTX',
      88_213,
      'direct',
    ),
    row('12D3KooWHs72kdLqPzXvB5nMw4Rt6Yu8Io9PaSd3FgHj1KlZxCvB', 'tab', 'Apple M3', 14_002, 'direct'),
    row(
      '12D3KooWMnbVcXzLkJhGfDsApOiUyTrEwQ1234567890abcdefgh',
      'tab',
      'Processor, one thread',
      1_204,
      'coordinator',
    ),
  ];
}
