// What stands in the way now, each with a sentence and one thing to do.

import { byId, make, setList, setText } from '../dom.ts';
import { span } from '../format.ts';
import { isProgram } from '../program.ts';
import { say } from '../strings.ts';
import { isActive, type View } from './view.ts';

/** What a trouble's button asks for. */
export type Remedy = 'reconnect' | 'reload' | 'again';

/** One of them. */
export interface Trouble {
  kind: string;
  words: string;
  button: string;
  remedy: Remedy;
}

/** By how much the clock must be off before it does harm: certificates are refused about then. */
const CLOCK_MS = 5 * 60_000;

const list = byId('troubles');

/** What stands in the way, worst first. */
export function troubles(view: View): Trouble[] {
  const { snapshot, skewMs = 0 } = view;
  const found: Trouble[] = [];
  const add = (kind: string, words: string, button: string, remedy: Remedy) =>
    found.push({ kind, words, button, remedy });
  if (!navigator.onLine) add('offline', say.offline(isActive(snapshot)), say.tryNow, 'reconnect');
  else if (view.away)
    add('away', say.away(view.away, snapshot?.phase.kind === 'training'), say.tryNow, 'reconnect');
  if (Math.abs(skewMs) > CLOCK_MS)
    add('clock', say.clockWrong(span(Math.abs(skewMs)), skewMs < 0), say.lookAgain, 'reload');
  if (view.durable === false) add('storage', say.identityTemporary, say.lookAgain, 'reload');
  // Somebody who chose the processor has no trouble, and its note is absent.
  // A program says by itself what it found.
  if (!isProgram && isActive(snapshot) && snapshot?.device?.backend === 'cpu' && snapshot.device.note)
    add('gpu', say.noGpu, say.lookAgain, 'again');
  return found;
}

/** Draws them; `help` does what a button asks for. */
export function drawTroubles(view: View, help: (remedy: Remedy) => void): void {
  const found = troubles(view);
  list.hidden = found.length === 0;
  const create = () => {
    const button = make('button', 'small');
    button.type = 'button';
    return make('li', 'note', make('span'), button);
  };
  setList(
    list,
    found,
    ({ kind }) => kind,
    create,
    (row, { kind, words, button, remedy }) => {
      const [text, press] = row.children as unknown as [HTMLElement, HTMLButtonElement];
      row.dataset.trouble = kind;
      setText(text, words);
      setText(press, button);
      press.onclick = () => help(remedy);
    },
  );
}
