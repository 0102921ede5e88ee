// One visit: what is loaded when, and what the views draw. Holds no protocol logic: the wasm peer
// says everything else by its snapshots.

import { identity, look } from './identity.ts';
import { loadNet } from './net.ts';
import { sleep } from './sleep.ts';
import { say } from './strings.ts';
import { startTrainer } from './trainer.ts';
import { bulk, emptyView, isActive, show, type View } from './view/view.ts';
import type { Ask, DeviceChoice, Packed, Peer, RunFile } from './wasm/net/tributary_web_net.js';
import type { Loading } from './wasm.ts';

/** Shown to the others beside this contributor's name. */
const AGENT = `tributary-tab/${__VERSION__}`;

/** Something that can be done right, in words. */
class Trouble extends Error {}

export class Session {
  readonly view: View = emptyView();
  #peer: Peer | undefined;
  #worker: Worker | undefined;
  #abort = new AbortController();
  #percent = 100;
  #broken = false;

  /** `uploadLimit`: bytes a second for others; nothing: no limit. */
  constructor(
    private readonly device: DeviceChoice,
    private uploadLimit: number | undefined,
    private readonly changed: () => void,
  ) {}

  /** Asks whom to join and, for somebody who agreed before, fetches the small part before it is wanted. Trouble
   * is told at Start, which tries again. */
  async preload(agreed: boolean): Promise<void> {
    this.view.durable = (await look()).durable;
    await Promise.allSettled([this.#loadRun(), agreed && loadNet(this.#showLoading)]);
    this.changed();
  }

  /** Loads what is missing, joins and trains. */
  async start(): Promise<void> {
    const { view } = this;
    if (view.starting || isActive(view.snapshot)) return;
    // A module that broke off can't be begun again on this page.
    if (this.#broken) return location.reload();
    view.error = undefined;
    view.note = undefined;
    view.bulkBefore = bulk(view.snapshot);
    if (this.#peer && view.snapshot?.phase.kind === 'idle') {
      this.#peer.start();
      return;
    }
    this.dispose();
    view.bulkBefore = 0;
    const abort = new AbortController();
    this.#abort = abort;
    view.starting = true;
    this.changed();
    try {
      await Promise.race([this.#join(abort.signal), aborted(abort.signal)]);
    } catch (error) {
      if (!abort.signal.aborted) view.error = words(error);
    }
    view.starting = false;
    view.loading = undefined;
    this.changed();
  }

  /** Sends this round's update, then stops. */
  finish(): void {
    if (this.#peer) this.#peer.finish();
    else this.#abort.abort();
  }

  /** Stops now. */
  stop(): void {
    this.#abort.abort();
    this.#peer?.stop();
  }

  /** Stops for a reason that passes; says whether there was something to stop. */
  pause(why: string): boolean {
    if (!this.view.starting && !isActive(this.view.snapshot)) return false;
    this.stop();
    this.view.note = why;
    this.changed();
    return true;
  }

  /** Looks for the coordinator at once instead of after the wait. */
  reconnect(): void {
    if (isActive(this.view.snapshot)) this.#peer?.start();
    else void this.start();
  }

  /** Begins anew, device and all. */
  async restart(): Promise<void> {
    this.dispose();
    await this.start();
  }

  /** Takes the network part's end in: it can't say so itself, and would look as if it waited for ever. */
  crashed(why: string): void {
    if (!this.#peer) return;
    // What is left of it must not be called any more.
    this.#peer = undefined;
    this.#broken = true;
    this.dispose();
    this.view.error = say.crashed(why);
    this.changed();
  }

  /** From now on it works so many per cent of the time. */
  pace(percent: number): void {
    this.#percent = percent;
    this.#peer?.pace(percent);
  }

  /** From now on others may take so many bytes a second; nothing: no limit. */
  limitUpload(bytesPerSecond: number | undefined): void {
    this.uploadLimit = bytesPerSecond;
    this.#peer?.uploadLimit(bytesPerSecond);
  }

  /** Has the model write on from a text; the snapshots have what it writes. */
  generate(ask: Ask): void {
    this.#peer?.generate(ask);
  }

  /** Has it write no more. */
  hush(): void {
    this.#peer?.hush();
  }

  /** Packs the model as one archive, whose parts come in order. */
  pack(onPart: (part: Packed) => void): void {
    this.#peer?.pack(onPart);
  }

  /** Stops now and lets go of worker, device and connections. */
  dispose(): void {
    this.#abort.abort();
    this.#peer?.free();
    this.#worker?.terminate();
    this.#peer = undefined;
    this.#worker = undefined;
    this.view.snapshot = undefined;
    this.view.away = undefined;
    this.changed();
  }

  async #join(signal: AbortSignal): Promise<void> {
    const net = loadNet(this.#showLoading);
    const [{ Peer }, run, me] = await Promise.all([net, this.#loadRun(signal), identity()]);
    this.view.durable = me.durable;
    signal.throwIfAborted();
    const worker = await startTrainer(signal, this.#showLoading).catch((error: unknown) => {
      throw signal.aborted || error instanceof WebAssembly.CompileError
        ? error
        : new Trouble(say.trainerFailed(reason(error)));
    });
    if (signal.aborted) return worker.terminate();
    this.#worker = worker;
    const peer = new Peer(
      { run, secret: me.secret, device: this.device, agent: AGENT, upload_limit: this.uploadLimit },
      worker,
      sleep,
      (snapshot) => {
        // A peer that was let go of has a last word, which is not this page's state any more.
        if (this.#peer !== peer) return;
        show(this.view, snapshot);
        this.changed();
      },
    );
    this.#peer = peer;
    peer.pace(this.#percent);
    peer.start();
  }

  /** Progress is only shown to someone who waits for it. */
  #showLoading = (loading: Loading | undefined): void => {
    if (!this.view.starting) return;
    this.view.loading = loading;
    this.changed();
  };

  /** Asked anew at every start: the coordinator may have moved to another run. */
  async #loadRun(signal?: AbortSignal): Promise<RunFile> {
    try {
      const response = await fetch('/run.json', { cache: 'no-store', ...(signal && { signal }) });
      if (!response.ok) throw new Error(`HTTP ${response.status}`);
      const theirs = Date.parse(response.headers.get('date') ?? '');
      if (Number.isFinite(theirs)) this.view.skewMs = Date.now() - theirs;
      // Checked by the wasm peer, which knows the type.
      this.view.run = (await response.json()) as RunFile;
      return this.view.run;
    } catch (error) {
      throw new Trouble(say.coordinatorSilent(reason(error)));
    }
  }
}

/** Rejects when the person stops, so that nothing that is still loading holds the page up. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
}

function words(error: unknown): string {
  if (error instanceof WebAssembly.CompileError) return say.noWasm;
  if (error instanceof RangeError) return say.noMemory;
  return reason(error);
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
