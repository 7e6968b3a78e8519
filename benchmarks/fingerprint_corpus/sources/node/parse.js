// JSON parsed and written again; the input is the shape of the document.
const kind = Number(process.argv[2] || 0);
const items = Array.from({ length: 1000 }, (_, i) =>
  kind === 0 ? { id: i, name: `node-${i}`, watts: i * 0.37 } : kind === 1 ? [i, i * 1.5, null] : { labels: { zone: `z${i % 3}` } });
let text = JSON.stringify(items);
for (;;) text = JSON.stringify(JSON.parse(text));
