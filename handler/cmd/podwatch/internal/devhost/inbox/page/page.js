// The page of the inbox. Whatever comes from an alert is untrusted: it reaches
// the document as text only, and cards through Microsoft's renderer.
import { renderCard } from "./card.js";
import { renderRow, columns } from "./row.js";
import { element, plain } from "./text.js";

const root = document.documentElement;
const $ = (id) => document.getElementById(id);
const entries = [];
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
  }
  if (name === "view") {
    for (const view of switches.view) $(view).hidden = view !== value;
  }
  const state = Object.keys(switches).map((key) => `${key}=${root.dataset[key]}`).join("&");
  history.replaceState(null, "", `#${state}`);
  if (name === "theme" || name === "client") redraw();
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

function post(entry, fresh) {
  const item = element("li", fresh ? "post fresh" : "post");
  item.dataset.id = entry.id;
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

function show(entry, fresh) {
  if (entry.sink === "teams") {
    $("posts").prepend(post(entry, fresh));
  } else if (entry.refused) {
    const item = element("li");
    item.append(refusal(entry, "No row came of this"));
    $("lost").prepend(item);
  } else {
    $("table").querySelector("tbody").prepend(...renderRow(entry));
  }
}

function redraw() {
  $("posts").replaceChildren();
  for (const entry of entries) if (entry.sink === "teams") show(entry, false);
}

function summarise() {
  const of = (sink, refused) => entries.filter((e) => e.sink === sink && Boolean(e.refused) === refused).length;
  const cards = of("teams", false), rows = of("logAnalytics", false);
  $("count-cards").textContent = cards;
  $("count-rows").textContent = rows;
  document.title = `(${cards}) podwatch: alerts on this machine`;
  $("table").hidden = rows === 0;
  for (const [view, count] of [["teams", cards + of("teams", true)], ["rows", rows + of("logAnalytics", true)]]) {
    const box = $(view).querySelector(".empty");
    box.hidden = count > 0;
    if (count === 0 && !box.hasChildNodes()) box.append($("empty").content.cloneNode(true));
    const command = box.querySelector("pre");
    if (command) {
      command.textContent = feed;
      command.hidden = feed === "";
    }
  }
}

let pending = 0;
function add(entry) {
  if (entries.length && entry.id <= entries.at(-1).id) return; // seen before a reconnect
  entries.push(entry);
  show(entry, Date.parse(entry.received) > performance.timeOrigin);
  pending ||= requestAnimationFrame(() => { pending = 0; summarise(); });
}

function clear() {
  entries.length = 0;
  $("posts").replaceChildren();
  $("lost").replaceChildren();
  $("table").querySelector("tbody").replaceChildren();
  summarise();
}

function listen() {
  const live = $("live");
  const say = (state, text) => { live.dataset.state = state; live.textContent = text; };
  const stream = new EventSource("/api/stream");
  stream.onopen = () => say("live", "live");
  stream.onerror = () => say("off", "not connected");
  stream.onmessage = (event) => add(JSON.parse(event.data));
  stream.addEventListener("clear", clear);
}

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
fetch("/api/info").then((r) => r.json()).then((info) => { feed = info.feed; summarise(); });
