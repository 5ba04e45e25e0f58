// Opens the page of `podwatch run` in headless Chromium and looks at what a
// person would see: the cards as Teams draws them, and the rows.
//
//   make browser-test
//   PODWATCH_SCREENSHOTS=shots make browser-test   keeps a picture of each view
//
// CHROMIUM names another browser than /usr/bin/chromium.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const shots = process.env.PODWATCH_SCREENSHOTS;
const evil = "http://evil.example";
const hostile = {
  link: `[x](${evil}/link)`,
  date: "{{DATE(2020-01-01T00:00:00Z,SHORT)}} {{DATE(2020-01-01,SHORT)}}",
  html: `<img src=x onerror="document.title='ran'"><script>document.title='ran'</script>`,
  bidi: "safe\u202egnp.exe\u2066\u200f",
};
const ours = ["https://portal.azure.com/", "https://learn.microsoft.com/", "https://kubernetes.io/"]; // the portal and the rules' references
const viewports = { wide: { width: 1280, height: 900 }, narrow: { width: 420, height: 900 } };
const bidi = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u;

let run, browser, base;

// start starts podwatch run and waits until it has said a text.
async function start(until, ...flags) {
  const drop = mkdtempSync(path.join(tmpdir(), "podwatch-drop-"));
  const process = spawn(path.join(root, "bin/podwatch"), [
    "run", "--app", path.join(root, "dist"), "--local", path.join(root, "infra/local"), "--port", "0", "--drop", drop, ...flags,
  ], { stdio: ["ignore", "ignore", "pipe"] });
  const started = { process, said: "" };
  const exit = new Promise((resolve) => process.on("exit", resolve));
  await new Promise((resolve, reject) => {
    process.on("error", reject);
    process.on("exit", (code) => reject(new Error(`podwatch run ended with ${code}:\n${started.said}`)));
    process.stderr.on("data", (chunk) => { started.said += chunk; if (started.said.includes(until)) resolve(); });
  });
  started.base = /Alerts +(http:\/\/127\.0\.0\.1:\d+)/.exec(started.said)[1];
  // end is Ctrl-C.
  started.end = async () => {
    process.kill("SIGINT");
    const code = await exit;
    rmSync(drop, { recursive: true, force: true });
    assert.equal(code, 0, `Ctrl-C ends podwatch run with ${code}:\n${started.said}`);
    assert.ok(!started.said.includes("ERROR"), started.said);
  };
  return started;
}

before(async () => {
  run = await start("The sample export is fed", "--page-port", "0");
  ({ base } = run);
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
      "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  if (shots) mkdirSync(shots, { recursive: true });
}, { timeout: 300_000 });

after(async () => {
  await browser?.close();
  await run?.end();
});

// newPage has patience: the machine may be busy.
async function newPage(viewport) {
  const page = await browser.newPage({ viewport });
  page.setDefaultTimeout(180_000);
  return page;
}

// open shows the page in a state given by its address. Whatever would be a
// mistake of the page itself fails the test: an error, a refused script, a
// request that leaves this machine.
async function open(t, state, viewport = viewports.wide) {
  const page = await newPage(viewport);
  const mistakes = [];
  page.on("pageerror", (err) => mistakes.push(err.message));
  page.on("console", (m) => { if (m.type() === "error" || m.type() === "warning") mistakes.push(m.text()); });
  page.on("request", (r) => { if (!r.url().startsWith(`${base}/`) && !r.url().startsWith("data:")) mistakes.push(`request to ${r.url()}`); });
  t.after(async () => {
    await page.close();
    assert.deepEqual(mistakes, []);
  });
  await page.goto(`${base}/#${state}`);
  await page.locator('#live[data-state="live"]').waitFor();
  const { counts } = await (await fetch(`${base}/api/info`)).json();
  await page.waitForFunction(({ cards, rows }) => document.getElementById("count-cards").textContent >= cards && document.getElementById("count-rows").textContent >= rows, counts);
  return page;
}

async function post(url, body) {
  const response = await fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  return response.status;
}

