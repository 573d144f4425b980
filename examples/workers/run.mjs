// The check: a webhook worker and a pool of pull-wake workers each get every message of some streams, in order, though
// one of the pool dies on the way; and what the server didn't sign is refused.
//
//     node run.mjs [BASE_URL]
//
// The server must take webhooks to this machine: --webhook-allow-localhost.
import { spawn } from "node:child_process"
import { once } from "node:events"
import { setTimeout as sleep } from "node:timers/promises"
import { fileURLToPath } from "node:url"
import { webhookWorker } from "./webhook.mjs"
import { poolWorker } from "./pool.mjs"

const TIMEOUT_MS = 60_000
const STREAMS = 3
const MESSAGES = 100

const base = (process.argv[2] ?? "http://127.0.0.1:4437/v1/stream").replace(/\/$/, "")
const folder = `example-workers-${process.pid}-${Date.now()}`
const json = { "content-type": "application/json" }
setTimeout(() => fail(`not done after ${TIMEOUT_MS / 1000} s`), TIMEOUT_MS).unref()

/** What a worker was given, stream by stream. */
class Ledger {
  #messages = new Map()

  add = async (path, messages) => {
    const known = this.#messages.get(path) ?? []
    // At least once: what a worker did before it died comes again, and its number says so.
    this.#messages.set(path, known.concat(messages.filter(({ n }) => n >= known.length)))
  }

  get isComplete() {
    const lists = [...this.#messages.values()]
    return lists.length === STREAMS && lists.every((list) => list.length === MESSAGES)
  }

  check(name) {
    for (const [path, list] of this.#messages) {
      list.forEach(({ n }, at) => n === at || fail(`${name}: ${path} has ${n} at place ${at}`))
    }
  }
}

// The webhook worker, and what it must not take.
const byWebhook = new Ledger()
const server = webhookWorker(base, byWebhook.add)
server.listen(0, "127.0.0.1")
await once(server, "listening")
const hook = `http://127.0.0.1:${server.address().port}/`
await subscribe("webhook", { type: "webhook", pattern: `${folder}/*`, webhook: { url: hook }, lease_ttl_ms: 5000 })
for (const signature of ["", "t=1,kid=x,ed25519=x", `t=${Math.floor(Date.now() / 1000)},kid=ds_x,ed25519=AAAA`]) {
  const response = await fetch(hook, { method: "POST", headers: { "webhook-signature": signature }, body: "{}" })
  if (response.status !== 401) fail(`a forged webhook is answered with ${response.status}`)
}

// The pool: two workers here, and one in a process of its own, which is killed when it has something to do.
const byPool = new Ledger()
const wakeStream = `${folder}-wakes`
await request("PUT", wakeStream)
const subscription = await subscribe("pool", {
  type: "pull-wake",
  pattern: `${folder}/*`,
  wake_stream: wakeStream,
  lease_ttl_ms: 1000,
})
const stop = new AbortController()
const options = { base, subscription, wakeStream, signal: stop.signal }
const doomed = spawn(process.execPath, [fileURLToPath(new URL("pool.mjs", import.meta.url)), base, subscription, wakeStream, "doomed"], {
  stdio: ["ignore", "pipe", "inherit"],
})
process.on("exit", () => doomed.kill("SIGKILL"))
const dead = once(doomed, "close")
let printed = ""
doomed.stdout.on("data", (data) => {
  if (printed === "") doomed.kill("SIGKILL")
  printed += data
})
await append(0)
await dead
// What it printed it has done, and perhaps acknowledged. What it didn't acknowledge comes again, to the others.
for (const line of printed.split("\n").filter((line) => line.endsWith("}"))) {
  const [, path, message] = line.split(" ")
  await byPool.add(path, [JSON.parse(message)])
}
const workers = ["one", "two"].map((name) => poolWorker({ ...options, name }, byPool.add))

for (let n = 1; n < MESSAGES; n += 1) {
  await append(n)
  if (n % 10 === 0) await sleep(20)
}
while (!byWebhook.isComplete || !byPool.isComplete) await sleep(20)
byWebhook.check("webhook")
byPool.check("pool")
stop.abort()
await Promise.all(workers)
for (const id of ["webhook", "pool"]) await request("DELETE", `__ds/subscriptions/${folder}-${id}`)
server.close()
console.log(`${STREAMS} streams of ${MESSAGES} messages, all of them done by webhook and by the pool; one worker was killed`)
process.exit(0)

async function append(n) {
  for (let stream = 0; stream < STREAMS; stream += 1) {
    const path = `${folder}/${stream}`
    if (n === 0) await request("PUT", path)
    await request("POST", path, { n })
  }
}

async function subscribe(name, config) {
  const id = `${folder}-${name}`
  await request("PUT", `__ds/subscriptions/${id}`, config)
  return id
}

async function request(method, path, body) {
  const content = body === undefined ? {} : { body: JSON.stringify(body) }
  const response = await fetch(`${base}/${path}`, { method, headers: json, ...content }).catch((error) => {
    fail(`${method} ${path}: ${error.cause?.message ?? error.message}\nIs the server running? Start it: cargo xtask serve -- --webhook-allow-localhost`)
  })
  if (!response.ok) fail(`${method} ${path} answers ${response.status}: ${await response.text()}`)
}

function fail(message) {
  console.error(`FAILED: ${message}`)
  process.exit(1)
}
