// Blocks compressed with zlib; the input is what is in them.
const zlib = require("zlib");
const kind = Number(process.argv[2] || 0);
let text = "";
for (let i = 0; text.length < 300000; i++)
  text += kind === 0 ? `the node ${i % 16} is idle ` : kind === 1 ? `{"id": ${i * 31}}` : String.fromCharCode((i * i * 7) % 127);
const data = Buffer.from(text);
for (;;) zlib.deflateSync(data, { level: 6 });
