// Computes and allocates below two functions, and ends: for V8's profilers to look at.
globalThis.kept = []; // what only the module holds is gone when V8 looks
function inner(count) {
  let sum = 0;
  for (let number = 0; number < count; number++) sum += Math.sqrt(number);
  return sum;
}
function work(rounds) {
  for (let round = 0; round < rounds; round++) {
    inner(300000);
    globalThis.kept.push(Array.from({ length: 2000 }, (_, index) => ({ round, index })));
  }
}
work(300);