// feed hands a record to the handler, as podwatch feed does, and waits for its row.
async function feed(record) {
  const count = async () => (await (await fetch(`${base}/api/info`)).json()).counts.rows;
  const before = await count();
  assert.equal(await post(`${base}/api/feed`, record), 200);
  const limit = Date.now() + 30_000;
  while (await count() === before) {
    assert.ok(Date.now() < limit, `no row within 30 s:\n${run.said}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const shown = (text) => text.replace(/[\u00ad\u200b-\u200d\u2060\ufeff]/gu, ""); // without what is there to break Markdown

describe("the page", () => {
  test("shows a card for each caller of the sample export", async (t) => {
    const page = await open(t, "view=teams&theme=light&width=wide");
    const cards = await page.locator("#posts .card").allInnerTexts();
    assert.ok(cards.length >= 5, `${cards.length} cards`);
    for (const [who, where] of [["dana.ortiz@example.com", "arc-plant-07"], ["id-plant-janitor", "arc-plant-12"], ["masterclient", /aks-shop-01/i]]) {
      assert.ok(cards.some((text) => text.includes(who) && text.search(where) >= 0), `no card names ${who} and ${where}:\n${cards.join("\n---\n")}`);
    }
    assert.equal(await page.locator("#posts .refusal").count(), 0, "Teams would have dropped a card");
    assert.equal(await page.locator(".ac-adaptiveCard").count(), cards.length, "a card was not drawn by Microsoft's renderer");
  });

  test("shows a row for each deletion", async (t) => {
    const page = await open(t, "view=rows&theme=light&width=wide");
    const rows = await page.locator("tr.row").allInnerTexts();
    assert.equal(rows.length, 6, rows.join("\n"));
    await page.locator("tr.row").first().click();
    const detail = await page.locator("td.detail").first().innerText();
    assert.match(detail, /AlertId/);
    assert.match(detail, /CallerKind/);
  });

  test("opens what a card hides", async (t) => {
    const page = await open(t, "view=teams&theme=light&width=wide");
    const card = page.locator("#posts .card").first();
    const toggles = card.locator(".ac-pushButton");
    assert.ok(await toggles.count() > 0, "the card has no buttons");
    const before = await card.boundingBox();
    for (const button of await toggles.all()) {
      if ((await button.getAttribute("role")) === "link") continue;
      await button.click();
      break;
    }
    const now = await card.boundingBox();
    assert.notEqual(now.height, before.height, "the button of the first card shows nothing");
  });

  // Before anything hostile is fed, so that the pictures show an ordinary day.
  test("can be photographed", async (t) => {
    for (const theme of ["light", "dark"]) {
      for (const [width, viewport] of Object.entries(viewports)) {
        for (const view of ["teams", "teams&client=iphone", "rows"]) {
          const page = await open(t, `view=${view}&theme=${theme}&width=${width}`, viewport);
          const picture = await page.screenshot({ fullPage: true });
          assert.ok(picture.length > 10_000, "the page is blank");
          if (shots) writeFileSync(path.join(shots, `${view.replace("&client=", "-")}-${theme}-${width}.png`), picture);
        }
      }
    }
  });
});

describe("hostile text", () => {
  before(async () => {
    const time = new Date().toISOString();
    await feed({
      time, category: "Delete", resultType: "Success", operationName: "MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE",
      callerIpAddress: "203.0.113.66", correlationId: "4dd80e94-6a1c-4f2b-8f8e-1f0f0f0f0001",
      resourceId: `/subscriptions/9b1f4e62-7c35-4d8a-8f20-6ad1c2e9b703/resourceGroups/rg-edge-prod/providers/Microsoft.Kubernetes/connectedClusters/arc-plant-07/namespaces/shop/pods/${hostile.link.replaceAll("/", "%2F")}`,
      identity: { claims: { name: `${hostile.link} ${hostile.bidi}`, "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn": `${hostile.html}@example.com`, appid: hostile.date } },
    });
    await feed({
      time, category: "kube-audit", operationName: "Microsoft.ContainerService/managedClusters/diagnosticLogs/Read",
      resourceId: "/SUBSCRIPTIONS/9B1F4E62-7C35-4D8A-8F20-6AD1C2E9B703/RESOURCEGROUPS/RG-AKS-PROD/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/AKS-EVIL-01",
      properties: { log: JSON.stringify({
        kind: "Event", apiVersion: "audit.k8s.io/v1", level: "Metadata", auditID: "4dd80e94-6a1c-4f2b-8f8e-1f0f0f0f0002", stage: "ResponseComplete",
        verb: "delete", requestURI: "/api/v1/namespaces/shop/pods/cart-0", user: { username: `${hostile.date} ${hostile.link}`, groups: ["system:authenticated"] },
        sourceIPs: ["203.0.113.66"], userAgent: `${hostile.html} ${hostile.link} ${hostile.date} ${hostile.bidi}`,
        objectRef: { resource: "pods", namespace: "shop", name: "cart-0", apiVersion: "v1" }, responseStatus: { code: 200 },
        requestReceivedTimestamp: time, stageTimestamp: time,
      }) },
    });
  });

  for (const [name, view, client] of [["teams", "teams", "desktop"], ["teams on an iPhone", "teams", "iphone"], ["rows", "rows", "desktop"]]) {
    test(`stays text in the view ${name}`, async (t) => {
      const page = await open(t, `view=${view}&client=${client}&theme=light&width=wide`);
      for (const row of await page.locator("tr.row:visible").all()) await row.click();
      const pane = page.locator(`#${view}`);
      assert.equal(await page.locator(".ac-textRun").locator("a, strong, em, ul, ol").count(), 0, "Markdown came out of a run");
      const text = shown(await pane.evaluate((e) => e.textContent));
      assert.ok(text.includes("[x]("), "the link's source is not shown");
      assert.ok(text.includes("DATE(2020-01-01"), "the date function's source is not shown");
      assert.ok(text.includes("<img src=x"), "the markup's source is not shown");
      assert.ok(!bidi.test(await pane.evaluate((e) => e.textContent)), "a character that reorders text reaches the page");
      const links = await page.locator("a").evaluateAll((all) => all.map((a) => a.href));
      assert.deepEqual(links.filter((href) => !ours.some((start) => href.startsWith(start))), [], "a link that is neither the portal's nor a rule's reference");
      assert.equal(await pane.locator("img, script, iframe, object, form").count(), 0, "markup came out of the data");
      assert.ok(!(await page.title()).includes("ran"), "a script ran");
    });
  }

  // Without this the test above could pass because the page reads no Markdown.
  test("would become a link if a sink put it where Markdown is read", async (t) => {
    const card = (text) => ({ type: "message", attachments: [{
      contentType: "application/vnd.microsoft.card.adaptive",
      content: { type: "AdaptiveCard", version: "1.2", body: [
        { type: "TextBlock", wrap: true, text }, { type: "RichTextBlock", inlines: [{ type: "TextRun", text: `${text} ${evil}/bare` }] },
      ] },
    }] });
    const hook = `${base}/workflows/x/triggers/manual/paths/invoke?api-version=1&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=local`;
    const { counts: was } = await (await fetch(`${base}/api/info`)).json();
    assert.equal(await post(hook, card(`**bold** ${hostile.link} ${hostile.date} ${hostile.html}`)), 202);
    const page = await open(t, "view=teams&theme=light&width=wide");
    const newest = page.locator("#posts .card").first();
    assert.equal(await newest.locator(`a[href="${evil}/link"]`).count(), 1);
    assert.equal(await newest.locator("strong").innerText(), "bold");
    assert.equal(await newest.locator(".ac-textRun a").count(), 0, "a desktop reads Markdown in a run");
    const text = await newest.innerText();
    assert.ok(!text.includes("DATE(2020-01-01T"), "the renderer evaluates the date function");
    assert.ok(text.includes("<img src=x"), "HTML stays text even there");
    assert.ok(!(await page.title()).includes("ran"), "a script ran");
    await page.locator('button[data-client="iphone"]').click();
    const run = page.locator("#posts .card").first().locator(".ac-textRun");
    assert.deepEqual(await run.locator("a").evaluateAll((all) => all.map((a) => a.getAttribute("href"))), [`${evil}/link`, `${evil}/bare`]);
    assert.equal(await run.locator("strong").innerText(), "bold");
    const { counts: now } = await (await fetch(`${base}/api/info`)).json();
    assert.equal(now.cards, was.cards + 1);
  });

  test("in a delivery that was refused stays text, too", async (t) => {
    assert.equal(await post(`${base}/workflows/x/triggers/manual/paths/invoke?api-version=1&sig=local`, { text: hostile.html + hostile.bidi }), 202);
    const page = await open(t, "view=teams&theme=dark&width=narrow");
    const refusal = page.locator("#posts .refusal").first();
    await refusal.locator("summary").click();
    assert.match(await refusal.innerText(), /attachments is missing/);
    assert.match(await refusal.innerText(), /<img src=x/);
    assert.match(await refusal.innerText(), /U\+202E/);
    assert.ok(!(await page.title()).includes("ran"), "a script ran");
  });
});

