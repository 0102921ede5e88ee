// How much of the person's upload others may use, remembered in this browser.

import { rate } from './format.ts';
import { keep, recall } from './stored.ts';
import { say } from './strings.ts';

/** Bytes a second by choice; `all` has no limit. */
const LIMITS = { little: 500_000, some: 2_000_000, much: 8_000_000, all: undefined } as const;
type Choice = keyof typeof LIMITS;

/** What a home connection with 20 Mbit/s up carries beside a video call. */
const USUAL: Choice = 'some';

/** Fills the list of choices and calls `onChange` with the limit whenever another one is chosen. Returns
 * the limit that holds now. */
export function uploadChoice(
  select: HTMLSelectElement,
  onChange: (bytesPerSecond: number | undefined) => void,
): number | undefined {
  const now = known(recall('upload'));
  for (const choice of Object.keys(LIMITS) as Choice[]) {
    select.add(new Option(words(choice), choice, choice === USUAL, choice === now));
  }
  select.addEventListener('change', () => {
    const choice = known(select.value);
    keep('upload', choice);
    onChange(LIMITS[choice]);
  });
  return LIMITS[now];
}

function words(choice: Choice): string {
  return choice === 'all' ? say.upload.all : say.upload[choice](rate(LIMITS[choice]));
}

const known = (choice: unknown): Choice =>
  typeof choice === 'string' && Object.hasOwn(LIMITS, choice) ? (choice as Choice) : USUAL;
