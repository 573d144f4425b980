// The check: pages in a real browser, on another site than the streams, behind nginx with the configuration of
// edge/nginx. Each reads history, tails live, is offline for a while, and must have every message once, in order.
//
//     node run.mjs [BASE_URL]
import { existsSync } from "node:fs"
import { DurableStream } from "@durable-streams/client"
import { chromium } from "playwright-core"
import { startNginx } from "./nginx.mjs"
import { startRelay } from "./relay.mjs"
import { serveSite } from "./site.mjs"

const TIMEOUT_MS = 90_000
const WAIT_MS = 20_000
// More than one chunk of history, with whatever size of chunks the server has up to 256 KiB.
const HISTORY = 600
const LIVE = 40
const OFFLINE = 30
const PADDING = "x".repeat(1_000)
const BROWSERS = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/google-chrome", "/usr/bin/chromium-browser"]
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
]

setTimeout(() => fail(`not done after ${TIMEOUT_MS / 1000} s`), TIMEOUT_MS).unref()
// Nothing is left behind: what was started ends with this process.
process.on("SIGTERM", () => process.exit(1))
process.on("SIGINT", () => process.exit(1))

const origin = new URL(process.argv[2] ?? "http://127.0.0.1:4437/v1/stream")
const path = origin.pathname.replace(/\/$/, "")
const edge = await startNginx(origin.host)
// The writer's way to the edge, and the pages'.
const base = `http://${edge}${path}`
const wire = await startRelay(edge)
const baseOfPages = `http://${wire.address}${path}`
const site = await serveSite()
const executablePath = BROWSERS.find((path) => path && existsSync(path))
if (!executablePath) fail("no Chromium here; install it, or name one in CHROMIUM")
const browser = await chromium.launch({ executablePath, args: FLAGS })

try {
  const rows = []
  for (const live of ["long-poll", "sse"]) rows.push(await offlineForAWhile(live))
  console.table(rows)
  console.table(await monitoring())
} catch (error) {
  fail(error.stack)
}
await browser.close()
process.exit(0)

/** One page that follows one stream from its start to its end, with the network gone in between. */
async function offlineForAWhile(live) {
  const name = `/browser-${live}-${process.pid}-${Date.now()}`
  const written = []
  const writer = await DurableStream.create({ url: base + name, contentType: "application/json" })
  const write = async (count) => {
    for (let left = count; left > 0; left--) {
      const item = { n: written.length }
      written.push(item)
      await writer.append(JSON.stringify({ ...item, padding: PADDING }))
    }
  }
  await write(HISTORY)

  const context = await browser.newContext()
  const page = await context.newPage()
  const answers = []
  page.on("response", (answer) => answers.push(answer))
  await page.goto(`${site}/?${new URLSearchParams({ stream: baseOfPages + name, live })}`)
  await received(page, HISTORY)
  await write(LIVE)
  await received(page, HISTORY + LIVE)

  await context.setOffline(true)
  wire.cut()
  await page.waitForFunction(() => seen.failures > 0, null, { timeout: WAIT_MS })
  await write(OFFLINE)
  const early = (await count(page)) - HISTORY - LIVE
  if (early > 0) throw new Error(`${live}: ${early} messages came while the page was offline`)
  await context.setOffline(false)
  await received(page, written.length)
  await write(1)
  await writer.close()
  await page.waitForFunction(() => seen.done, null, { timeout: WAIT_MS })

  const items = await page.evaluate(() => seen.items.map(({ n }) => n))
  const failures = await page.evaluate(() => seen.failures)
  const wrong = items.findIndex((n, at) => n !== at)
  if (wrong !== -1 || items.length !== written.length) {
    throw new Error(`${live}: ${items.length} of ${written.length} messages, the first wrong one is at ${wrong}`)
  }
  const liveAnswers = answers.filter((answer) => answer.url().includes(`live=${live}`))
  if (liveAnswers.length === 0) throw new Error(`${live}: the client never asked for it`)
  const unmarked = answers.filter((answer) => answer.url().startsWith(baseOfPages) && !answer.headers()["x-cache"])
  if (unmarked.length > 0) throw new Error(`${live}: no X-Cache on ${unmarked[0].url()}`)
  await context.close()
  return { live, messages: items.length, "while offline": OFFLINE, failures, "live answers": liveAnswers.length }
}

/** What a page can read of the cache's headers, across sites: the first reader's answer is fetched, the next one's is
 * kept. */
async function monitoring() {
  const name = `/browser-monitoring-${process.pid}-${Date.now()}`
  const writer = await DurableStream.create({ url: base + name, contentType: "application/json" })
  await writer.append(JSON.stringify({ n: 0 }))
  await writer.close()
  const rows = []
  for (const [expected, status] of [
    ["MISS", "nginx; fwd=uri-miss"],
    ["HIT", "nginx; hit"],
  ]) {
    // A context of its own, so that the browser's own cache is empty.
    const context = await browser.newContext()
    const page = await context.newPage()
    await page.goto(site)
    const said = await page.evaluate((stream) => cacheStatus(stream), baseOfPages + name)
    // Of several caches each has said a part; the one closest to the page comes last.
    if (said.xCache !== expected || !said.cacheStatus?.endsWith(status)) {
      throw new Error(`monitoring: expected ${expected} and "… ${status}", the page read ${JSON.stringify(said)}`)
    }
    rows.push(said)
    await context.close()
  }
  return rows
}

function count(page) {
  return page.evaluate(() => seen.items.length)
}

async function received(page, expected) {
  try {
    await page.waitForFunction((expected) => seen.items.length >= expected, expected, { timeout: WAIT_MS })
  } catch {
    throw new Error(`${await count(page)} of ${expected} messages after ${WAIT_MS / 1000} s`)
  }
}

function fail(message) {
  console.error(`FAILED: ${message}`)
  process.exit(1)
}
