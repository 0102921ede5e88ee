// The person's agreement to compute, remembered until it is withdrawn.

const KEY = 'tributary-consent';

/** Whether this browser remembers an agreement. */
export function remembered(): boolean {
  try {
    return localStorage.getItem(KEY) === 'yes';
  } catch {
    // Storage is denied: ask each time.
    return false;
  }
}

/** Remembers the agreement, or forgets it. */
export function remember(agreed: boolean): void {
  try {
    if (agreed) localStorage.setItem(KEY, 'yes');
    else localStorage.removeItem(KEY);
  } catch {
    // Storage is denied: it holds for this visit.
  }
}
