// The Python client: `client.py` writes and follows with it, over restarts.
import assert from "node:assert/strict"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { after, before, describe, test } from "node:test"
import { fileURLToPath } from "node:url"
import { DurableStream } from "@durable-streams/client"
import { eachOnce } from "./messages.mjs"
import { LIMIT, durable, over, startServer } from "./server.mjs"
import { until, within } from "./wait.mjs"

const CLIENT = fileURLToPath(new URL("client.py", import.meta.url))
const PYTHON = process.env.HEADWATER_PYTHON
if (!PYTHON) throw new Error("HEADWATER_PYTHON names no Python with the client; `cargo xtask clients` does that")
const MESSAGES = 1000

describe("the Python client", LIMIT, () => {
  let server
  before(async () => (server = await startServer("python")))
  after(() => server?.end())

  test(`messages are appended once, and followed by long-poll and by events, ${over("SIGKILL")}`, async (t) => {
    const url = server.url("python/flow")
    await python(t, "create", url, "application/json").end()
    const followers = ["long-poll", "sse"].map((live) => python(t, "follow", url, live, "-1", MESSAGES))
    const writer = python(t, "append", url, 0, MESSAGES)
    await Promise.all([writer, ...followers].map((program) => program.says(MESSAGES / 4)))
    const interrupted = server.interrupt("SIGKILL")
    assert.ok(writer.lines.length < MESSAGES, "all was written before the server was killed")
    await interrupted

    await writer.end()
    for (const follower of followers) {
      await follower.end()
      eachOnce(numbers(follower), 0, MESSAGES)
      assert.equal(durable && follower.errors === "", false, "it noticed no restart")
    }
    const reader = python(t, "read", url)
    await reader.end()
    eachOnce(numbers(reader), 0, MESSAGES)
  })

  test(`an offset that another client saved leads to the rest, ${over("SIGTERM")}`, async (t) => {
    const url = server.url("python/resumed")
    const handle = await DurableStream.create({ url, contentType: "application/json" })
    for (let n = 0; n < 10; n++) await handle.append(JSON.stringify({ n }))
    const { offset } = await handle.head()
    const followers = ["long-poll", "sse"].map((live) => python(t, "follow", url, live, offset, 30))
    for (let n = 10; n < 20; n++) await handle.append(JSON.stringify({ n }))
    await Promise.all(followers.map((follower) => follower.says(10)))
    await server.interrupt("SIGTERM")
    for (let n = 20; n < 30; n++) await handle.append(JSON.stringify({ n }))
    for (const follower of followers) {
      await follower.end()
      eachOnce(numbers(follower), 10, 20)
    }
  })
})

function numbers({ lines }) {
  return lines.map((line) => JSON.parse(line).n)
}

function python(t, ...args) {
  return new Program(t, args.map(String))
}

/** A run of `client.py`, and what it has said so far. */
class Program {
  constructor(t, args) {
    this.name = args.slice(0, 3).join(" ")
    this.output = ""
    this.errors = ""
    this.process = spawn(PYTHON, [CLIENT, ...args], { stdio: ["ignore", "pipe", "pipe"] })
    this.process.stdout.setEncoding("utf8").on("data", (text) => (this.output += text))
    this.process.stderr.setEncoding("utf8").on("data", (text) => (this.errors += text))
    this.closed = once(this.process, "close")
    t.after(() => this.process.kill("SIGKILL"))
  }

  get lines() {
    return this.output.split("\n").slice(0, -1)
  }

  /** Waits until it has said so many lines. */
  says(count) {
    const shown = () => `(${this.lines.length} came) ${this.errors}`
    return until(`${count} lines of ${this.name}`, () => this.lines.length >= count, shown)
  }

  /** Waits until it is done. */
  async end() {
    const [code] = await within(`the end of ${this.name}`, this.closed)
    assert.equal(code, 0, `${this.name}: ${this.errors}`)
  }
}
