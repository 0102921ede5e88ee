// Trying the model: a text for it to write on from, what it writes, and the model as a file. The text comes with the
// snapshots; nothing is asked for before there is a peer.

import { byId, saveFile, setNote, setText } from './dom.ts';
import { bytes, decimal, megabytes } from './format.ts';
import { say } from './strings.ts';
import { isActive, type View } from './view/view.ts';
import type { Ask, Packed } from './wasm/net/tributary_web_net.js';

/** Whoever has the model. */
export interface Model {
  /** Has it write; another request ends the one before. */
  generate(ask: Ask): void;
  /** Has it write no more. */
  hush(): void;
  /** Packs it; the parts come in order. */
  pack(onPart: (part: Packed) => void): void;
}

const prompt = byId<HTMLTextAreaElement>('try-prompt');
const length = byId<HTMLInputElement>('try-length');
const lengthNow = byId('try-length-now');
const temperature = byId<HTMLInputElement>('try-temperature');
const temperatureNow = byId('try-temperature-now');
const go = byId<HTMLButtonElement>('try-go');
const stop = byId<HTMLButtonElement>('try-stop');
const written = byId('try-written');
const begin = byId('try-begin');
const text = byId('try-text');
const rate = byId('try-rate');
const end = byId('try-end');
const download = byId<HTMLButtonElement>('download');
const state = byId('download-state');

/** The newest request, and whether more of its text may come. */
let asked = 0;
let writing = false;
let packing = false;

/** Whether a person's text is being written. */
export const isWriting = (): boolean => writing;

/** Wires the section up. */
export function startTrying(model: Model): void {
  const showNumbers = () => {
    setText(lengthNow, decimal(length.valueAsNumber));
    setText(temperatureNow, decimal(temperature.valueAsNumber));
  };
  showNumbers();
  for (const range of [length, temperature]) range.addEventListener('input', showNumbers);
  go.addEventListener('click', () => {
    asked += 1;
    const [seed = 0] = crypto.getRandomValues(new Uint32Array(1));
    setText(begin, prompt.value);
    setText(text, '');
    setNote(end, undefined);
    written.hidden = false;
    rate.hidden = true;
    showButtons(true);
    model.generate({
      id: asked,
      prompt: prompt.value,
      tokens: length.valueAsNumber,
      temperature: temperature.valueAsNumber,
      seed,
    });
  });
  stop.addEventListener('click', () => {
    model.hush();
    showButtons(false);
  });
  download.addEventListener('click', () => {
    if (packing) return;
    packing = true;
    setNote(state, undefined);
    let parts: Uint8Array<ArrayBuffer>[] = [];
    model.pack((packed) => {
      if ('failed' in packed) return endPacking(packed.failed.why);
      const { part } = packed;
      if (part.at === 0) parts = [];
      parts.push(part.bytes);
      const done = part.at + part.bytes.length;
      setNote(state, say.downloading(megabytes(done), megabytes(part.total)));
      if (done < part.total) return;
      saveFile(part.name, new Blob(parts, { type: 'application/zip' }));
      parts = [];
      endPacking(say.downloaded(part.name, bytes(done)));
    });
  });
}

/** Draws what has come. */
export function drawTrying({ snapshot }: View): void {
  const failed = snapshot?.phase.kind === 'failed';
  if (!snapshot || failed) {
    // Whoever wrote or packed is gone.
    if (packing) endPacking();
    showButtons(false);
  }
  go.disabled = download.disabled = !snapshot || failed;
  const answer = snapshot?.answer;
  if (!snapshot || !answer || answer.id !== asked) return;
  grow(text, answer.text);
  rate.hidden = answer.tokens_per_s === 0;
  setText(rate, say.tryRate(decimal(answer.tokens_per_s), isActive(snapshot)));
  if (answer.end === undefined) return;
  setNote(end, typeof answer.end === 'string' ? say.tryEnd[answer.end] : answer.end.failed.why);
  showButtons(false);
}

/** Adds only what is new, so that a screen reader reads that and not all of it again. */
function grow(element: HTMLElement, all: string): void {
  const shown = element.textContent ?? '';
  if (!all.startsWith(shown)) setText(element, all);
  else if (all.length > shown.length) element.append(all.slice(shown.length));
}

/** Swaps the two buttons and takes the keyboard focus along. */
function showButtons(active: boolean): void {
  if (writing === active) return;
  writing = active;
  const [here, gone] = active ? [stop, go] : [go, stop];
  const focused = document.activeElement === gone;
  here.hidden = false;
  gone.hidden = true;
  if (focused) here.focus();
}

function endPacking(words?: string): void {
  packing = false;
  setNote(state, words);
}
