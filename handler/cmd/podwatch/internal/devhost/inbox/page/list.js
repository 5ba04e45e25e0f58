// A list of entries, newest first, of which a window is in the document: a card takes
// milliseconds to draw, and a storm brings thousands.
import { element } from "./text.js";

const most = 60; // in the document at a time
const kept = 4000; // as many as the server keeps

export class List {
  #entries = []; // oldest first
  #from = 0; // how many newer ones are before the window
  #box;
  #render;
  #pager = element("nav", "pager");

  // render makes the one node of an entry inside box.
  constructor(box, name, render) {
    this.#box = box;
    this.#render = render;
    this.#pager.setAttribute("aria-label", name);
    this.#pager.hidden = true;
    box.after(this.#pager);
  }

  // add keeps what a reader looks at in its place.
  add(entry) {
    this.#entries.push(entry);
    if (this.#entries.length > kept) this.#entries.shift();
    if (this.#from > 0) this.#from++;
  }

  clear() {
    this.#entries = [];
    this.#from = 0;
    this.draw();
  }

  // draw brings the document to what the list is. Nodes that stay are not touched;
  // with fresh, all are drawn again.
  draw(fresh = false) {
    const count = this.#entries.length;
    this.#from = Math.max(0, Math.min(this.#from, count - 1));
    const end = count - this.#from;
    const wanted = this.#entries.slice(Math.max(0, end - most), end).reverse();
    const ids = new Set(wanted.map((entry) => String(entry.id)));
    for (const node of [...this.#nodes()]) if (fresh || !ids.has(node.dataset.id)) node.remove();
    let at = this.#nodes().next().value ?? null;
    for (const entry of wanted) {
      if (at?.dataset.id === String(entry.id)) {
        at = at.nextElementSibling;
        continue;
      }
      const node = this.#render(entry);
      node.dataset.id = entry.id;
      this.#box.insertBefore(node, at);
    }
    this.#page(wanted.length, count);
  }

  * #nodes() {
    for (const node of this.#box.children) if (node.dataset.id) yield node;
  }

  #page(shown, count) {
    this.#pager.hidden = count <= most;
    if (this.#pager.hidden) return;
    const button = (text, from, on) => {
      const b = element("button", "quiet", text);
      b.disabled = !on;
      b.addEventListener("click", () => {
        this.#from = Math.max(0, from);
        this.draw();
        scrollTo(0, 0);
      });
      return b;
    };
    this.#pager.replaceChildren(
      button("Newest", 0, this.#from > 0),
      button("Newer", this.#from - most, this.#from > 0),
      element("span", "", `${this.#from + 1}–${this.#from + shown} of ${count}`),
      button("Older", this.#from + most, this.#from + shown < count),
    );
  }
}
