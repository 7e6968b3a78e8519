// Short-lived objects in arrays and maps: the collector's work. The input is how many.
const count = [500, 10000, 200000][Number(process.argv[2] || 0)];
function make(round) {
  const all = new Map();
  for (let i = 0; i < count; i++) all.set(`k${i}`, { owner: i, notes: [round, i, `${i}`] });
  return all;
}
let sink = 0;
for (let round = 0; ; round++) sink += make(round).size;
