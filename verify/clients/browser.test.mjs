// Readers in a real browser, on a page of another origin: a plain EventSource, and the official client.
import assert from "node:assert/strict"
import { after, before, describe, test } from "node:test"
import { setTimeout as sleep } from "node:timers/promises"
import { DurableStream } from "@durable-streams/client"
import { chromium } from "playwright-core"
import { eachOnce } from "./messages.mjs"
import { LIMIT, SMALL_CHUNKS, durable, over, startServer } from "./server.mjs"
import { serveSite } from "./site.mjs"
import { WAIT_MS } from "./wait.mjs"

const CHROMIUM = process.env.CHROMIUM
if (!CHROMIUM) throw new Error("CHROMIUM names no browser; `cargo xtask clients` does that")
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
]
// Event streams end so often that the tests see it.
const SSE_LIFETIME = "2s"
const PACE_MS = 20

describe("a browser", LIMIT, () => {
  let server
  let browser
  let site
  before(async () => {
    server = await startServer("browser", [...SMALL_CHUNKS, "--sse-lifetime", SSE_LIFETIME])
    site = await serveSite()
    browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS })
  })
  after(async () => {
    await browser?.close()
    await server?.end()
  })

  const interruptions = `${over("SIGTERM")} and ${over("SIGKILL")}`
  test(`an EventSource gets each message once, and stops when the stream is closed, ${interruptions}`, async (t) => {
    const writer = await Writer.create(server.url("browser/event-source"))
    await writer.write(10)
    const { page, statuses } = await open(t, browser, site)
    await page.evaluate((url) => openEventSource(url), `${writer.url}?offset=now&live=sse`)
    await waitFor(page, "the present", () => seen.positions > 0)

    await writer.writeUntil(waitFor(page, "a connection after the first one's lifetime", () => seen.opened > 1))
    for (const signal of ["SIGTERM", "SIGKILL"]) {
      await server.interrupt(signal)
      const opened = await page.evaluate(() => seen.opened)
      await writer.writeUntil(waitFor(page, "another connection", (opened) => seen.opened > opened, opened))
    }
    await writer.handle.close()
    await waitFor(page, "the end", () => source.readyState === EventSource.CLOSED)
    eachOnce(await page.evaluate(() => seen.numbers), 10, writer.count - 10)
    assert.equal(statuses.at(-1), 204, "the response that an EventSource stops at")
  })

  for (const live of ["sse", "long-poll"]) {
    test(`the official client gets each message once by ${live}, ${over("SIGKILL")}`, async (t) => {
      const writer = await Writer.create(server.url(`browser/${live}`))
      await writer.write(100)
      const { page } = await open(t, browser, site)
      await page.evaluate(([url, live]) => void openClient(url, live), [writer.url, live])
      await waitFor(page, "what was there before", () => seen.numbers.length >= 100)
      await writer.write(50)
      await waitFor(page, "what came live", () => seen.numbers.length >= 150)
      await server.interrupt("SIGKILL")
      await writer.write(50)
      await writer.handle.close()
      await waitFor(page, "the end of the stream", () => seen.done && seen.numbers.length >= 200)
      eachOnce(await page.evaluate(() => seen.numbers), 0, 200)
      if (durable) assert.ok((await page.evaluate(() => seen.failures)) > 0, "it noticed no restart")
    })
  }
})

/** Opens the page, and notes what the streams' server responds to it with. */
async function open(t, browser, site) {
  const context = await browser.newContext()
  t.after(() => context.close())
  const page = await context.newPage()
  const statuses = []
  page.on("response", (response) => {
    if (!response.url().startsWith(site)) statuses.push(response.status())
  })
  await page.goto(site)
  return { page, statuses }
}

async function waitFor(page, what, condition, argument) {
  try {
    await page.waitForFunction(condition, argument, { timeout: WAIT_MS })
  } catch (error) {
    const seen = await page.evaluate(() => JSON.stringify({ ...window.seen, numbers: window.seen?.numbers.length }))
    throw new Error(`not after ${WAIT_MS / 1000} s: ${what}; the page has seen ${seen}`, { cause: error })
  }
}

/** Writes numbered messages. */
class Writer {
  static async create(url) {
    const writer = new Writer()
    writer.url = url
    writer.count = 0
    writer.handle = await DurableStream.create({ url, contentType: "application/json" })
    return writer
  }

  async write(count) {
    for (const end = this.count + count; this.count < end; this.count++) {
      await this.handle.append(JSON.stringify({ n: this.count }))
    }
  }

  /** Writes steadily for as long as something is awaited, and a little more. */
  async writeUntil(awaited) {
    let done = false
    const noted = awaited.finally(() => (done = true))
    noted.catch(() => {})
    while (!done) {
      await this.write(1)
      await sleep(PACE_MS)
    }
    await noted
    await this.write(10)
  }
}
