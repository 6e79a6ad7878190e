// As die.py, for Node: waits until it is told to die, says when, and dies of an exception that nobody catches.
"use strict";
const fs = require("node:fs");
globalThis.heap = Buffer.alloc(Number(process.argv[2]) * 1048576, 1);
fs.writeSync(1, `${process.pid}\n`);
fs.readSync(0, Buffer.alloc(1));
fs.writeSync(1, `${process.hrtime.bigint()}\n`);
throw new Error("sock");
