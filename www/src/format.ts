// Numbers and times in words, in the language that the page is written in.

import { say } from './strings.ts';

const locale = document.documentElement.lang || 'en';
const whole = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(locale, { notation: 'compact', maximumSignificantDigits: 3 });
const three = new Intl.NumberFormat(locale, { minimumFractionDigits: 3, maximumFractionDigits: 3 });
const share = new Intl.NumberFormat(locale, { style: 'percent', maximumSignificantDigits: 3 });
const upToOne = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });
const one = new Intl.NumberFormat(locale, { minimumFractionDigits: 1, maximumFractionDigits: 1 });

/** 1,234,567 */
export const count = (n: number | bigint): string => whole.format(n);

/** 12.3%, of a share from 0 to 1. */
export const percent = (n: number): string => share.format(n);

/** 1.23M; whole below ten thousand, where it still fits. */
export const compact = (n: number): string => (n < 10_000 ? whole : short).format(n);

/** 3.412, for losses. */
export const loss = (n: number | undefined): string => (n === undefined ? say.none : three.format(n));

/** 1,234 or 3.4: whole from ten on, where a decimal says nothing. */
export const decimal = (n: number): string => (n < 10 ? upToOne : whole).format(n);

/** Megabytes with one decimal. */
export const megabytes = (bytes: number): string => one.format(bytes / 1e6);

/** "0 KB", "12 KB", "3.4 MB", "1.2 GB". */
export function bytes(n: number): string {
  if (n < 999_500) return say.kilobytes(whole.format(n / 1e3));
  return n < 999.95e6 ? say.megabytes(upToOne.format(n / 1e6)) : say.gigabytes(upToOne.format(n / 1e9));
}

/** The same for each second; nothing moves below half a kilobyte. */
export const rate = (n: number): string => (n < 500 ? say.none : say.perSecond(bytes(n)));

/** "23 s" or "2 min 05 s". Rounds up, so that it says 0 only when the time is over. */
export function duration(ms: number): string {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  if (seconds < 100) return say.seconds(count(seconds));
  return say.minutes(count(Math.floor(seconds / 60)), String(seconds % 60).padStart(2, '0'));
}

const dates = new Intl.DateTimeFormat(locale, { dateStyle: 'short', timeStyle: 'short' });

/** 11/23/26, 4:05 AM. */
export const day = (ms: number): string => dates.format(ms);

/** "23 s", "12 min", "3.4 h": how long something took in all. */
export function span(ms: number): string {
  if (ms < 100_000) return say.seconds(count(ms / 1000));
  return ms < 100 * 60_000 ? say.wholeMinutes(count(ms / 60_000)) : say.hours(upToOne.format(ms / 3_600_000));
}
