// One training tab a browser profile: a second would be the same contributor twice. Holding a lock
// also keeps the browser from freezing the tab in the background.

const NAME = 'tributary';

/** The place of the tab that trains. */
export class Seat {
  #waiting = new AbortController();

  /** Calls `onChange` with whether this tab has the place, now and whenever that changes. */
  constructor(private readonly onChange: (mine: boolean) => void) {
    // Absent where the page did not come over https; then the coordinator tells the two apart.
    if (navigator.locks) void this.#ask({ ifAvailable: true });
    else onChange(true);
  }

  /** Takes the place from the tab that has it, which is told so. */
  take(): void {
    this.#waiting.abort();
    this.#waiting = new AbortController();
    void this.#ask({ steal: true });
  }

  /** Holds the place until another tab takes it; then, or if another has it, waits for it to be free. */
  async #ask(options: LockOptions): Promise<void> {
    try {
      await navigator.locks.request(NAME, options, (lock) => {
        if (!lock) return false;
        this.onChange(true);
        return new Promise<never>(() => {});
      });
    } catch (error) {
      if (options.signal?.aborted) return;
      // A browser that forbids locks: train, as where there are none.
      if (!(error instanceof DOMException && error.name === 'AbortError')) return this.onChange(true);
    }
    this.onChange(false);
    void this.#ask({ signal: this.#waiting.signal });
  }
}
