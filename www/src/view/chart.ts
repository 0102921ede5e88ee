// The loss curve, the same figures as a table, and one sentence that says what the curve shows.

import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { byId, make, setList, setText } from '../dom.ts';
import { count, loss } from '../format.ts';
import { say } from '../strings.ts';
import type { LossPoint, Snapshot } from '../wasm/net/tributary_web_net.js';

const place = byId('chart');
const figure = byId('loss-figure');
const empty = byId('loss-empty');
const sentence = byId('loss-sentence');
const readout = byId('loss-readout');
const body = byId('loss-body');

let plot: uPlot | undefined;
let points: readonly LossPoint[] = [];
let drawn = '';

/** Draws the losses if they changed. */
export function drawLosses(snapshot: Snapshot | undefined): void {
  const losses = snapshot?.losses ?? [];
  const key = JSON.stringify(losses);
  if (key === drawn) return;
  drawn = key;
  points = losses;
  figure.hidden = points.length === 0;
  empty.hidden = points.length > 0;
  if (points.length === 0) return;
  setText(sentence, words(points));
  setList(body, points.toReversed(), (point) => String(point.round), newRow, drawRow);
  plot ??= create();
  plot.setData(data(points));
}

function data(points: readonly LossPoint[]): uPlot.AlignedData {
  return [
    points.map((point) => point.round),
    points.map((point) => point.heldout ?? null),
    points.map((point) => point.own ?? null),
  ];
}

const size = () => ({ width: place.clientWidth, height: place.clientHeight });

function create(): uPlot {
  const css = getComputedStyle(document.documentElement);
  const colour = (name: string) => css.getPropertyValue(name).trim();
  const axis: uPlot.Axis = {
    stroke: colour('--quiet'),
    font: `12px ${css.fontFamily}`,
    grid: { stroke: colour('--line'), width: 1 },
    ticks: { stroke: colour('--line'), width: 1, size: 4 },
  };
  const line = (name: string, dash: number[]): uPlot.Series => ({
    stroke: colour(name),
    width: 2,
    dash,
    spanGaps: true,
    points: { show: (_plot, _series, first, last) => last - first < 30, size: 5 },
  });
  return new uPlot(
    {
      ...size(),
      legend: { show: false },
      cursor: { drag: { x: false, y: false } },
      scales: { x: { time: false, range: roundRange } },
      series: [{}, line('--heldout', []), line('--own', [5, 4])],
      axes: [
        // Rounds are whole numbers.
        { ...axis, size: 34, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 10_000] },
        { ...axis, size: 44 },
      ],
      hooks: { setCursor: [read] },
    },
    data(points),
    place,
  );
}

/** One round alone gets room to both sides. */
function roundRange(_plot: uPlot, min: number, max: number): uPlot.Range.MinMax {
  return min === max ? [min - 1, max + 1] : [min, max];
}

/** Says the values under the pointer. */
function read(plot: uPlot): void {
  const point = plot.cursor.idx == null ? undefined : points[plot.cursor.idx];
  setText(readout, point ? say.lossPoint(count(point.round), loss(point.heldout), loss(point.own)) : '');
}

function words(points: readonly LossPoint[]): string {
  const measured = points.filter((point) => point.heldout !== undefined);
  const [first, last] = [measured.at(0), measured.at(-1)];
  const own = points.findLast((point) => point.own !== undefined)?.own;
  const parts: string[] = [];
  if (last) parts.push(say.lossSentence(count(last.round), loss(last.heldout)));
  if (first?.heldout !== undefined && last?.heldout !== undefined && first !== last) {
    const change = last.heldout - first.heldout;
    parts.push(say.lossChange(count(first.round), loss(Math.abs(change)), change <= 0));
  }
  if (own !== undefined) parts.push(say.lossOwn(loss(own)));
  return parts.join(' ');
}

function newRow(): HTMLElement {
  const head = make('th', 'number');
  head.scope = 'row';
  return make('tr', '', head, make('td', 'number'), make('td', 'number'));
}

function drawRow(element: HTMLElement, point: LossPoint): void {
  const [round, heldout, own] = element.children as unknown as HTMLElement[];
  if (!round || !heldout || !own) return;
  setText(round, count(point.round));
  setText(heldout, loss(point.heldout));
  setText(own, loss(point.own));
}

new ResizeObserver(() => {
  if (plot && place.clientWidth > 0) plot.setSize(size());
}).observe(place);

// The canvas takes its colours from the style sheet, once.
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  if (!plot) return;
  plot.destroy();
  plot = create();
});
