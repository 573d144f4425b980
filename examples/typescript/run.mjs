// The check: one writer and two tails, each a process of its own. One tail is killed on the way and resumed. In the
// end the stream and both tails must be text.txt, byte for byte.
//
//     node run.mjs [BASE_URL]
import { spawn } from "node:child_process"
import { once } from "node:events"
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { BackoffDefaults, DurableStream, stream } from "@durable-streams/client"
import { savedWords } from "./saved.mjs"

const TIMEOUT_MS = 60_000
// The tail that is killed, after which share of the words, and how many words it misses before it comes back.
const KILLED = "sse"
const KILLED_AFTER = 1 / 3
const MISSED_WORDS = 200

const base = (process.argv[2] ?? "http://127.0.0.1:4437/v1/stream").replace(/\/$/, "")
const url = `${base}/example-${process.pid}-${Date.now()}`
const dir = mkdtempSync(join(tmpdir(), "headwater-example-"))
const file = { sse: join(dir, "sse.jsonl"), "long-poll": join(dir, "long-poll.jsonl") }
const children = new Set()

// Nothing outlives this process, however it ends.
process.on("exit", () => children.forEach((child) => child.kill("SIGKILL")))
setTimeout(() => fail(`not done after ${TIMEOUT_MS / 1000} s`), TIMEOUT_MS).unref()

const text = readFileSync(new URL("text.txt", import.meta.url))
const total = text.toString().match(/\S+\s*/gu).length

// By default the client would retry for ever; here nobody waits for a server that was not started.
const backoffOptions = { ...BackoffDefaults, maxRetries: 3 }
await DurableStream.create({ url, contentType: "application/json", backoffOptions }).catch((error) => {
  rmSync(dir, { recursive: true })
  console.error(`FAILED: cannot create ${url}: ${error.message}\nIs the server running? Start it: cargo xtask serve`)
  process.exit(1)
})
const tails = { sse: start("tail.mjs", "sse"), "long-poll": start("tail.mjs", "long-poll") }
const writer = start("write.mjs")

const other = KILLED === "sse" ? "long-poll" : "sse"
await receivedAtLeast(KILLED, total * KILLED_AFTER)
tails[KILLED].kill("SIGKILL")
await tails[KILLED].exited
const kept = received(KILLED)
if (kept >= total) fail(`the ${KILLED} tail had everything before it was killed; nothing was tested`)
await receivedAtLeast(other, Math.min(kept + MISSED_WORDS, total))
tails[KILLED] = start("tail.mjs", KILLED)

await Promise.all([writer, tails.sse, tails["long-poll"]].map(ended))
const whole = await stream({ url, live: false })
const results = [
  ["the stream, read at once", await whole.json(), ""],
  ["sse tail", savedWords(file.sse), ""],
  ["long-poll tail", savedWords(file["long-poll"]), ""],
]
results.find(([name]) => name.startsWith(KILLED))[2] = `killed after ${kept} words, resumed`
report(results)
await DurableStream.delete({ url })
rmSync(dir, { recursive: true })

function start(script, live) {
  const args = live ? [url, live, file[live]] : [url]
  const path = fileURLToPath(new URL(script, import.meta.url))
  const child = spawn(process.execPath, [path, ...args], { stdio: "inherit" })
  children.add(child)
  child.exited = once(child, "exit").then(([code, signal]) => {
    children.delete(child)
    return { name: [script, live].filter(Boolean).join(" "), code, signal }
  })
  return child
}

async function ended(child) {
  const { name, code, signal } = await child.exited
  if (code !== 0) fail(`${name} ended with ${signal ?? `exit code ${code}`}`)
}

function received(live) {
  return existsSync(file[live]) ? savedWords(file[live]).length : 0
}

async function receivedAtLeast(live, words) {
  while (received(live) < words) {
    // A process that died will never get there.
    for (const child of [writer, tails[live]]) if (child.exitCode) await ended(child)
    await sleep(10)
  }
}

function report(results) {
  const rows = results.map(([name, words, note]) => {
    const bytes = Buffer.from(words.join(""))
    return { name, words: words.length, bytes: bytes.length, same: bytes.equals(text) ? "yes" : "NO", note }
  })
  console.log(`${"".padEnd(26)}${"words".padStart(7)}${"bytes".padStart(7)}  same as text.txt`)
  for (const { name, words, bytes, same, note } of rows) {
    console.log(`${name.padEnd(26)}${`${words}`.padStart(7)}${`${bytes}`.padStart(7)}  ${`${same}  ${note}`.trimEnd()}`)
  }
  const different = rows.filter((row) => row.same !== "yes" || row.words !== total)
  if (different.length > 0) fail(`different: ${different.map((row) => row.name).join(", ")}`)
}

function fail(message) {
  console.error(`FAILED: ${message}\nThe stream was ${url}; what the tails saved is in ${dir}`)
  process.exit(1)
}
