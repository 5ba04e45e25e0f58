// The page of the inbox. Whatever comes from an alert is untrusted: it reaches
// the document as text only, and cards through Microsoft's renderer.
import { renderCard } from "./card.js";
import { List } from "./list.js";
import { renderRow, columns } from "./row.js";
import { element, plain } from "./text.js";

const root = document.documentElement;
const $ = (id) => document.getElementById(id);
let feed = "";

// Switches: where, colours, width, whose reading of Markdown. The address keeps them, so that a link shows
// what its sender saw.
const switches = {
  view: ["teams", "rows"],
  theme: ["light", "dark"],
  width: ["wide", "narrow"],
  client: ["desktop", "iphone"],
};

function set(name, value) {
  root.dataset[name] = value;
  for (const button of document.querySelectorAll(`button[data-${name}]`)) {
    const on = button.dataset[name] === value;
    button.setAttribute(name === "view" ? "aria-selected" : "aria-pressed", String(on));
    if (name === "view") button.tabIndex = on ? 0 : -1;
  }
  if (name === "view") {
    for (const view of switches.view) $(view).hidden = view !== value;
  }
  const state = Object.keys(switches).map((key) => `${key}=${root.dataset[key]}`).join("&");
  history.replaceState(null, "", `#${state}`);
  if (name === "theme" || name === "client") lists.posts.draw(true);
}

function fromAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const otherwise = { view: "teams", theme: dark ? "dark" : "light", width: "wide", client: "desktop" };
  for (const [name, values] of Object.entries(switches)) {
    set(name, values.includes(wanted.get(name)) ? wanted.get(name) : otherwise[name]);
  }
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

function refusal(entry, what) {
  const box = element("div", "refusal");
  box.append(element("b", "", `${what} (the sender was told ${entry.status})`), plain(entry.refused));
  if (entry.data !== undefined) {
    const details = element("details");
    const shown = element("pre");
    shown.append(plain(JSON.stringify(entry.data, null, 2)));
    details.append(element("summary", "", "What was sent"), shown);
    box.append(details);
  }
  return box;
}

function post(entry) {
  const item = element("li", "post");
  const by = element("div", "by");
  const time = element("time", "", clock.format(new Date(entry.received)));
  time.dateTime = entry.received;
  by.append(element("b", "", "Workflows"), element("span", "", "posted by podwatch"), time);
  const content = element("div", "content");
  if (entry.refused) {
    content.append(refusal(entry, "Teams shows nothing of this"));
  } else {
    for (const attachment of entry.data.attachments) {
      const card = element("div", "card");
      card.append(renderCard(attachment.content, root.dataset.theme, root.dataset.client));
      content.append(card);
    }
  }
  const avatar = element("div", "avatar", "W");
  avatar.setAttribute("aria-hidden", "true");
  item.append(avatar, by, content);
  return item;
}

function lost(entry) {
  const item = element("li");
  item.append(refusal(entry, "No row came of this"));
  return item;
}

const lists = {
  posts: new List($("posts"), "Cards", post),
  lost: new List($("lost"), "Deliveries without a row", lost),
  rows: new List($("table"), "Rows", renderRow),
};
const counts = { cards: 0, rows: 0, all: { teams: 0, rows: 0 } };

let pending = 0, last = 0;
function add(entry) {
  if (entry.id <= last) return; // seen before a reconnect
  last = entry.id;
  const teams = entry.sink === "teams";
  lists[teams ? "posts" : entry.refused ? "lost" : "rows"].add(entry);
  counts.all[teams ? "teams" : "rows"]++;
  if (!entry.refused) counts[teams ? "cards" : "rows"]++;
  pending ||= requestAnimationFrame(() => {
    pending = 0;
    for (const list of Object.values(lists)) list.draw();
    summarise();
  });
}

function clear() {
  for (const list of Object.values(lists)) list.clear();
  Object.assign(counts, { cards: 0, rows: 0, all: { teams: 0, rows: 0 } });
  summarise();
}

function summarise() {
  $("count-cards").textContent = counts.cards;
  $("count-rows").textContent = counts.rows;
  document.title = `(${counts.cards}) podwatch: alerts on this machine`;
  $("table").hidden = counts.rows === 0;
  for (const view of switches.view) {
    const box = $(view).querySelector(".empty");
    box.hidden = counts.all[view] > 0;
    if (!box.hidden && !box.hasChildNodes()) box.append($("empty").content.cloneNode(true));
    const command = box.querySelector("pre");
    if (command) {
      command.textContent = feed;
      command.hidden = feed === "";
    }
  }
}

// Alerts that no card shows yet.
let held = { alerts: 0 };
function countDown() {
  const box = $("held");
  box.hidden = held.alerts === 0 || root.dataset.live !== "on";
  if (box.hidden) return;
  const due = new Date(held.due), left = Math.max(0, Math.round((due - Date.now()) / 1000));
  const clockLeft = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
  box.textContent = `${held.alerts} ${held.alerts === 1 ? "alert is" : "alerts are"} held. The summary comes in ${clockLeft}, at ${clock.format(due)}.`;
}

// What the page shows is of one run: another one at the same address begins it anew.
let run = "";
function begin(next) {
  if (run !== "" && run !== next.id) {
    last = 0;
    held = { alerts: 0 };
    clear();
  }
  run = next.id;
  feed = next.feed;
  summarise();
}

function connection(on) {
  if (root.dataset.live === (on ? "on" : "off")) return;
  root.dataset.live = on ? "on" : "off";
  $("live").dataset.state = on ? "live" : "off";
  $("live").textContent = on ? "live" : "not connected";
  $("lost-connection").hidden = on;
  $("lost-since").textContent = on ? "" : clock.format(new Date());
  $("clear").disabled = !on;
  countDown();
}

function listen() {
  const stream = new EventSource("/api/stream");
  const on = (name, does) => stream.addEventListener(name, (event) => does(JSON.parse(event.data)));
  on("run", (next) => { begin(next); connection(true); });
  on("message", add);
  on("clear", clear);
  on("held", (now) => { held = now; countDown(); });
  stream.onerror = () => {
    connection(false);
    if (stream.readyState !== EventSource.CLOSED) return; // the browser tries again
    setTimeout(listen, 2000); // another program answered
  };
}

// As the pattern for tabs has it: arrows move, and what is reached is shown.
document.querySelector(".tabs").addEventListener("keydown", (event) => {
  const at = switches.view.indexOf(root.dataset.view), n = switches.view.length;
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1 + n, Home: 0, End: n - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  set("view", switches.view[to % n]);
  document.querySelector(`.tabs [data-view="${root.dataset.view}"]`).focus();
});

for (const name of Object.keys(switches)) {
  for (const button of document.querySelectorAll(`button[data-${name}]`)) {
    button.addEventListener("click", () => set(name, button.dataset[name]));
  }
}
$("clear").addEventListener("click", () => fetch("/api/entries", { method: "DELETE" }));
addEventListener("hashchange", fromAddress);
$("table").querySelector("thead tr").append(element("th"), ...columns.map((c) => element("th", "", c.title)));

fromAddress();
summarise();
listen();
setInterval(countDown, 1000);
