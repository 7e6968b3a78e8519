// Lines matched with regular expressions that backtrack; the input is the pattern.
const patterns = [/GET (\/[a-z0-9/]+)\?id=(\d+)/, /(host|node)-\d+ .* (\d+)ms$/, /([aeiou]+.*)+(0|5)ms/];
const pattern = patterns[Number(process.argv[2] || 0)];
const lines = Array.from({ length: 500 }, (_, i) => `2026-11-0${i % 9} host-${i} GET /api/v1/nodes?id=${i * 31} 200 ${i * 17}ms`);
let sink = 0;
for (;;) for (const line of lines) sink += (line.match(pattern) || []).length;
