import lighthouse from 'lighthouse';
import { launch } from './launch.mjs';
const browser = await launch(['--remote-debugging-port=9333']);
const t=performance.now();
const result = await lighthouse(process.argv[2], { port: 9333, onlyCategories: ['performance','accessibility','best-practices'], logLevel: 'error' });
const { categories, audits } = result.lhr;
for (const c of Object.values(categories)) {
  console.log(c.id, c.score);
  for (const r of c.auditRefs) { const a = audits[r.id]; if (a.score !== null && a.score < 1) console.log('   ', r.weight, a.id, a.score, a.displayValue ?? '', a.title, JSON.stringify(a.details?.items?.slice(0,3))?.slice(0,400)); }
}
for (const id of ['first-contentful-paint','largest-contentful-paint','interactive','total-blocking-time','max-potential-fid','cumulative-layout-shift','speed-index']) console.log(id, audits[id]?.displayValue, audits[id]?.numericValue);
for (const id of ['long-tasks','bootup-time']) console.log(id, JSON.stringify(audits[id]?.details?.items,null,0));
console.log((performance.now()-t)/1000);
await browser.close();
