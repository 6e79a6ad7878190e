// Computes for ever and lets events through: for profilers that come while it runs.
function hottest(count) {
  let sum = 0;
  for (let number = 0; number < count; number++) sum += Math.sqrt(number); // MARK: hottest
  return sum;
}
function turn() {
  hottest(300000);
  setImmediate(turn);
}
console.log('ready');
turn();
