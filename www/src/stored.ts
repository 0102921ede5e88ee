// What this browser remembers for the page: small values by name. Where storage is denied, it holds for this visit.

/** What was kept under a name, or undefined: never kept, denied, or not what this page writes. */
export function recall(name: string): unknown {
  try {
    const text = localStorage.getItem(`tributary-${name}`);
    return text === null ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Keeps a value under a name; nothing forgets it. */
export function keep(name: string, value: unknown): void {
  try {
    if (value === undefined) localStorage.removeItem(`tributary-${name}`);
    else localStorage.setItem(`tributary-${name}`, JSON.stringify(value));
  } catch {
    // Denied or full: it holds for this visit.
  }
}

/** Whether these are numbers under all of these names. */
export function hasNumbers<K extends string>(value: unknown, keys: readonly K[]): value is Record<K, number> {
  return (
    typeof value === 'object' &&
    value !== null &&
    keys.every((key) => Number.isFinite((value as Record<string, unknown>)[key]))
  );
}
