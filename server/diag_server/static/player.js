// Replays a transcript. What it reads is hostile: every number is bounded, text becomes text nodes, never markup.
"use strict";

(function () {
  const box = document.querySelector(".player");
  const source = document.getElementById("cast");
  if (!box || !source) return;

  const MOST_COLUMNS = 400, MOST_ROWS = 200, LONGEST_WAIT_S = 2;
  const clamp = (value, least, most) => Math.min(Math.max(Number.isFinite(value) ? value : least, least), most);

  class Screen {
    constructor(columns, rows) {
      this.reset(columns, rows);
    }

    reset(columns, rows) {
      this.columns = clamp(columns, 1, MOST_COLUMNS);
      this.rows = clamp(rows, 1, MOST_ROWS);
      this.style = { color: -1, back: -1, bold: false, reverse: false };
      this.saved = { x: 0, y: 0 };
      this.rest = "";
      this.clear();
    }

    clear() {
      this.lines = Array.from({ length: this.rows }, () => this.blank());
      this.x = this.y = 0;
    }

    blank() { return new Array(this.columns).fill(null); }

    resize(columns, rows) {
      this.columns = clamp(columns, 1, MOST_COLUMNS);
      rows = clamp(rows, 1, MOST_ROWS);
      for (const line of this.lines) {
        line.length = this.columns;
        for (let i = 0; i < line.length; i++) line[i] = line[i] || null;
      }
      while (this.lines.length > rows) { this.lines.shift(); this.y--; }
      while (this.lines.length < rows) this.lines.push(this.blank());
      this.rows = rows;
      this.place(this.x, this.y);
    }

    place(x, y) {
      this.x = clamp(x, 0, this.columns - 1);
      this.y = clamp(y, 0, this.rows - 1);
    }

    feed() {
      if (++this.y < this.rows) return;
      this.y = this.rows - 1;
      this.lines.shift();
      this.lines.push(this.blank());
    }

    put(character) {
      if (this.x >= this.columns) { this.x = 0; this.feed(); }
      this.lines[this.y][this.x++] = { character, ...this.style };
    }

    write(text) {
      text = this.rest + text;
      this.rest = "";
      // One of: a control sequence, a title and its like, a short escape, or a single character.
      const pattern = /\x1b\[([0-?]*)[ -\/]*([@-~])|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -\/]*[0-~]|[^\x1b]/gsu;
      let done = 0;
      for (let match; (match = pattern.exec(text)) && match.index === done;) {
        done = pattern.lastIndex;
        if (match[2]) this.control(match[1], match[2]);
        else if (match[0] === "\x1bc") this.clear();
        else if (match[0][0] !== "\x1b") this.character(match[0]);
      }
      this.rest = text.slice(done, done + 4096);
    }

    character(one) {
      if (one === "\n") this.feed();
      else if (one === "\r") this.x = 0;
      else if (one === "\b") this.place(Math.min(this.x, this.columns) - 1, this.y);
      else if (one === "\t") this.x = clamp((Math.floor(this.x / 8) + 1) * 8, 0, this.columns - 1);
      else if (one >= " " && one !== "\x7f") this.put(one);
    }

    control(parameters, letter) {
      if (parameters.startsWith("?")) {
        if (/^\?(?:47|1047|1049)$/.test(parameters) && (letter === "h" || letter === "l")) this.clear();
        return;
      }
      const numbers = parameters.split(";").map((word) => clamp(parseInt(word, 10) || 0, 0, 9999));
      const count = numbers[0] || 1;
      const line = this.lines[this.y];
      switch (letter) {
        case "A": this.place(this.x, this.y - count); break;
        case "B": case "e": this.place(this.x, this.y + count); break;
        case "C": case "a": this.place(this.x + count, this.y); break;
        case "D": this.place(this.x - count, this.y); break;
        case "E": this.place(0, this.y + count); break;
        case "F": this.place(0, this.y - count); break;
        case "G": case "`": this.place(count - 1, this.y); break;
        case "d": this.place(this.x, count - 1); break;
        case "H": case "f": this.place((numbers[1] || 1) - 1, count - 1); break;
        case "s": this.saved = { x: this.x, y: this.y }; break;
        case "u": this.place(this.saved.x, this.saved.y); break;
        case "J": this.erase(numbers[0]); break;
        case "K":
          if (numbers[0] === 0) line.fill(null, this.x);
          else if (numbers[0] === 1) line.fill(null, 0, this.x + 1);
          else line.fill(null);
          break;
        case "X": line.fill(null, this.x, this.x + count); break;
        case "P": line.splice(this.x, count); while (line.length < this.columns) line.push(null); break;
        case "@":
          for (let i = 0; i < Math.min(count, this.columns); i++) line.splice(this.x, 0, null);
          line.length = this.columns;
          break;
        case "L": for (let i = 0; i < Math.min(count, this.rows); i++) { this.lines.splice(this.y, 0, this.blank()); this.lines.pop(); } break;
        case "M": for (let i = 0; i < Math.min(count, this.rows); i++) { this.lines.splice(this.y, 1); this.lines.push(this.blank()); } break;
        case "m": this.paint(numbers); break;
      }
    }

    erase(what) {
      if (what >= 2) this.lines = this.lines.map(() => this.blank());
      else if (what === 1) {
        for (let y = 0; y < this.y; y++) this.lines[y].fill(null);
        this.lines[this.y].fill(null, 0, this.x + 1);
      } else {
        this.lines[this.y].fill(null, this.x);
        for (let y = this.y + 1; y < this.rows; y++) this.lines[y].fill(null);
      }
    }

    paint(numbers) {
      for (let i = 0; i < numbers.length; i++) {
        const one = numbers[i];
        if (one === 0) this.style = { color: -1, back: -1, bold: false, reverse: false };
        else if (one === 1) this.style.bold = true;
        else if (one === 22) this.style.bold = false;
        else if (one === 7) this.style.reverse = true;
        else if (one === 27) this.style.reverse = false;
        else if (one >= 30 && one <= 37) this.style.color = one - 30;
        else if (one >= 90 && one <= 97) this.style.color = one - 90;
        else if (one >= 40 && one <= 47) this.style.back = one - 40;
        else if (one >= 100 && one <= 107) this.style.back = one - 100;
        else if (one === 39) this.style.color = -1;
        else if (one === 49) this.style.back = -1;
        else if (one === 38 || one === 48) i += numbers[i + 1] === 2 ? 4 : 2;
      }
    }

    draw(into) {
      const fragment = document.createDocumentFragment();
      let last = this.rows - 1;
      while (last > this.y && this.lines[last].every((cell) => !cell)) last--;
      this.lines.slice(0, last + 1).forEach((line, y) => {
        let run = "", named = "";
        const flush = () => {
          if (!run) return;
          const span = document.createElement("span");
          if (named) span.className = named;
          span.textContent = run;
          fragment.append(span);
          run = "";
        };
        for (let x = 0; x < this.columns; x++) {
          const cell = line[x];
          const name = (cell ? this.nameOf(cell) : "") + (x === this.x && y === this.y ? " cursor" : "");
          if (name !== named) { flush(); named = name; }
          run += cell ? cell.character : " ";
        }
        flush();
        fragment.append("\n");
      });
      into.replaceChildren(fragment);
    }

    nameOf(cell) {
      return (cell.color >= 0 ? `c${cell.color}` : "") + (cell.back >= 0 ? ` b${cell.back}` : "") +
        (cell.bold ? " bold" : "") + (cell.reverse ? " reverse" : "");
    }
  }

  const events = JSON.parse(source.textContent);
  const total = events.length ? events[events.length - 1][0] : 0;
  const columns = parseInt(box.dataset.columns, 10), rows = parseInt(box.dataset.rows, 10);
  const screen = new Screen(columns, rows);
  const shown = box.querySelector(".screen"), button = box.querySelector(".play");
  const seek = box.querySelector(".seek"), at = box.querySelector(".at"), speed = box.querySelector(".speed");
  let next = 0, timer = 0, drawing = 0;

  function apply(event) {
    if (event[1] === "o") screen.write(event[2]);
    else screen.resize(...event[2].split("x", 2).map((word) => parseInt(word, 10)));
  }

  function draw() {
    cancelAnimationFrame(drawing);
    drawing = requestAnimationFrame(() => screen.draw(shown));
    const moment = next ? events[next - 1][0] : 0;
    at.textContent = `${moment.toFixed(1)} s of ${total.toFixed(1)} s`;
    if (document.activeElement !== seek || timer) seek.value = total ? Math.round(moment / total * 1000) : 1000;
  }

  function goTo(moment) {
    screen.reset(columns, rows);
    for (next = 0; next < events.length && events[next][0] <= moment; next++) apply(events[next]);
    draw();
  }

  function stop() {
    clearTimeout(timer);
    timer = 0;
    button.textContent = "Play";
  }

  function step() {
    const before = next ? events[next - 1][0] : 0;
    // What came at one moment is shown at once.
    do apply(events[next++]); while (next < events.length && events[next][0] - before < 0.02);
    draw();
    if (next < events.length) wait();
    else stop();
  }

  function wait() {
    const before = next ? events[next - 1][0] : 0;
    const gap = Math.min(events[next][0] - before, LONGEST_WAIT_S) / (parseInt(speed.value, 10) || 1);
    timer = setTimeout(step, gap * 1000);
  }

  button.addEventListener("click", () => {
    if (timer) { stop(); return; }
    if (next >= events.length) goTo(-1);
    if (!events.length) return;
    button.textContent = "Pause";
    wait();
  });
  seek.addEventListener("input", () => { stop(); goTo(seek.value >= 1000 ? Infinity : seek.value / 1000 * total); });

  box.hidden = false;
  document.querySelector("#transcript details.text").open = false;
  goTo(Infinity);
})();
