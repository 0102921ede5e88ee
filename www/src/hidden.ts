// What became of training while the tab was hidden: measured, since browsers differ.

import { count, duration } from './format.ts';
import { say } from './strings.ts';
import { isActive } from './view/view.ts';
import type { Snapshot } from './wasm/net/tributary_web_net.js';

/** A shorter time says nothing. */
const LEAST_MS = 5000;

/** Calls `onBack` with one sentence when the tab comes back from having trained in the background. */
export function watchHidden(snapshot: () => Snapshot | undefined, onBack: (words: string) => void): void {
  let left: { at: number; tokens: number; speed: number } | undefined;
  document.addEventListener('visibilitychange', () => {
    const now = snapshot();
    if (!now || !isActive(now)) left = undefined;
    else if (document.hidden) left = { at: performance.now(), tokens: now.tokens, speed: now.tokens_per_s };
    else if (left && performance.now() - left.at > LEAST_MS) {
      const ms = performance.now() - left.at;
      const speed = Math.max(0, now.tokens - left.tokens) / (ms / 1000);
      onBack(say.wasHidden(duration(ms), count(speed), count(left.speed)));
    }
  });
}
