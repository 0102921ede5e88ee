// How training runs on this machine: how hard it works, whether the screen stays on, what happens on battery.
// Remembered in this browser.

import { byId, setText } from './dom.ts';
import { percent } from './format.ts';
import { hasNumbers, keep, recall } from './stored.ts';

/** What browsers tell of a battery; TypeScript's library leaves it out, because not all of them do. */
interface Battery extends EventTarget {
  charging: boolean;
}

/** What the settings ask of the rest of the page. */
export interface Runner {
  /** Works so many per cent of the time. */
  pace(percent: number): void;
  /** Stops because of the battery, if it trains; says whether it did. */
  pause(): boolean;
  /** Goes on after `pause`. */
  resume(): void;
}

const pace = byId<HTMLInputElement>('pace');
const paceNow = byId('pace-now');
const awake = byId<HTMLInputElement>('awake');
const battery = byId<HTMLInputElement>('battery');

/** Wires the settings up. */
export function startRunning(runner: Runner): void {
  const kept = recall('running');
  if (hasNumbers(kept, ['pace'])) pace.value = String(kept.pace);
  awake.checked = hasKept(kept, 'awake', false);
  battery.checked = hasKept(kept, 'battery', true);
  const remember = () =>
    keep('running', { pace: pace.valueAsNumber, awake: awake.checked, battery: battery.checked });
  const showPace = () => setText(paceNow, percent(pace.valueAsNumber / 100));
  showPace();
  runner.pace(pace.valueAsNumber);
  pace.addEventListener('input', showPace);
  pace.addEventListener('change', () => {
    runner.pace(pace.valueAsNumber);
    remember();
  });
  awake.addEventListener('change', () => {
    remember();
    void holdScreen();
  });
  battery.addEventListener('change', remember);
  // Both are absent where the page did not come over https, and in some browsers.
  awake.closest('label')?.toggleAttribute('hidden', !('wakeLock' in navigator));
  battery.closest('label')?.toggleAttribute('hidden', !('getBattery' in navigator));
  void watchBattery(runner);
  document.addEventListener('visibilitychange', () => void holdScreen());
}

const hasKept = (kept: unknown, key: string, otherwise: boolean): boolean => {
  const value = (kept as Record<string, unknown> | undefined)?.[key];
  return typeof value === 'boolean' ? value : otherwise;
};

async function watchBattery(runner: Runner): Promise<void> {
  const { getBattery } = navigator as { getBattery?: () => Promise<Battery> };
  const state = await getBattery?.call(navigator).catch(() => undefined);
  let paused = false;
  state?.addEventListener('chargingchange', () => {
    if (!state.charging && battery.checked) paused = runner.pause();
    else if (state.charging && paused) {
      paused = false;
      runner.resume();
    }
  });
}

let training = false;
let screen: WakeLockSentinel | undefined;

/** Tells whether it trains: only then the screen is held. */
export function holdScreenWhile(active: boolean): void {
  if (active === training) return;
  training = active;
  void holdScreen();
}

/** The browser lets the screen go by itself whenever the tab is hidden. */
async function holdScreen(): Promise<void> {
  const wanted = training && awake.checked && !document.hidden;
  if (wanted && (!screen || screen.released)) {
    // Denied, by battery saving for one: the screen goes dark as usual.
    screen = await navigator.wakeLock?.request('screen').catch(() => undefined);
  } else if (!wanted) {
    await screen?.release();
    screen = undefined;
  }
}