describe("the layout", () => {
  for (const theme of ["light", "dark"]) {
    for (const [width, viewport] of Object.entries(viewports)) {
      for (const view of ["teams", "rows"]) {
        test(`fits: ${view}, ${theme}, ${width}`, async (t) => {
          const page = await open(t, `view=${view}&theme=${theme}&width=${width}`, viewport);
          const wide = await page.evaluate(() => [...document.querySelectorAll("html, main, .pane, .card, #table, td")]
            .filter((e) => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1)
            .map((e) => `${e.tagName}.${e.className} ${e.scrollWidth}>${e.clientWidth} ${e.textContent.slice(0, 60)}`));
          assert.deepEqual(wide, [], "something is wider than its place");
          const colours = await page.evaluate(() => {
            const style = getComputedStyle(document.body);
            return [style.color, style.backgroundColor];
          });
          assert.notEqual(colours[0], colours[1]);
        });
      }
    }
  }
});

const deletion = (pod) => ({
  time: new Date().toISOString(), category: "Delete", resultType: "Success", operationName: "MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE",
  resourceId: `/subscriptions/9b1f4e62-7c35-4d8a-8f20-6ad1c2e9b703/resourceGroups/rg-edge-prod/providers/Microsoft.Kubernetes/connectedClusters/arc-plant-09/namespaces/shop/pods/${pod}`,
  identity: { claims: { name: "Robin Vale", "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn": "robin.vale@example.com" } },
});

