// The page of a program that contributes on this machine: what it shows and does comes and goes over loopback.
// Holds no protocol logic; a `Session` of a tab has the same face.

import type { Session } from './session.ts';
import { say } from './strings.ts';
import { emptyView, isActive, show, type View } from './view/view.ts';
import type { Ask, Packed, Snapshot } from './wasm/net/tributary_web_net.js';

/** What the page does with whoever trains. */
export type Contributor = Pick<
  Session,
  | 'view'
  | 'preload'
  | 'start'
  | 'finish'
  | 'stop'
  | 'pause'
  | 'reconnect'
  | 'restart'
  | 'pace'
  | 'crashed'
  | 'dispose'
  | 'limitUpload'
  | 'generate'
  | 'hush'
  | 'pack'
>;

/** Whether a program serves this page; it says so in the page's first element. */
export const isProgram = document.documentElement.dataset.program !== undefined;

/** Milliseconds between two looks for a program that has ended. */
const RETRY_MS = 2000;
const TOKEN = 'x-tributary-token';

/** What only the address has that the program printed. Out of the address it goes, so that nobody copies it along. */
function token(): string {
  const given = /^#token=([0-9a-f]+)$/.exec(location.hash)?.[1];
  if (given) {
    sessionStorage.setItem('token', given);
    history.replaceState(null, '', location.pathname + location.search);
  }
  return sessionStorage.getItem('token') ?? '';
}

/** Something else than a success, in the program's words. */
class Refused extends Error {
  constructor(
    readonly status: number,
    words: string,
  ) {
    super(words);
  }
}

export class Program implements Contributor {
  readonly view: View = emptyView();
  #token = token();

  constructor(private readonly changed: () => void) {
    addEventListener('hashchange', () => {
      this.#token = token();
    });
    void this.#watch();
  }

  async preload(): Promise<void> {}

  async start(): Promise<void> {
    this.view.note = undefined;
    await this.#wish({ kind: 'start' });
  }

  finish(): void {
    void this.#wish({ kind: 'finish' });
  }

  stop(): void {
    void this.#wish({ kind: 'stop' });
  }

  pause(why: string): boolean {
    if (!isActive(this.view.snapshot)) return false;
    this.stop();
    this.view.note = why;
    this.changed();
    return true;
  }

  reconnect(): void {
    void this.start();
  }

  restart(): Promise<void> {
    return this.start();
  }

  pace(percent: number): void {
    void this.#wish({ kind: 'pace', percent });
  }

  generate(ask: Ask): void {
    void this.#wish({ kind: 'generate', ask });
  }

  hush(): void {
    void this.#wish({ kind: 'hush' });
  }

  pack(onPart: (part: Packed) => void): void {
    this.#pack(onPart).catch((error: unknown) => onPart({ failed: { why: words(error) } }));
  }

  // A program has neither a module that breaks off nor a limit that this page sets, and its training ends with it.
  crashed(): void {}
  limitUpload(): void {}
  dispose(): void {}

  async #pack(onPart: (part: Packed) => void): Promise<void> {
    const response = await this.#ask('/api/own/model');
    const name =
      /filename="([^"]+)"/.exec(response.headers.get('content-disposition') ?? '')?.[1] ?? 'model.zip';
    const total = Number(response.headers.get('content-length'));
    let at = 0;
    for await (const bytes of parts(response)) {
      onPart({ part: { name, at, total, bytes } });
      at += bytes.length;
    }
    if (at < total) throw new Error(say.programGone);
  }

  /** Shows what the program does, for as long as this page is open. */
  async #watch(): Promise<void> {
    for (;;) {
      try {
        await this.#read();
        this.view.error = say.programGone;
      } catch (error) {
        const refused = error instanceof Refused && error.status === 403;
        this.view.error = refused ? say.programToken : say.programGone;
      }
      // Its last words stand if it stopped for a reason.
      if (this.view.snapshot?.phase.kind === 'failed') this.view.error = undefined;
      else this.view.snapshot = undefined;
      this.changed();
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    let line = '';
    for await (const bytes of parts(await this.#ask('/api/own/snapshots'))) {
      const lines = (line + decoder.decode(bytes, { stream: true })).split('\n');
      line = lines.pop() ?? '';
      // Only the newest is worth drawing.
      const newest = lines.pop();
      if (!newest) continue;
      this.view.error = undefined;
      // Rust's absent values are null in JSON, and undefined where they come from wasm.
      show(this.view, JSON.parse(newest, (_, value) => value ?? undefined) as Snapshot);
      this.changed();
    }
  }

  async #wish(wish: object): Promise<void> {
    try {
      await this.#ask('/api/own/wish', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(wish),
      });
    } catch (error) {
      // Without the program everything is said already.
      if (error instanceof Refused && error.status !== 403) {
        this.view.error = words(error);
        this.changed();
      }
    }
  }

  async #ask(path: string, init: RequestInit = {}): Promise<Response> {
    const response = await fetch(path, { ...init, headers: { ...init.headers, [TOKEN]: this.#token } });
    if (response.ok) return response;
    throw new Refused(response.status, (await response.text()).trim());
  }
}

async function* parts(response: Response): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const reader = response.body?.getReader();
  for (;;) {
    const next = await reader?.read();
    if (!next || next.done) return;
    yield next.value as Uint8Array<ArrayBuffer>;
  }
}

const words = (error: unknown): string => (error instanceof Refused ? error.message : say.programGone);
