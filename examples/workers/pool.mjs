// A pull-wake worker: reads the wake stream, claims the work, does it. Start as many as you like.
//
//     node pool.mjs BASE_URL SUBSCRIPTION WAKE_STREAM [NAME]
import { setTimeout as sleep } from "node:timers/promises"
import { Fenced, streamUrl, tell, workOff } from "./work.mjs"

/** How long a worker rests when the server can't be reached. */
const REST_MS = 1_000

/**
 * @param {{ base: string, subscription: string, wakeStream: string, name: string, signal?: AbortSignal }} options
 * @param {(path: string, messages: unknown[]) => Promise<void>} work
 */
export async function poolWorker({ base, subscription, wakeStream, name, signal }, work) {
  const control = `${base}/__ds/subscriptions/${encodeURIComponent(subscription)}`
  const events = streamUrl(base, wakeStream)

  /** Claims the work and does it; false: somebody else has it, or there is none. */
  async function claim() {
    const headers = { "content-type": "application/json" }
    const body = JSON.stringify({ worker: name })
    const response = await fetch(`${control}/claim`, { method: "POST", headers, body, signal })
    if (response.status === 409) return false
    if (!response.ok) throw new Error(`the claim is answered with ${response.status}`)
    const wake = await response.json()
    const { wake_id, generation, token } = wake
    const report = (acks, done) => tell(`${control}/ack`, token, { wake_id, generation, acks, done })
    await workOff(base, wake, work, report).catch((error) => {
      if (!(error instanceof Fenced)) throw error
    })
    return true
  }

  let offset = "now"
  let cursor
  let isFirst = true
  while (!signal?.aborted) {
    try {
      const query = new URLSearchParams({ offset, live: "long-poll", ...(cursor && { cursor }) })
      // Before the first event is waited for: a worker that died may have read it.
      if (isFirst) {
        const tail = await fetch(events, { method: "HEAD", signal })
        offset = tail.headers.get("stream-next-offset") ?? "now"
        isFirst = false
        await claim()
        continue
      }
      const response = await fetch(`${events}?${query}`, { signal })
      if (!response.ok) throw new Error(`the wake stream answers ${response.status}`)
      cursor = response.headers.get("stream-cursor") ?? cursor
      offset = response.headers.get("stream-next-offset") ?? offset
      if (response.status === 200) {
        const wakes = await response.json()
        if (wakes.some((wake) => wake.subscription_id === subscription)) await claim()
      }
    } catch (error) {
      if (signal?.aborted) return
      console.error(`${name}:`, error.message)
      // After a failure nobody knows whether the work was done: ask again.
      isFirst = true
      await sleep(REST_MS)
    }
  }
}

if (process.argv[1]?.endsWith("/pool.mjs")) {
  const [base, subscription, wakeStream, name = `worker-${process.pid}`] = process.argv.slice(2)
  if (!wakeStream) throw new Error("usage: node pool.mjs BASE_URL SUBSCRIPTION WAKE_STREAM [NAME]")
  const work = async (path, messages) => {
    for (const message of messages) console.log(name, path, JSON.stringify(message))
  }
  await poolWorker({ base, subscription, wakeStream, name }, work)
}
