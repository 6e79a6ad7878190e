// Keeps ever more orders, whose text is a secret of the program; for looks at its heap.
globalThis.kept = []; // what only the module holds is gone when V8 looks
class Order {
  constructor(number) {
    this.line = `hunter2-${number}-of-nobody`;
    this.parts = new Array(50).fill(number + 0.5);
  }
}
function load() {
  for (let number = 0; number < 50; number++) kept.push(new Order(kept.length)); // MARK: kept
}
function turn() {
  load();
  setTimeout(turn, 5);
}
turn();
console.log('ready');
