// AES of blocks with the crypto module; the input is their length.
const crypto = require("crypto");
const length = [256, 16384, 1048576][Number(process.argv[2] || 0)];
const key = crypto.randomBytes(32);
const iv = crypto.randomBytes(16);
let data = Buffer.alloc(length);
for (;;) {
  const cipher = crypto.createCipheriv("aes-256-ctr", key, iv);
  data = Buffer.concat([cipher.update(data), cipher.final()]);
}
