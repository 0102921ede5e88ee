// The loss curve. uPlot is half of the page's script, so this comes when there is something to draw.

import uPlot from 'uplot';
import './plot.css';
import { byId, setText } from '../dom.ts';
import { count, loss } from '../format.ts';
import { say } from '../strings.ts';
import type { LossPoint } from '../wasm/net/tributary_web_net.js';

const place = byId('chart');
const readout = byId('loss-readout');

let plot: uPlot | undefined;
let points: readonly LossPoint[] = [];

/** Draws these, oldest first. */
export function plotLosses(losses: readonly LossPoint[]): void {
  points = losses;
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

new ResizeObserver(() => {
  if (plot && place.clientWidth > 0) plot.setSize(size());
}).observe(place);

// The canvas takes its colours from the style sheet, once.
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
  if (!plot) return;
  plot.destroy();
  plot = create();
});