// A card as the webhook takes it.
const plainCard = (text) => ({ type: "message", attachments: [{
  contentType: "application/vnd.microsoft.card.adaptive",
  content: { type: "AdaptiveCard", version: "1.2", body: [{ type: "TextBlock", text, weight: "bolder" }, { type: "FactSet", facts: [{ title: "Pod", value: text }] }] },
}] });
const hookOf = (address) => `${address}/workflows/x/triggers/manual/paths/invoke?api-version=1&sig=local`;

async function shoot(page, name) {
  if (shots) writeFileSync(path.join(shots, `${name}.png`), await page.screenshot());
}

describe("a page that stays open", () => {
  test("counts down until the summary of held alerts", async (t) => {
    for (const pod of ["first", "second"]) await feed(deletion(pod)); // one caller, one cluster: the second waits
    const page = await open(t, "view=teams&theme=light&width=wide");
    const held = page.locator("#held");
    await held.waitFor();
    const first = await held.innerText();
    assert.match(first, /^\d+ alerts? (is|are) held\. The summary comes in \d+:\d\d, at /);
    await page.waitForFunction((text) => document.getElementById("held").innerText !== text, first);
    assert.match(run.said, /\d+ alerts? (is|are) held: the summary comes at \d\d:\d\d:\d\d, in /);
    await shoot(page, "held-light-wide");
  });

  test("moves between the tabs by the arrow keys, without an animation", async (t) => {
    const page = await open(t, "view=teams&theme=light&width=wide");
    await page.locator("#tab-teams").focus();
    for (const [key, view] of [["ArrowRight", "rows"], ["ArrowRight", "teams"], ["ArrowLeft", "rows"], ["Home", "teams"], ["End", "rows"]]) {
      await page.keyboard.press(key);
      assert.equal(await page.evaluate(() => document.activeElement.id), `tab-${view}`, key);
      assert.equal(await page.locator(`#tab-${view}`).getAttribute("aria-selected"), "true");
      assert.ok(await page.locator(`#${view}`).isVisible());
      assert.equal(await page.evaluate(() => document.getAnimations().length), 0, "something moves");
    }
    assert.deepEqual(await page.locator('[role="tab"]').evaluateAll((all) => all.map((tab) => tab.tabIndex)), [-1, 0], "one tab is reached by Tab");
  });

  test("says that the connection is lost, and begins anew with the next run", async (t) => {
    let other = await start("podwatch runs", "--page-port", "0", "--no-samples");
    t.after(() => other.end());
    for (let i = 0; i < 3; i++) assert.equal(await post(hookOf(other.base), plainCard(`old-${i}`)), 202);
    const page = await newPage(viewports.wide);
    t.after(() => page.close());
    await page.goto(`${other.base}/#view=teams&theme=light&width=wide`);
    await page.getByText("old-2").first().waitFor();
    assert.ok(await page.locator("#lost-connection").isHidden());
    assert.ok(await page.locator("#clear").isEnabled());

    await other.end();
    const banner = page.locator("#lost-connection");
    await banner.waitFor();
    assert.match(await banner.innerText(), /The connection was lost at \d{1,2}:\d\d:\d\d/);
    assert.ok(await page.locator("#clear").isDisabled(), "Clear can be pressed and does nothing");
    for (const theme of ["light", "dark"]) {
      await page.locator(`button[data-theme="${theme}"]`).click();
      await shoot(page, `lost-${theme}-wide`);
    }
    await page.setViewportSize(viewports.narrow);
    await shoot(page, "lost-dark-narrow");

    other = await start("podwatch runs", "--page-port", new URL(other.base).port, "--no-samples");
    await page.locator('#live[data-state="live"]').waitFor();
    await page.waitForFunction(() => document.querySelectorAll("#posts > li").length === 0);
    assert.ok(await banner.isHidden());
    assert.ok(await page.locator("#clear").isEnabled());
    assert.equal(await post(hookOf(other.base), plainCard("new-0")), 202);
    await page.getByText("new-0").first().waitFor();
    assert.equal(await page.locator("#posts > li").count(), 1, "a card of the run before is shown");
    assert.equal(await page.locator("#count-cards").innerText(), "1");
  });

  test("holds 60 of 1,000 cards in the document", async (t) => {
    assert.equal((await fetch(`${base}/api/entries`, { method: "DELETE" })).status, 204);
    for (let i = 1; i <= 1000; i++) assert.equal(await post(hookOf(base), plainCard(`card-${i}`)), 202);
    const page = await open(t, "view=teams&theme=light&width=wide");
    const cards = page.locator("#posts > li");
    const pager = page.locator('nav[aria-label="Cards"]');
    const firstCard = () => cards.first().locator(".ac-textBlock").first().innerText();
    assert.equal(await cards.count(), 60);
    assert.match(await pager.innerText(), /1–60 of 1000/);
    assert.equal(await firstCard(), "card-1000");
    await pager.scrollIntoViewIfNeeded();
    await shoot(page, "pager-light-wide");

    const took = await page.evaluate(() => {
      const began = performance.now();
      document.querySelector('button[data-theme="dark"]').click();
      document.body.getBoundingClientRect(); // laid out
      return Math.round(performance.now() - began);
    });
    t.diagnostic(`a theme switch with 1,000 cards takes ${took} ms`);
    assert.equal(await cards.count(), 60);

    await pager.getByText("Older").click();
    assert.equal(await cards.count(), 60);
    assert.equal(await firstCard(), "card-940");
    assert.equal(await post(hookOf(base), plainCard("card-1001")), 202);
    await page.waitForFunction(() => document.getElementById("count-cards").textContent === "1001");
    assert.equal(await firstCard(), "card-940", "what is read moves away");
    await pager.getByText("Newest").click();
    assert.equal(await firstCard(), "card-1001");
    assert.equal(await cards.count(), 60);
  });
});
