// One training tab a browser profile: a second would be the same contributor twice. Holding a lock
// also keeps the browser from freezing the tab in the background.

/** Calls `onWait` if another tab has the lock, and resolves when this tab has it. */
export async function onlyTab(onWait: () => void): Promise<void> {
  // Absent where the page did not come over https; then the coordinator tells the two apart.
  if (!navigator.locks) return;
  const held = new Promise<never>(() => {});
  const now = new Promise<boolean>((resolve) => {
    void navigator.locks.request('tributary', { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock && held;
    });
  });
  if (await now) return;
  onWait();
  await new Promise<void>((resolve) => {
    void navigator.locks.request('tributary', () => {
      resolve();
      return held;
    });
  });
}
